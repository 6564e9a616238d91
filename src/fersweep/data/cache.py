"""Cache of decoded datasets: memory-mapped images, keyed by the fingerprint of their source."""

from __future__ import annotations

import errno
import glob
import json
import logging
import os
import shutil
import socket
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from fersweep.data.samples import Samples, Source
from fersweep.errors import UserError
from fersweep.owner import is_dead, with_place

_log = logging.getLogger(__name__)

DAY = 86400.0
"""Seconds after which a temporary folder is nobody's, if its writer cannot be judged; writing one takes minutes."""


def load(source: Source, cache_dir: Path) -> Samples:
    """Return a source's samples with memory-mapped, read-only images; decode them first if they are not cached.

    The folder ``<name>-<fingerprint>`` is written under a temporary name and renamed when complete, so that concurrent
    processes never read a partial one. They wait for the first to decode.

    Raises:
        UserError: the source is invalid, it changes while it is read, or the cache cannot be written.
    """
    fingerprint = source.fingerprint()
    place = Path(cache_dir) / f"{source.name}-{fingerprint[:16]}"
    samples = _read(place)
    if samples is not None:
        return samples
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(error, place.parent, 0) from error
    with _lock(place):
        samples = _read(place)
        if samples is None:
            _clear(place)
            _log.info("decoding %s into %s", source.name, place)
            decoded = source.load()
            if source.fingerprint() != fingerprint:
                raise UserError(f"{source.name} changed while it was read: start again when nothing writes to it")
            _write(decoded, place)
            samples = _read(place)
    if samples is None:
        raise UserError(
            f"the cache folder {place} cannot be read back: remove it, or choose another one with cache=PATH"
        )
    return samples


def _read(place: Path) -> Samples | None:
    """Return the contents of a cache folder; ``None`` if it is missing or damaged."""
    try:
        images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        with np.load(place / "samples.npz", allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
        names = tuple(json.loads((place / "classes.json").read_text(encoding="utf-8")))
        if "objective" in columns:
            columns["objective"] = str(columns["objective"])
        samples = Samples(images=images, class_names=names, **columns)
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, zipfile.BadZipFile):
        return None
    return samples if len(images) == len(samples) == len(samples.ids) else None


def _write(samples: Samples, place: Path) -> None:
    """Write a cache folder under a temporary name and rename it to ``place``."""
    temporary = place.parent / f".{place.name}.{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir()
        with (temporary / "images.npy").open("wb") as file:
            _write_array(file, samples.images)
        with (temporary / "samples.npz").open("wb") as file:
            objective = {} if samples.targets is None else {"objective": np.array(samples.objective)}
            np.savez(file, allow_pickle=False, **samples.columns(), **objective)
            _flush(file)
        (temporary / "classes.json").write_text(json.dumps(list(samples.class_names)), encoding="utf-8")
        try:
            temporary.rename(place)
        except OSError:
            if _read(place) is None:  # else another process was first, with equal content
                raise
    except OSError as error:
        raise _refusal(error, place.parent, samples.images.nbytes) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_array(file: IO[bytes], array: npt.NDArray[np.uint8]) -> None:
    """Write ``array`` as ``.npy``; unlike `numpy.save`, raise the error of a full disk with its number."""
    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)
    _flush(file)


def _flush(file: IO[bytes]) -> None:
    """Write ``file`` through to the disk, so that a folder with its final name is complete."""
    file.flush()
    os.fsync(file.fileno())


class _Writer(NamedTuple):
    """A process that writes a temporary folder; see `fersweep.owner.Owner`."""

    pid: int
    hostname: str
    start: None = None


def _host() -> str:
    """Return host, boot and PID namespace of this process for a file's name."""
    return with_place(socket.gethostname()).replace("/", "~")


def _clear(place: Path) -> None:
    """Remove a damaged cache folder, and temporary ones of writers that are dead or began more than a day ago."""
    shutil.rmtree(place, ignore_errors=True)
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.*.*"):
        host, process, _ = left.name.removeprefix(f".{place.name}.").rsplit(".", 2)
        writer = _Writer(int(process), host.replace("~", "/")) if process.isdecimal() else None
        if writer is not None and (is_dead(writer) or _age(left) > DAY):
            shutil.rmtree(left, ignore_errors=True)


def _age(path: Path) -> float:
    """Return the seconds since something was created in a folder; 0 if it was just removed."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """Lock a cache folder; on a file system without locks, renaming alone keeps it consistent."""
    lock = FileLock(place.parent / f".{place.name}.lock")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("waiting for another process to decode %s", place.name)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        _log.warning("no lock on %s (%s): several processes may decode the same dataset at once", place.parent, error)
    try:
        yield
    finally:
        lock.release()


def _refusal(error: OSError, folder: Path, size: int) -> UserError:
    """Return the error message for a cache that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"no space left for the decoded images in {folder}: they need {size:,} bytes ({size / 2**20:.0f} MiB), "
            "so free some or choose another folder with cache=PATH"
        )
    return UserError(
        f"cannot write the cache in {folder} ({error.strerror or error}): choose another one with cache=PATH"
    )
