"""Files of a dataset: found below its root, and read by relative name from a folder or zip archive."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fersweep.data import contents
from fersweep.data.archives import (
    MEMBER_LIMIT,
    TAR_SUFFIXES,
    Archive,
    Guarded,
    MemberError,
    damaged,
    is_archive,
    listed,
)
from fersweep.errors import UserError
from fersweep.files import given

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
PLAIN_SUFFIXES = (".zip", ".csv")
ALL_SUFFIXES = (*PLAIN_SUFFIXES, *TAR_SUFFIXES)
FORMAT_VERSION = 1  # part of every fingerprint; increase it when decoding changes, to invalidate older caches


@dataclass(frozen=True)
class Tree:
    """The files of a folder or archive, or a single file.

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
    archive: Archive | None = None

    def read(self, name: str) -> bytes:
        """Return the bytes of the file ``name``; thread-safe.

        Raises:
            OSError: it cannot be read, or is damaged, encrypted or too large inside its archive.
        """
        if self.archive is None:
            return (self.path / name).read_bytes()
        size = self.stamps[name][0]
        if size > MEMBER_LIMIT:
            raise MemberError(f"{size / 2**20:,.0f} MiB inside an archive, of at most {MEMBER_LIMIT / 2**20:.0f}")
        try:
            return self.archive.read(name)
        except Exception as error:
            raise damaged(error) from error

    def stream(self, name: str) -> IO[bytes]:
        """Open the file ``name`` for sequential reading; opening and reading raise `OSError` if that fails."""
        if self.archive is None:
            return (self.path / name).open("rb")
        try:
            return io.BufferedReader(Guarded(self.archive.open(name)))
        except Exception as error:
            raise damaged(error) from error

    def images(self) -> list[str]:
        """Return the names of the image files, sorted."""
        return [name for name in self.stamps if is_image(name)]


def open_tree(path: Path, only: Collection[str] | None = None) -> Tree:
    """List the files of the folder, zip or tar archive (never extracted) or single file ``path``.

    Args:
        path: what to list.
        only: lower-case names of the subfolders to read, if others may be unrelated.

    Raises:
        UserError: the archive is damaged, or not to be trusted (`archives.listed`).
    """
    if not path.is_dir():
        if is_archive(path):
            found = listed(path)
            return Tree(path, found.stamps, found.folders, found.archive)
        status = path.stat()
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


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def locate(
    root: str | Path | None,
    dataset: str,
    expected: str,
    recognise: Callable[[Path], bool],
    partial: Callable[[Path], bool] | None = None,
) -> Path:
    """Return the one folder or file at or below ``root`` that holds the dataset: what `search` finds.

    Raises:
        UserError: as `search`, or ``root`` holds several.
    """
    found = search(root, dataset, expected, recognise, partial)
    if len(found) > 1:
        raise several(root, dataset, found)
    return found[0]


def several(root: object, dataset: str, found: Iterable[Path]) -> UserError:
    """Return the error of a ``root`` that holds a dataset several times."""
    places = list(map(str, found))
    return UserError(
        f"dataset.root={root} holds {dataset} data {len(places)} times: set dataset.root to one of {', '.join(places)}"
    )


def search(
    root: str | Path | None,
    dataset: str,
    expected: str,
    recognise: Callable[[Path], bool],
    partial: Callable[[Path], bool] | None = None,
) -> list[Path]:
    """Return every folder or file at or below ``root`` that holds the dataset, at least one.

    The search goes at most `SEARCH_DEPTH` levels down and does not descend into a folder that holds the dataset.
    Tar archives count where nothing else holds it: they must be unpacked to be listed.

    Args:
        root: the value of ``dataset.root``; ``~`` is expanded.
        dataset: its name, for messages.
        expected: the layouts it may have, for messages.
        recognise: returns whether a folder or file is the dataset.
        partial: returns whether one is a part of the dataset, or a lesser copy; asked if nothing is recognised.

    Raises:
        UserError: ``root`` is not given, does not exist, or holds no such dataset.
    """
    if root is None or not str(root).strip():
        raise UserError(f"dataset={dataset} needs dataset.root=PATH, where PATH holds {expected}")
    top = given(Path(root))
    if not top.exists():
        raise UserError(f"dataset.root={root} does not exist: it must hold {expected}")
    passes = [(recognise, PLAIN_SUFFIXES), (recognise, ALL_SUFFIXES)]
    passes += [(partial, ALL_SUFFIXES)] if partial else []
    for wanted, suffixes in passes:
        broken: list[UserError] = []
        if found := list(_search(top, wanted, suffixes, broken)):
            return found
    if broken:
        raise broken[0]
    held = contents.describe(top, dataset, IMAGE_SUFFIXES)
    raise UserError(f"dataset.root={root} holds no {dataset} data: it must hold {expected}; {held}")


def named(top: Path, name: str) -> list[Path]:
    """Return every file of a lower-case name at or below ``top``, as deep as `search` looks for datasets.

    Raises:
        UserError: there are too many folders.
    """
    return list(_search(top, lambda path: path.name.lower() == name and path.is_file(), (name,), []))


def _search(
    top: Path, recognise: Callable[[Path], bool], suffixes: tuple[str, ...], broken: list[UserError]
) -> Iterator[Path]:
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
                if file.name.lower().endswith(suffixes) and file.is_file() and recognise(file):
                    yield file
            except UserError as error:
                broken.append(error)
        if recognise(place):
            yield place
            below.clear()


def visible(folder: Path) -> list[Path]:
    """Return the visible files and folders in ``folder``, sorted; none of an unreadable one."""
    try:
        return sorted(path for path in folder.iterdir() if not _hidden(path.name))
    except PermissionError:
        return []


def subfolders(folder: Path) -> dict[str, Path]:
    """Return the visible folders directly in ``folder`` by lower-case name, sorted."""
    return {path.name.lower(): path for path in visible(folder) if path.is_dir()}


def has_file(folder: Path, wanted: Callable[[str], bool]) -> bool:
    """Return whether a file whose name is ``wanted`` lies directly in ``folder``."""
    return any(wanted(path.name) and path.is_file() for path in visible(folder))


def holds(folder: Path, wanted: Callable[[str], bool]) -> bool:
    """Return whether a file at or below ``folder`` is ``wanted`` by its name in a `Tree`; the first ends the search."""
    return any(wanted(name) for name, entry in _walk(folder, "", None) if entry.is_file())


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
