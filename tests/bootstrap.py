"""Packages that `uv run pytest` installs when they are missing: `uv run train.py` does without them.

`conftest.py` imports this before anything large: from here on what is imported is compiled once and kept.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]
SYNC = ("uv", "sync", "--quiet", "--inexact", "--extra", "apps", "--group", "test")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of hundreds of processes compiles all that it imports
sys.dont_write_bytecode = False
NEEDED = "the extra `apps` and the dependency group `test` of pyproject.toml"


def missing() -> list[str]:
    """Packages of the extra and the group that are not installed, or not in an allowed version."""
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    needed = content["project"]["optional-dependencies"]["apps"] + content["dependency-groups"]["test"]
    here = [each for each in map(Requirement, needed) if each.marker is None or each.marker.evaluate()]
    return [each.name for each in here if not _installed(each)]


def _installed(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def complete() -> None:
    """Install what is missing into the environment of this process; end pytest if that fails."""
    names = missing()
    if not names:
        return
    print(f"Installing what the tests need ({', '.join(names)}): {' '.join(SYNC)}", flush=True)
    if sys.prefix == sys.base_prefix:
        pytest.exit(f"The tests need {NEEDED}, in a virtual environment: uv run pytest", returncode=4)
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": sys.prefix}
    try:
        subprocess.run(SYNC, cwd=REPOSITORY, env=environment, check=True)
    except FileNotFoundError:
        pytest.exit(f"The tests need {NEEDED}, and uv, which would install it, is not here: pip install uv", 4)
    except subprocess.CalledProcessError as error:
        pytest.exit(f"The tests need {NEEDED}, and uv could not install it (exit code {error.returncode}).", 4)
    importlib.invalidate_caches()
