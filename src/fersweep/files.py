"""Files and paths: atomic writes, checked JSON, paths as users type them, and unique names for new files."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fersweep.errors import UserError

LONGEST = 255
"""Bytes of a file's name, on all usual file systems."""


def _beside(path: Path) -> Path:
    suffix = path.suffix if len(path.suffix) <= 16 else ""  # no longer than the longest name that a file can have
    return path.with_name(f".{secrets.token_hex(4)}{suffix}")


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what was written there replaces ``path`` when the block succeeds.

    A reader sees the old file or the complete new one, also after a power cut (``fsync``). When the block raises,
    ``path`` stays as it was and the temporary file is removed. The temporary name is hidden and keeps the suffix, on
    which writers of images rely.
    """
    temporary = _beside(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def create(path: Path, text: str) -> bool:
    """Write ``text`` to ``path`` atomically unless it exists; return whether this call created it."""
    if path.exists():
        return False
    temporary = _beside(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without links, on which a reader may see an incomplete file for a moment
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


@contextmanager
def writing(*paths: Path, advice: str = "choose another place") -> Iterator[None]:
    """Turn an OSError in the block into a UserError that names ``paths`` and ends in ``advice``."""
    try:
        yield
    except OSError as error:
        names = ", ".join(map(str, paths))
        raise UserError(f"{names} cannot be written ({error.strerror or error}): {advice}.") from error


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


@dataclass(frozen=True)
class Field:
    """A field of a JSON object: its type in words, as in "not a whole number", and the test of its value."""

    kind: str
    fits: Callable[[Any], bool]
    optional: bool = False
    """True if the field may be null or missing."""


def mapping(kind: str, *types: type) -> Field:
    """Return a field that holds an object whose values are of these types, and numbers not too large for a float."""

    def fits(value: Any) -> bool:
        return isinstance(value, dict) and all(
            type(each) in types and (isinstance(each, str | None) or is_moderate(each)) for each in value.values()
        )

    return Field(kind, fits)


def is_moderate(number: float) -> bool:
    """Return whether a number is finite and can be computed with: JSON and pickles can hold 400 digits, or 1e999."""
    return abs(number) < 1e300


INTEGER = Field("a whole number", lambda value: type(value) is int and abs(value) < 2**63)
NUMBER = Field("a number", lambda value: type(value) in (int, float) and is_moderate(value))
OPTIONS = mapping("an option for each group", str)
INTERVAL = Field("two numbers", lambda value: isinstance(value, list) and [*map(NUMBER.fits, value)] == [True, True])


def check(record: Any, fields: Mapping[str, Field]) -> dict[str, Any]:
    """Return ``record``, a decoded JSON object with these fields; it may have others.

    Raises:
        ValueError: naming the first field of another type, and its value.
    """
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    for name, field in fields.items():
        value = record.get(name)
        if not (value is None and field.optional) and not field.fits(value):
            raise ValueError(f"{name} is {value!r}, not {field.kind}")
    return record


def read_json(path: Path, fields: Mapping[str, Field], what: str, advice: str) -> dict[str, Any] | None:
    """Return the JSON object in ``path``, checked with `check`, or ``None`` if the file does not exist.

    Raises:
        UserError: the file cannot be read or is not such an object; the message calls it ``what`` and ends in
            ``advice``.
    """
    try:
        return check(json.loads(path.read_bytes(), parse_constant=_refuse), fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a readable {what} ({error}); {advice}.") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def given(path: Path) -> Path:
    """Return a path with ``~`` expanded.

    Raises:
        UserError: the path cannot be resolved: it is too long, its links form a circle, or there is no such user.
    """
    try:
        expanded = path.expanduser()
        expanded.resolve()
        expanded.exists()
    except (OSError, RuntimeError, ValueError) as error:
        no_home = isinstance(error, RuntimeError) and str(path).startswith("~")
        reason = (error.strerror if isinstance(error, OSError) else "no such user" if no_home else None) or error
        raise UserError(f"{path} cannot be accessed ({reason}): choose another path.") from error
    return expanded


def unicode(path: Path) -> str:
    """Return a path as text for OpenCV's videos, which crash on bytes that are not valid Unicode.

    Raises:
        UserError: the path has such bytes.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path} is not valid Unicode, which videos need: rename it.") from error
    return text


def refuse_inside(folder: Path, inputs: Iterable[Path]) -> None:
    """Raise UserError if ``folder`` lies inside an input folder, where another call would read what was written."""
    for path in inputs:
        if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
            raise UserError(f"{folder} lies inside {path}, an input: choose a folder outside.")


class Names:
    """Unique names for files and folders, ignoring case and not longer than a file system allows."""

    def __init__(self, *taken: str) -> None:
        self._taken = {each.casefold() for each in taken}

    def unique(self, stem: str, suffix: str = "") -> str:
        """Return ``stem``, which may have folders before it, with ``suffix``; numbered if that is taken."""
        name, number = _shortened(stem, suffix), 1
        while name.casefold() in self._taken:
            number += 1
            name = _shortened(stem, f"-{number}{suffix}")
        self._taken.add(name.casefold())
        return name


def _shortened(stem: str, suffix: str) -> str:
    folder, slash, last = stem.rpartition("/")
    return folder + slash + os.fsdecode(os.fsencode(last)[: LONGEST - len(os.fsencode(suffix))]) + suffix
