"""Files of a dataset: found below its root, and read by relative name from a folder or zip archive."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from fersweep.errors import UserError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".webp"),
    *(".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".pgm", ".ppm", ".pbm", ".pnm", ".tga"),
    *(".icb", ".vda", ".vst", ".pcx", ".dcx", ".psd", ".qoi", ".dds", ".sgi", ".rgb", ".rgba", ".bw", ".ras", ".im"),
    *(".ico", ".icns", ".cur", ".xbm", ".xpm", ".fli", ".flc", ".blp", ".ftc", ".ftu", ".gbr", ".msp", ".pxr"),
)
"""Suffixes of the pictures that Pillow decodes to whole numbers without another program."""
FOREIGN_SUFFIXES = (".heic", ".heif")
"""Suffixes of pictures that Pillow cannot decode: named where pictures are asked for, never part of a dataset."""
SEARCH_DEPTH = 3  # levels of folders below dataset.root in which a dataset is searched for
SEARCH_LIMIT = 2000  # folders visited before the search gives up: dataset.root=/ must not walk a disk
FORMAT_VERSION = 1  # part of every fingerprint; increase it when decoding changes, to invalidate older caches
_UNSAFE = re.compile(r"^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")


@dataclass(frozen=True)
class Tree:
    """The files of a folder or zip archive, or a single file.

    Attributes:
        path: the folder or archive, or the folder of the single file.
        stamps: ``(size in bytes, CRC-32 in an archive | modification time in ns in a folder)`` by relative name with
            forward slashes, sorted by name. Hidden files and macOS's ``__MACOSX`` are left out.
        folders: the relative names of its folders, empty ones included, sorted.
        archive: the open archive; ``None`` for a folder.
    """

    path: Path
    stamps: dict[str, tuple[int, int]]
    folders: tuple[str, ...]
    archive: zipfile.ZipFile | None = None

    def read(self, name: str) -> bytes:
        """Return the bytes of the file ``name``; thread-safe.

        Raises:
            OSError: it cannot be read, or is damaged or encrypted inside its archive.
        """
        if self.archive is None:
            return (self.path / name).read_bytes()
        try:
            return self.archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise OSError(f"damaged or encrypted inside its archive ({error})") from error

    def stream(self, name: str) -> IO[bytes]:
        """Open the file ``name`` for sequential reading; `OSError` if that fails."""
        return (self.path / name).open("rb") if self.archive is None else self.archive.open(name)

    def images(self) -> list[str]:
        """Return the names of the image files, sorted."""
        return [name for name in self.stamps if is_image(name)]


def open_tree(path: Path, only: Collection[str] | None = None) -> Tree:
    """List the files of the folder, zip archive (never extracted) or single file ``path``.

    Args:
        path: what to list.
        only: lower-case names of the subfolders to read, if others may be unrelated.

    Raises:
        UserError: the archive is damaged, or a name in it points outside of it.
    """
    if not path.is_dir():
        status = path.stat()
        if path.suffix.lower() == ".zip":
            return _open_zip(path, status.st_size, status.st_mtime_ns)
        return Tree(path.parent, {path.name: (status.st_size, status.st_mtime_ns)}, ())
    stamps: dict[str, tuple[int, int]] = {}
    folders: list[str] = []
    for name, entry in _walk(path, "", only):
        if entry.is_dir():
            folders.append(name)
        else:
            status = entry.stat()
            stamps[name] = (status.st_size, status.st_mtime_ns)
    return Tree(path, dict(sorted(stamps.items())), tuple(sorted(folders)))


def _walk(folder: Path, prefix: str, only: Collection[str] | None) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield every visible file and folder below ``folder`` with its relative name; links to folders are followed."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not _hidden(entry.name)]
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error
    for entry in found:
        if entry.is_dir():
            if only is None or entry.name.lower() in only:
                yield prefix + entry.name, entry
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", None)
        elif entry.is_file():
            yield prefix + entry.name, entry


@lru_cache(maxsize=2)
def _open_zip(path: Path, _size: int, _modified: int) -> Tree:
    """List an archive; size and modification time are arguments so that a changed one is listed again."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise UserError(f"{path} is not a complete zip archive ({error}): copy or download it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    stamps: dict[str, tuple[int, int]] = {}
    folders: set[str] = set()
    for info in archive.infolist():
        name = info.filename
        if name.startswith("/") or _UNSAFE.search(name):
            archive.close()
            raise UserError(f"{path} holds the name {name!r}, which points outside of the archive: do not trust it")
        if name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name:
            continue
        folder = name.rpartition("/")[0]
        folders.add(folder)
        if folder + "/" != name:
            stamps[name] = (info.file_size, info.CRC)
    return Tree(path, dict(sorted(stamps.items())), tuple(sorted(folders - {""})), archive)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def locate(root: str | Path | None, dataset: str, expected: str, recognise: Callable[[Path], bool]) -> Path:
    """Return the one folder or file at or below ``root`` that holds the dataset.

    The search goes at most `SEARCH_DEPTH` levels down and does not descend into a folder that holds the dataset.

    Args:
        root: the value of ``dataset.root``; ``~`` is expanded.
        dataset: its name, for messages.
        expected: the layouts it may have, for messages.
        recognise: returns whether a folder or file is the dataset.

    Raises:
        UserError: ``root`` is not given, does not exist, or holds no such dataset, or several.
    """
    if root is None or not str(root).strip():
        raise UserError(f"dataset={dataset} needs dataset.root=PATH, where PATH holds {expected}")
    top = Path(root).expanduser()
    if not top.exists():
        raise UserError(f"dataset.root={root} does not exist: it must hold {expected}")
    broken: list[UserError] = []
    found = list(_search(top, recognise, broken))
    if not found and broken:
        raise broken[0]
    if not found:
        raise UserError(f"dataset.root={root} holds no {dataset} data: it must hold {expected}")
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise UserError(
            f"dataset.root={root} holds {dataset} data {len(found)} times: set dataset.root to one of {names}"
        )
    return found[0]


