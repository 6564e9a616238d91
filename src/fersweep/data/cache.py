"""Decoded once: a dataset's images as a memory-mapped file, found by what the source holds."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import socket
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from fersweep.data.samples import Samples
from fersweep.errors import UserError

_log = logging.getLogger(__name__)


class Source(Protocol):
    """What the cache needs of a dataset source."""

    @property
    def name(self) -> str:
        """Return the name of the dataset."""

    def fingerprint(self) -> str:
        """Return a digest of everything that `load` depends on."""

    def load(self) -> Samples:
        """Decode everything."""


def load(source: Source, cache_dir: Path) -> Samples:
    """Return a source's samples with memory-mapped, read-only images; decode them first where that is not done yet.

    The folder ``<name>-<fingerprint>`` is written beside its place and moved there when it is complete, so that any
    number of processes may call this at once and none reads half of it. They wait for the first to decode.

    Raises:
        UserError: the source is wrong, it changes while it is read, or the cache cannot be written.
    """
    fingerprint = source.fingerprint()
    place = Path(cache_dir) / f"{source.name}-{fingerprint[:16]}"
    samples = _read(place)
    if samples is not None:
        return samples
    _make_folder(place.parent)
    with _lock(place):
        samples = _read(place)
        if samples is None:
            _clear(place)
            _log.info("decoding %s into %s", source.name, place)
            decoded = source.load()
            if source.fingerprint() != fingerprint:
                raise UserError(
                    f"{source.name} changed while it was read: start again when nothing writes to it any more"
                )
            _write(decoded, place)
            samples = _read(place)
    if samples is None:
        raise UserError(
            f"the cache folder {place} cannot be read back: remove it, or choose another one with cache=PATH"
        )
    return samples


def _read(place: Path) -> Samples | None:
    """Return what a cache folder holds, or ``None`` where it is absent or damaged."""
    try:
        images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        with np.load(place / "samples.npz", allow_pickle=False) as arrays:
            known = {name: arrays[name] for name in arrays.files}
        names = tuple(json.loads((place / "classes.json").read_text(encoding="utf-8")))
        samples = Samples(images=images, class_names=names, **known)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return samples if len(images) == len(samples) == len(samples.ids) else None


def _write(samples: Samples, place: Path) -> None:
    """Write a cache folder beside ``place`` and move it there."""
    temporary = place.parent / f".{place.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    known = {name: getattr(samples, name) for name in ("labels", "ids", "subjects", "usage", "sequences")}
    try:
        temporary.mkdir()
        with (temporary / "images.npy").open("wb") as file:
            _write_array(file, samples.images)
        with (temporary / "samples.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **{name: array for name, array in known.items() if array is not None})
            _flush(file)
        (temporary / "classes.json").write_text(json.dumps(list(samples.class_names)), encoding="utf-8")
        _move(temporary, place)
    except OSError as error:
        raise _refusal(error, place.parent, samples.images.nbytes) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_array(file: IO[bytes], array: npt.NDArray[np.uint8]) -> None:
    """Write ``array`` as ``.npy``. Unlike NumPy's own writer it says why where the disk is full."""
    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)
    _flush(file)


def _flush(file: IO[bytes]) -> None:
    """Wait until ``file`` is on the disk, so that a folder which has its final name is complete."""
    file.flush()
    os.fsync(file.fileno())


def _move(temporary: Path, place: Path) -> None:
    """Give a complete folder its final name, unless another process was first: both wrote the same."""
    try:
        temporary.rename(place)
    except OSError:
        if _read(place) is None:
            raise


def _clear(place: Path) -> None:
    """Remove a damaged cache folder and what processes of this machine that died while writing it left behind."""
    shutil.rmtree(place, ignore_errors=True)
    for left in place.parent.glob(f".{place.name}.{socket.gethostname()}.*"):
        process = left.name.split(".")[-2]
        if process.isdigit() and int(process) != os.getpid() and not _alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """Hold the lock of a cache folder; a file system without locks does without, and `_move` keeps it safe."""
    lock = FileLock(place.parent / f".{place.name}.lock")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("waiting for another process that decodes %s", place.name)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        _log.warning("no lock on %s (%s): several processes may decode the same at once", place.parent, error)
    try:
        yield
    finally:
        lock.release()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(error, folder, 0) from error


def _refusal(error: OSError, folder: Path, size: int) -> UserError:
    """Say in one sentence why the cache cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"no space left for the decoded images in {folder}: they need {size:,} bytes ({size / 2**20:.0f} MiB), "
            "so free some or choose another folder with cache=PATH"
        )
    return UserError(
        f"cannot write the cache in {folder} ({error.strerror or error}): choose another one with cache=PATH"
    )
