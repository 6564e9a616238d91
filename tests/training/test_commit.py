"""Commit in results and cards: that of the checkout that runs, and never one of a repository around the package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fersweep.training import commit


def git(folder: Path, *arguments: str) -> str:
    """Run git, without the user's settings."""
    name = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_commit_is_that_of_the_checkout_and_changes_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path.resolve() / "src" / "fersweep"
    package.mkdir(parents=True)
    (package / "a.py").touch()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(commit, "PACKAGE", package)
    found = commit.commit.__wrapped__()
    assert found == git(tmp_path, "rev-parse", "HEAD")
    (package / "model.safetensors").touch()  # no code
    (tmp_path / "notes.md").touch()
    assert commit.commit.__wrapped__() == found
    (package / "b.py").touch()
    assert commit.commit.__wrapped__() == f"{found}+changes"
    installed = tmp_path.resolve() / "venv" / "fersweep"
    installed.mkdir(parents=True)
    monkeypatch.setattr(commit, "PACKAGE", installed)
    assert commit.commit.__wrapped__() is None
    monkeypatch.setenv("PATH", str(tmp_path))  # without git
    monkeypatch.setattr(commit, "PACKAGE", package)
    assert commit.commit.__wrapped__() is None
