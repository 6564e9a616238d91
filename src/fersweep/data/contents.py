"""Contents of a folder that holds no dataset or picture: named in the error, with what to do about them."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from fersweep.data import archives
from fersweep.data.archives import is_archive
from fersweep.data.samples import CLASSES, CONTEMPT, canonical
from fersweep.text import counted, listed, printable

FOLDER, FRAMES = "folder", "save their frames as images"
_FILES = 20_000  # files that are looked at
_KINDS = 3  # kinds that a sentence names
_PACKED = (".rar", ".7z", ".gz", ".bz2", ".xz", ".zst", ".001", ".z01", ".r00")
_TABLES = (".csv", ".tsv", ".parquet", ".npy", ".npz", ".h5", ".hdf5", ".mat", ".pkl", ".pt")
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg")
_PHOTOS = (".heic", ".heif")


def describe(top: Path, dataset: str, images: tuple[str, ...], videos: str = FRAMES) -> str:
    """Return a clause on what a folder or file holds instead of a dataset, and what to do.

    Args:
        top: the folder, archive or other file.
        dataset: name of the dataset that was searched for; empty for pictures.
        images: the suffixes of images.
        videos: what to do with videos.

    Raises:
        UserError: the archive is damaged.
    """
    if not top.is_dir() and not is_archive(top):
        return _advice({_kind(top.name, images): [top.name]}, dataset, videos) or (
            "this file is none of them" if dataset else "it is no picture"
        )
    found: dict[str, list[str]] = {}
    names = _names(top)
    for name in names:
        found.setdefault(_kind(name, images), []).append(name)
    if not found:
        return "it is empty, or holds empty folders only"
    counts = Counter({kind: len(names) for kind, names in found.items()})
    kinds = [counted(number, kind) for kind, number in counts.most_common(_KINDS)]
    more = [counted(len(counts) - _KINDS, "more kind")] * (len(counts) > _KINDS)
    advice = _owner(names, dataset) or _advice(found, dataset, videos)
    first = printable(found[counts.most_common(1)[0][0]][0])
    return f"it holds {listed([*kinds, *more], 'and')}, such as {first}" + (f": {advice}" if advice else "")


def owner(top: Path, dataset: str) -> str:
    """Return a clause on the dataset whose files are in a folder or archive, by their names (``ImageFiles.marks``).

    It is empty if that is unknown, or is ``dataset``, which was searched for.
    """
    return _owner(_names(top), dataset) if top.is_dir() or is_archive(top) else ""


def _owner(names: Iterable[str], dataset: str) -> str:
    if not dataset:  # pictures were searched for
        return ""
    lower = [(name, name.lower()) for name in names]
    package = importlib.import_module("fersweep.data.sources")  # which import this module
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        for source in filter(lambda each: vars(each).get("marks"), _classes(module)):
            example = next((name for name, low in lower if re.fullmatch(source.marks, low)), "")
            if example and source.name != dataset:
                return f"dataset={source.name} reads files like {printable(example)}"
    return ""


def _classes(module: ModuleType) -> Iterator[Any]:
    """Yield the classes that a module defines."""
    every = (each for each in vars(module).values() if isinstance(each, type))
    return (each for each in every if each.__module__ == module.__name__)


def _names(top: Path) -> list[str]:
    """Return the names of the first `_FILES` visible files in a folder or archive."""
    if not top.is_dir():
        return list(islice(archives.listed(top).stamps, _FILES))
    names: list[str] = []
    for folder, below, files in os.walk(top):
        below[:] = sorted(name for name in below if not name.startswith("."))
        place = Path(folder).relative_to(top)
        names += [(place / name).as_posix() for name in sorted(files) if not name.startswith(".")]
        if len(names) > _FILES:
            break
    return names[:_FILES]


def _kind(name: str, images: tuple[str, ...]) -> str:
    """Return the kind of a file: ``image``, ``archive``, or one named after its suffix."""
    if name.lower().endswith(images):
        return "image"
    if is_archive(Path(name)):
        return "archive"
    suffix = PurePosixPath(name).suffix.lower()
    return f"{printable(suffix)} file" if suffix else "file without a suffix"


def _advice(found: dict[str, list[str]], dataset: str, videos: str) -> str:
    """Return what to do about the first kind that says it; empty if none does."""
    suffixes = {kind.removesuffix(" file") for kind in found}
    if packed := [names[0] for kind, names in found.items() if kind.removesuffix(" file") in _PACKED]:
        return f"unpack {printable(packed[0])}"
    if images := found.get("image"):
        parents = {name.split("/")[-2] for name in images if "/" in name}
        if dataset not in ("", FOLDER) and len(parents) > 1 and all(_is_class(parent) for parent in parents):
            return f"dataset={FOLDER} reads images in folders of classes"
        return ""
    if "archive" in found:
        return "unpack each archive into a folder of its own name"
    if dataset and suffixes.intersection(_TABLES):
        if dataset in ("fer2013", "ferplus"):
            return "a table with the columns emotion, pixels and Usage is read if dataset.root names the file itself"
        return f"dataset={dataset} is read from files of images, not from tables"
    if suffixes.intersection(_VIDEOS):
        return videos
    return "save them as PNG or JPEG" if suffixes.intersection(_PHOTOS) else ""


def _is_class(folder: str) -> bool:
    return canonical(folder) in (*CLASSES, CONTEMPT) or (len(folder) == 1 and folder.isdigit())
