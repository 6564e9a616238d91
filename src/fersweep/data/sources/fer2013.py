"""FER2013 (Goodfellow et al., 2013): 35,887 grey faces of 48×48 pixels, as an archive, a folder or a CSV file.

Layouts, each in a folder, at the top of a zip archive or under further folders:

- ``train/<class>/*`` and ``test/<class>/*``: test images are PublicTest or PrivateTest by the prefix of their names;
  copies whose names lack it (``im0.png``) give ``Test``;
- ``Training/<class>/*``, ``PublicTest/<class>/*`` and ``PrivateTest/<class>/*``, where there is nothing else;
- either, with each part in an archive or folder of its own (``train.zip`` and ``test.zip``);
- ``fer2013.csv`` or ``icml_face_data.csv``: columns ``emotion``, ``pixels`` and ``Usage``, in any order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from fersweep.data import accounting, files, images
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TEST, TRAINING, canonical
from fersweep.data.sources import fer2013_csv
from fersweep.data.sources.base import ImageFile, as_records
from fersweep.data.sources.joined import Joined
from fersweep.data.sources.layout import part_of
from fersweep.errors import UserError
from fersweep.text import first_line, listed

HANDLE = "msambare/fer2013/versions/1"
"""The data set that ``download=true`` requests from kagglehub; a fixed version needs no connection once downloaded."""

COUNTS = {
    TRAINING: (3995, 436, 4097, 7215, 4965, 4830, 3171),
    PUBLIC: (467, 56, 496, 895, 607, 653, 415),
    PRIVATE: (491, 55, 528, 879, 626, 594, 416),
    TEST: (958, 111, 1024, 1774, 1233, 1247, 831),
}
"""Images per usage and canonical class of a complete copy."""

_CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
_PARTS = (("train", "test"), ("training", "publictest", "privatetest"))
_USAGES = {"train": TRAINING, "training": TRAINING, "publictest": PUBLIC, "privatetest": PRIVATE}
_PATTERNS = tuple(
    re.compile(rf"(?P<top>(?:.*/)?)(?P<part>{'|'.join(parts)})/(?P<label>[^/]+)/(?P<file>[^/]+)", re.IGNORECASE)
    for parts in _PARTS
)


@dataclass
class Fer2013(Joined):
    """FER2013 as `Samples`.

    Args:
        root, image_size, channels: as in `ImageFiles`; ``root`` may also be the CSV file.
        download: download the data set from Kaggle, once, instead of naming a ``root``.
    """

    name = "fer2013"
    layouts = (
        "the FER2013 archive (.zip or .tar.gz), its folders train/<class>/ and test/<class>/, or Training/<class>/, "
        "PublicTest/<class>/ and PrivateTest/<class>/, or fer2013.csv or icml_face_data.csv"
    )

    marks = r"(.*/)?((training|publictest|privatetest)_\d+\.[a-z]+|fer2013\.csv|icml_face_data\.csv)"

    download: bool = False

    def places(self) -> list[Path]:
        """Return the archive, folder or CSV file, or those that hold one part each; download it if requested.

        Raises:
            UserError: it is missing, incomplete, not FER2013, found several times, or cannot be downloaded.
        """
        if self.download and self.root is not None:
            raise UserError("give dataset.root or dataset.download=true, not both")
        root = download() if self.download else self.root
        found = files.search(root, self.name, self.layouts, self.recognise, lambda path: bool(_held(path)))
        named = found == [Path(str(root)).expanduser()]
        if len(found) > 1 or found[0].is_dir() or (not named and _beside(found[0])):
            held = {place: _held(place) for place in found}
            parts = set().union(*held.values())
            if len(found) > 1 and (not all(held.values()) or sum(map(len, held.values())) > len(parts)):
                raise files.several(root, self.name, found)
            _check_complete(found, parts)
        return found

    def recognise(self, path: Path) -> bool:
        if path.suffix.lower() == ".csv":
            return path.name.lower() in _CSV_NAMES or super().recognise(path)
        if path.is_dir():
            return _parts(path) == _PARTS[0]
        return files.is_archive(path) and _layout(files.open_tree(path), _PATTERNS[:1]) is not None

    def opened(self, place: Path) -> files.Tree:
        return files.open_tree(place, _held(place) if place.is_dir() else None)

    def tree(self) -> files.Tree:
        tree = super().tree()
        if not self.holds(tree):
            raise UserError(f"{tree.path} holds no images in train/<class>/ or test/<class>/, and no fer2013.csv.")
        return tree

    def holds(self, tree: files.Tree) -> bool:
        """Return whether files are laid out in one of the ways that are read."""
        return _layout(tree) is not None

    def reads(self, name: str) -> bool:
        return files.is_image(name) or name.lower().endswith(".csv")

    def records(self) -> images.Records:
        """Return the images before decoding.

        Raises:
            UserError: a class folder has an unknown name, or a CSV file lacks a column.
        """
        tree = self.tree()
        csv_name = _layout(tree)
        return fer2013_csv.records(tree, csv_name) if csv_name else _of_folders(tree)

    def read_names(self) -> Collection[str] | None:
        tree = self.tree()
        csv_name = _layout(tree)
        return (csv_name,) if csv_name else _of_folders(tree).names

    def reasons(self) -> Callable[[str], accounting.Reason]:
        by_folder = super().reasons()

        def reason(name: str) -> accounting.Reason:
            kind, why, missing = by_folder(name)
            is_part = "/" in name and part_of(name.partition("/")[0]) is not None
            return kind, "read all parts with dataset=folder" if is_part else why, missing

        return reason

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        assert records.usage is not None
        rows = []
        for usage in (TRAINING, TEST) if TEST in records.usage else (TRAINING, PUBLIC, PRIVATE):
            labels = records.labels[records.usage == usage]
            rows.append((f"{usage} images", len(labels), sum(COUNTS[usage])))
            for index, label in enumerate(CLASSES):
                rows.append((f"{usage} {label}", int((labels == index).sum()), COUNTS[usage][index]))
        return rows


def _parts(folder: Path) -> tuple[str, ...]:
    """Return the lower-case names of a folder's part folders, empty if they are not those of FER2013."""
    below = files.subfolders(folder)
    for parts in _PARTS:
        if set(parts) <= below.keys() and any(canonical(name) in CLASSES for name in files.subfolders(below[parts[0]])):
            return parts
    return ()


