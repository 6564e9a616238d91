"""Removal of runs without a result, and of decoded datasets in the cache."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fersweep.errors import UserError
from fersweep.runs import lock
from fersweep.runs.collect import HASH, Run, collect
from fersweep.runs.status import Status

REMOVED = ("failed", "pruned", "interrupted", "pending", "unreadable")
"""States of runs that may be removed: never one that is done or running."""

CACHED = re.compile(r"\w[\w.+-]*-[0-9a-f]{16}")
"""Name of a decoded dataset in the cache."""

OF_CACHE = {"images.npy", "samples.npz", "classes.json"}
"""Files of a decoded dataset."""


@dataclass(frozen=True)
class Leftover:
    """A folder that can be removed: a run or a decoded dataset, with its state and its size in bytes."""

    directory: Path
    state: str
    size: int


def unfinished(outputs: Path) -> list[Leftover]:
    """Return the runs below ``outputs`` without a result that no process trains, sorted by directory.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    return [Leftover(run.directory, run.state, _size(run.directory)) for run in collect(outputs) if _removable(run)]


def cached(cache: Path) -> list[Leftover]:
    """Return the decoded datasets in the folder ``cache``, sorted by name; they are decoded again when needed."""
    if not cache.is_dir():
        return []
    found = [path for path in cache.iterdir() if CACHED.fullmatch(path.name) and not path.is_symlink()]
    kept = [path for path in found if path.is_dir() and {each.name for each in path.iterdir()} == OF_CACHE]
    return [Leftover(path, "cache", _size(path)) for path in sorted(kept)]


def remove(leftovers: Iterable[Leftover]) -> tuple[list[Leftover], list[str]]:
    """Remove folders; a run only while this process owns its lock, if it still has no result.

    Returns:
        Those removed, and a sentence for each that was kept.
    """
    removed, kept = [], []
    for each in leftovers:
        try:
            with _owned(each):
                shutil.rmtree(each.directory)
            removed.append(each)
        except (UserError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            kept.append(f"{each.directory} is kept: {reason}")
    return removed, kept


@contextmanager
def _owned(leftover: Leftover) -> Iterator[None]:
    """Own the lock of a run within the block.

    Raises:
        UserError: another process trains it, or it was finished meanwhile.
    """
    if leftover.state == "cache":
        yield
        return
    if not leftover.directory.is_dir():
        raise UserError("it was removed meanwhile")
    with lock.claim(leftover.directory):
        has_result = (leftover.directory / "result.json").exists()
        if leftover.state != "unreadable" and has_result and Status.read(leftover.directory).state == "done":
            raise UserError("it is done now")
        yield


def _removable(run: Run) -> bool:
    """Return whether a run has no result and is in a folder that is certainly a run's, whatever else lies around."""
    named = HASH.search(run.directory.name) is not None and not run.directory.is_symlink()
    known = run.state != "unreadable" or (run.directory / "config.yaml").is_file()
    return run.state in REMOVED and named and known


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder; those that disappear meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:  # just removed
            continue
    return total