def _search(top: Path, recognise: Callable[[Path], bool], broken: list[UserError]) -> Iterator[Path]:
    """Yield every place that holds the dataset; errors of damaged archives are added to ``broken``."""
    if not top.is_dir():
        if recognise(top):
            yield top
        return
    for visited, (folder, below, names) in enumerate(os.walk(top, followlinks=True), start=1):
        if visited > SEARCH_LIMIT:
            raise UserError(f"dataset.root={top} holds too many folders to search: name a deeper one")
        place = Path(folder)
        deep = len(place.relative_to(top).parts) == SEARCH_DEPTH
        below[:] = [] if deep else sorted(name for name in below if not _hidden(name))
        for file in (place / name for name in sorted(names) if not _hidden(name)):
            try:
                if file.suffix.lower() in (".zip", ".csv") and file.is_file() and recognise(file):
                    yield file
            except UserError as error:
                broken.append(error)
        if recognise(place):
            yield place
            below.clear()


def _visible(folder: Path) -> list[Path]:
    """Return the visible files and folders in ``folder``, sorted; none of an unreadable one."""
    try:
        return sorted(path for path in folder.iterdir() if not _hidden(path.name))
    except PermissionError:
        return []


def subfolders(folder: Path) -> dict[str, Path]:
    """Return the visible folders directly in ``folder`` by lower-case name, sorted."""
    return {path.name.lower(): path for path in _visible(folder) if path.is_dir()}


def has_file(folder: Path, wanted: Callable[[str], bool]) -> bool:
    """Return whether a file whose name is ``wanted`` lies directly in ``folder``."""
    return any(wanted(path.name) and path.is_file() for path in _visible(folder))


def basename(name: str) -> str:
    """Return the last component of a name in a `Tree`."""
    return name.rpartition("/")[2]


def is_image(name: str) -> bool:
    """Return whether ``name`` has the suffix of an image file."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def fingerprint(stamps: Mapping[str, tuple[int, int]], names: Iterable[str], options: Mapping[str, object]) -> str:
    """Return the hex digest of a source: its files' names and stamps, and the ``options`` it is read with.

    It does not depend on the path: an archive has the same fingerprint on every machine.
    """
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, dict(options)], sort_keys=True).encode())
    digest.update("".join(f"\n{name}\0{stamps[name]}" for name in names).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
