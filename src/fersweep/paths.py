"""Paths that people write on a command line, and names for files that are made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fersweep.errors import UserError

LONGEST = 255
"""Bytes of a file's name, on all usual file systems."""


def given(path: Path) -> Path:
    """A path as it was meant: ``~`` expanded.

    Raises:
        UserError: it cannot even be looked at: too long, links in a circle, no such user.
    """
    try:
        expanded = path.expanduser()
        expanded.resolve()
        expanded.exists()
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(f"{path} cannot be looked at ({reason}): name another place.") from error
    return expanded


def unicode(path: Path) -> str:
    """A path as text for OpenCV's videos, which crash where it has bytes that are no text.

    Raises:
        UserError: it has such bytes.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path} is no Unicode, which videos need: rename it.") from error
    return text


def refuse_inside(folder: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write into a folder that is read: another call would read what was written."""
    for path in inputs:
        if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
            raise UserError(f"{folder} lies in {path}, which is read: choose a place outside.")


class Names:
    """Names for files and folders, each given once, whatever the case of its letters, and none too long."""

    def __init__(self, *taken: str) -> None:
        self._taken = {each.casefold() for each in taken}

    def unique(self, stem: str, suffix: str = "") -> str:
        """Return ``stem``, which may have folders before it, with ``suffix``; numbered where that is taken."""
        name, number = _shortened(stem, suffix), 1
        while name.casefold() in self._taken:
            number += 1
            name = _shortened(stem, f"-{number}{suffix}")
        self._taken.add(name.casefold())
        return name


def _shortened(stem: str, suffix: str) -> str:
    folder, slash, last = stem.rpartition("/")
    return folder + slash + os.fsdecode(os.fsencode(last)[: LONGEST - len(os.fsencode(suffix))]) + suffix