def _held(path: Path) -> tuple[str, ...]:
    """Return the lower-case names of the parts that a folder or archive holds, in one of the layouts."""
    if path.is_dir():
        below = files.subfolders(path)
        held = {name for name in below if any(canonical(each) in CLASSES for each in files.subfolders(below[name]))}
        some = (tuple(part for part in parts if part in held) for parts in _PARTS)
        return _parts(path) or next(filter(None, some), ())
    tree = files.open_tree(path) if files.is_archive(path) else None
    pattern = _pattern(tree) if tree else None
    matches = map(pattern.fullmatch, tree.images()) if tree and pattern else ()
    return tuple(sorted({match["part"].lower() for match in filter(None, matches)}))


def _beside(place: Path) -> list[Path]:
    """Return the folders and archives beside ``place`` that are named after a part."""
    named = {path for path in files.visible(place.parent) if part_of(path.name.partition(".")[0])}
    return sorted(path for path in named - {place} if path.is_dir() or files.is_archive(path))


def _check_complete(found: Sequence[Path], parts: set[str]) -> None:
    """Raise UserError if a part is missing in a folder, or in an archive beside which others lie."""
    wanted = next((each for each in _PARTS if parts & set(each)), ())
    lacks = [f"{part}/" for part in wanted if part not in parts]
    beside = [path for path in _beside(found[0]) if path not in found]
    if not lacks or not (beside or found[0].is_dir()):
        return
    has = listed([f"{part}/" for part in wanted if part in parts], "and")
    near = f", and {beside[0]} lies beside it" if beside else ""
    raise UserError(
        f"{found[0]} holds {has} of FER2013 without {listed(lacks, 'and')}{near}: put "
        f"{listed([f'{part}/' for part in wanted], 'and')}, unpacked, into one folder, and set dataset.root to it"
    )


def _pattern(tree: files.Tree, patterns: Sequence[re.Pattern[str]] = _PATTERNS) -> re.Pattern[str] | None:
    """Return the first pattern of part and class folders that an image of a known class matches."""
    names = tree.images()
    for pattern in patterns:
        if any(canonical(match["label"]) in CLASSES for match in filter(None, map(pattern.fullmatch, names))):
            return pattern
    return None


def _layout(tree: files.Tree, patterns: Sequence[re.Pattern[str]] = _PATTERNS) -> str | None:
    """Return an empty string for image folders, the name of the CSV file, or ``None`` if there is neither."""
    if _pattern(tree, patterns[:1]):
        return ""
    tables = [name for name in tree.stamps if name.lower().endswith(".csv")]
    known = [name for wanted in _CSV_NAMES for name in tables if files.basename(name).lower() == wanted]
    if known:
        return known[0]
    if _pattern(tree, patterns[1:]):
        return ""
    return tables[0] if tree.archive is None and len(tables) == 1 else None


def _of_folders(tree: files.Tree) -> images.Records:
    rows, pattern = [], _pattern(tree)
    parts: dict[str, set[str]] = defaultdict(set)
    assert pattern is not None, "the layout is that of folders"
    for match in filter(None, map(pattern.fullmatch, tree.images())):
        name, top, label = match.string, match["top"], canonical(match["label"])
        if label not in CLASSES:
            folder = name.rpartition("/")[0]
            raise UserError(f"{tree.path} has the folder {folder}, which is not a class: use {', '.join(CLASSES)}")
        parts[top].add(match["part"].lower())
        rows.append(ImageFile(name[len(top) :], name, CLASSES.index(label), _usage(match["part"], match["file"])))
    if sum(map(len, parts.values())) > len(set().union(*parts.values())):
        raise UserError(
            f"{tree.path} holds FER2013 {len(parts)} times, under {', '.join(sorted(parts))}: keep one of them"
        )
    return as_records(tree, CLASSES, rows)


def _usage(part: str, file: str) -> str:
    if usage := _USAGES.get(part.lower()):
        return usage
    return next((usage for usage in (PUBLIC, PRIVATE) if file.startswith(usage)), TEST)


def download() -> Path:
    """Return kagglehub's folder of the data set, downloading it the first time.

    Raises:
        UserError: there is no connection, or Kaggle refuses.
    """
    import kagglehub
    import requests

    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except Exception as error:
        offline = isinstance(error, requests.ConnectionError | requests.Timeout)
        reason = "there is no connection" if offline else first_line(error)
        raise UserError(
            f"cannot download FER2013 from Kaggle: {reason}; instead, set dataset.root to {Fer2013.layouts}"
        ) from error
