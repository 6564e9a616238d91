"""Zip and tar archives, listed and read without unpacking them into a folder."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol

from fersweep.errors import UserError
from fersweep.text import first_line

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MEMBER_LIMIT = 2**28
"""Greatest size in bytes of a file that is read from an archive at once: archives of a few kB can hold more."""
TAR_LIMIT = 2**32
"""Greatest size in bytes of a compressed tar archive once unpacked."""

_UNSAFE = re.compile(r"^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")
_CHUNK = 2**20  # bytes per step of unpacking


class Archive(Protocol):
    """An open archive."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; thread-safe."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file for sequential reading."""


@dataclass(frozen=True)
class Listing:
    """An open archive, ``(size, CRC-32)`` of its visible files by name, and the names of its folders, both sorted."""

    archive: Archive
    stamps: dict[str, tuple[int, int]]
    folders: tuple[str, ...]


def is_archive(path: Path) -> bool:
    """Return whether the suffix of ``path`` is that of a zip or tar archive."""
    return path.name.lower().endswith((".zip", *TAR_SUFFIXES))


def listed(path: Path) -> Listing:
    """Open the archive ``path`` and list it; the last two are remembered while their files are unchanged.

    Raises:
        UserError: it cannot be read, is damaged, unpacks to too much, or holds a link or a name that points outside.
    """
    status = path.stat()
    reads = _zip if path.suffix.lower() == ".zip" else _tar
    return reads(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _zip(path: Path, _size: int, _modified: int) -> Listing:
    """List an archive; size and modification time are arguments so that a changed one is listed again."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # damaged directories raise anything
        raise UserError(
            f"{path} is not a complete zip archive ({first_line(error)}): copy or download it again"
        ) from error
    try:
        entries = ((info.filename, info.is_dir(), info.file_size, info.CRC) for info in archive.infolist())
        return _listing(archive, path, entries)
    except BaseException:
        archive.close()
        raise


def _listing(archive: Archive, path: Path, entries: Iterator[tuple[str, bool, int, int]]) -> Listing:
    """Return the listing of ``(name, is a folder, size, CRC-32)``, without hidden files and ``__MACOSX``."""
    stamps: dict[str, tuple[int, int]] = {}
    folders: set[str] = set()
    for name, is_folder, size, crc in entries:
        if name.startswith("/") or _UNSAFE.search(name):
            raise UserError(f"{path} holds the name {name!r}, which points outside of the archive: do not trust it")
        if name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name:
            continue
        folders.add(name.rpartition("/")[0])
        if not is_folder:
            stamps[name] = (size, crc)
    return Listing(archive, dict(sorted(stamps.items())), tuple(sorted(folders - {""})))


class _Tar:
    """The regular files of a tar archive, in a file that is not compressed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def entries(self, path: Path) -> Iterator[tuple[str, bool, int, int]]:
        """Yield ``(name, is a folder, size, CRC-32)`` of each member.

        Raises:
            UserError: one is a link or a device.
            EOFError: the end of the archive is missing, or a damaged header hides it.
        """
        archive = tarfile.TarFile(fileobj=self._file)
        for info in archive:
            name = info.name.removeprefix("./")
            if info.isdir():
                yield f"{name}/", True, 0, 0
            elif info.isreg() and not info.issparse():
                self._places[name] = (info.offset_data, info.size)
                with self.open(name) as file:
                    crc = 0
                    while data := file.read(_CHUNK):
                        crc = zlib.crc32(data, crc)
                yield name, False, info.size, crc
            else:
                raise UserError(f"{path} holds {name!r}, which is no ordinary file: unpack it and name its folder")
        if os.pread(self._file.fileno(), tarfile.BLOCKSIZE, archive.offset) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("its end is missing")  # tarfile takes what it cannot parse as the end

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def open(self, name: str) -> IO[bytes]:
        return io.BufferedReader(_Section(self._file.fileno(), *self._places[name]))


class _Section(io.RawIOBase):
    """Bytes of an open file from ``start`` on, read without moving its position."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._place, self._end = descriptor, start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = os.pread(self._descriptor, min(len(buffer), self._end - self._place), self._place)
        if not data and self._place < self._end:
            raise EOFError("the archive ends early")
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


@lru_cache(maxsize=4)
def _tar(path: Path, _size: int, _modified: int) -> Listing:
    try:
        archive = _Tar(_unpacked(path))
        try:
            return _listing(archive, path, archive.entries(path))
        except BaseException:
            archive.close()
            raise
    except UserError:
        raise
    except (EOFError, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, ValueError) as error:
        raise UserError(
            f"{path} is not a complete tar archive ({first_line(error)}): copy or download it again"
        ) from error
    except OSError as error:
        raise UserError(f"cannot unpack {path}: {error.strerror or error}") from error


def _unpacked(path: Path) -> IO[bytes]:
    """Return the open archive, or a nameless temporary file with what a compressed one unpacks to.

    Raises:
        UserError: that is more than `TAR_LIMIT`.
    """
    file = path.open("rb")
    kinds: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}
    try:
        opened = kinds.get(file.read(3))
        file.seek(0)
    except OSError:
        file.close()
        raise
    if opened is None:
        return file
    target = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the archive is)
    try:
        with file, opened(file) as source:
            while data := source.read(_CHUNK):
                if target.tell() > TAR_LIMIT:
                    most = f"{TAR_LIMIT / 2**30:.0f} GiB"
                    raise UserError(f"{path} unpacks to more than {most}: unpack it and name its folder")
                target.write(data)
    except BaseException:
        target.close()
        raise
    target.seek(0)
    return target


class Guarded(io.RawIOBase):
    """A file of an archive whose damage is an `OSError`, whatever the archive's library raises."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            raise damaged(error) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class MemberError(OSError):
    """A file that cannot be read from its archive; the message gives the reason, not the name."""


def damaged(error: Exception) -> OSError:
    """Return an `OSError` for what reading a file of an archive raised."""
    if isinstance(error, MemberError) or (isinstance(error, OSError) and error.errno):
        return error
    return MemberError(f"damaged or encrypted inside its archive ({error})")
