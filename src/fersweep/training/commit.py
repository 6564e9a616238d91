"""Commit of the checkout that fersweep runs from."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of the package."""

CODE = (":(top,glob)src/**/*.py", ":(top)conf", ":(top)train.py")
"""Files that decide the numbers of a run."""

WITH_CHANGES = "+changes"
"""End of the commit of a checkout whose `CODE` differs from it."""


@cache
def commit() -> str | None:
    """Return the commit's hash, with `WITH_CHANGES` if that holds; ``None`` for an installed package or without git."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top) / "src" / "fersweep" != PACKAGE:  # the package may lie within another's repository
        return None
    found, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", *CODE)
    return None if found is None or changes is None else found + (WITH_CHANGES if changes else "")


def _git(*arguments: str) -> str | None:
    """Return what a git command prints; ``None`` if it fails or there is no git."""
    command = ["git", "--no-optional-locks", "-C", str(PACKAGE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
