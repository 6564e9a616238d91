"""Files and paths: atomic writes, paths as people type them, and names for files that are made."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fersweep.errors import UserError

LONGEST = 255
"""Bytes of a file's name, on all usual file systems."""


def _beside(path: Path) -> Path:
    suffix = path.suffix if len(path.suffix) <= 16 else ""  # no longer than the longest name that a file can have
    return path.with_name(f".{secrets.token_hex(4)}{suffix}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what was written there becomes ``path`` when the block succeeds.

    A reader sees the old file or the whole new one, never a part, also after a power cut (``fsync``). When the block
    raises, ``path`` stays as it was and the temporary file is removed. The temporary name is hidden and keeps the
    suffix, so writers that go by it (images) work.
    """
    temporary = _beside(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, obj: object) -> None:
    """Write ``obj`` to ``path`` as indented JSON, atomically.

    Raises:
        ValueError: for NaN or an infinity, which JSON does not have.
        TypeError: for an object JSON cannot hold.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(as_json(obj), encoding="utf-8")


def as_json(obj: object) -> str:
    """Return ``obj`` as indented JSON; raises as `write_json`."""
    return json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def create(path: Path, text: str) -> bool:
    """Write ``text`` to ``path``, which appears whole, unless it exists; return whether this call has made it."""
    if path.exists():
        return False
    temporary = _beside(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without links, where a reader may see a part for a moment
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


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
