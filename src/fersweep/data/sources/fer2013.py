"""FER2013 (Goodfellow et al., 2013): 35,887 grey faces of 48×48 pixels, as an archive, a folder or a CSV file.

Layouts, each in a folder, at the top of a zip archive or under further folders:

- ``train/<class>/*`` and ``test/<class>/*``: test images are PublicTest or PrivateTest by the start of their names;
  copies whose names do not say (``im0.png``) give ``Test``.
- ``fer2013.csv`` or ``icml_face_data.csv``: columns ``emotion``, ``pixels`` and ``Usage``, in any order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fersweep.data import files, images
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TEST, TRAINING, Samples, canonical
from fersweep.data.sources import fer2013_csv
from fersweep.errors import UserError
from fersweep.text import first_line

HANDLE = "msambare/fer2013/versions/1"
"""The data set that ``download=true`` asks kagglehub for; a fixed version needs no connection once it is there."""

LAYOUTS = (
    "the FER2013 archive (.zip), its folders train/<class>/ and test/<class>/, or fer2013.csv or icml_face_data.csv"
)

COUNTS = {
    TRAINING: (3995, 436, 4097, 7215, 4965, 4830, 3171),
    PUBLIC: (467, 56, 496, 895, 607, 653, 415),
    PRIVATE: (491, 55, 528, 879, 626, 594, 416),
    TEST: (958, 111, 1024, 1774, 1233, 1247, 831),
}
"""Images per usage and canonical class of a complete copy."""

_INSTEAD = f"instead, set dataset.root to {LAYOUTS}"
_CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
_IMAGE = re.compile(r"(?P<top>(?:.*/)?)(?P<part>train|test)/(?P<label>[^/]+)/(?P<file>[^/]+)", re.IGNORECASE)


class Fer2013:
    """FER2013 as `Samples`.

    Args:
        root: the archive, the folder, the CSV file, or any folder above it.
        image_size: pixels a side of the decoded images.
        channels: 1 for grey, 3 for RGB (three equal channels).
        download: get the data set from Kaggle, once, instead of naming a ``root``.
    """

    name = "fer2013"

    def __init__(
        self, root: str | Path | None = None, image_size: int = 48, channels: int = 1, download: bool = False
    ) -> None:
        self.root = root
        self.image_size = image_size
        self.channels = channels
        self.download = download

    def locate(self) -> Path:
        """Return the archive, folder or CSV file; downloads it where that was asked for.

        Raises:
            UserError: it is missing, not FER2013, there several times, or cannot be downloaded.
        """
        if self.download and self.root is not None:
            raise UserError("give dataset.root or dataset.download=true, not both")
        root = download() if self.download else self.root
        return files.locate(root, self.name, LAYOUTS, lambda path: self._recognise(path))

    def fingerprint(self) -> str:
        """Return a digest of the file names, sizes and checksums (or times), and of the decoded form."""
        tree, _ = self._open()
        names = [name for name in tree.stamps if files.is_image(name) or name.lower().endswith(".csv")]
        return files.fingerprint(tree.stamps, names, {"size": self.image_size, "channels": self.channels})

    def records(self) -> images.Records:
        """Return the images before decoding.

        Raises:
            UserError: a class folder has an unknown name, or a CSV file lacks a column.
        """
        tree, csv_name = self._open()
        return fer2013_csv.records(tree, csv_name) if csv_name else _records(tree)

    def load(self) -> Samples:
        """Decode everything.

        Raises:
            UserError: as `locate` and `records`, or an image or row is broken.
        """
        return images.load(self.records(), self.image_size, self.channels, self.name)

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        """Return ``(what, found, expected)`` for the counts a complete copy has."""
        assert records.usage is not None
        rows = []
        for usage in _usages(records.usage):
            mine = records.usage == usage
            rows.append((f"{usage} images", int(mine.sum()), sum(COUNTS[usage])))
            for index, label in enumerate(CLASSES):
                rows.append((f"{usage} {label}", int((records.labels[mine] == index).sum()), COUNTS[usage][index]))
        return rows

    def _recognise(self, path: Path) -> bool:
        if path.suffix.lower() == ".csv":
            return path.name.lower() in _CSV_NAMES or path == Path(str(self.root)).expanduser()
        if path.is_dir():
            parts = files.subfolders(path)
            return {"train", "test"} <= parts.keys() and bool(
                {canonical(name) for name in files.subfolders(parts["train"])} & set(CLASSES)
            )
        return path.suffix.lower() == ".zip" and _layout(files.open_tree(path)) is not None

    def _open(self) -> tuple[files.Tree, str]:
        """Return the files, and the name of the CSV file among them or an empty string."""
        tree = files.open_tree(self.locate(), only=("train", "test"))
        csv_name = _layout(tree)
        if csv_name is None:
            raise UserError(f"{tree.path} holds no images in train/<class>/ or test/<class>/, and no fer2013.csv.")
        return tree, csv_name


def _layout(tree: files.Tree) -> str | None:
    """Return an empty string for image folders, the name of the CSV file, or ``None`` where neither is there."""
    matches = (_IMAGE.fullmatch(name) for name in tree.stamps if files.is_image(name))
    if any(match and canonical(match["label"]) in CLASSES for match in matches):
        return ""
    tables = [name for name in tree.stamps if name.lower().endswith(".csv")]
    known = [name for wanted in _CSV_NAMES for name in tables if name.rpartition("/")[2].lower() == wanted]
    if known:
        return known[0]
    return tables[0] if tree.archive is None and len(tables) == 1 else None


def _usages(found: Iterable[str]) -> list[str]:
    """Return the usages that a copy of this kind must have, in order."""
    return [TRAINING, TEST] if TEST in set(found) else [TRAINING, PUBLIC, PRIVATE]


def _records(tree: files.Tree) -> images.Records:
    rows: list[tuple[str, str, int, str]] = []
    tops = set()
    for name in tree.images():
        match = _IMAGE.fullmatch(name)
        if match is None:
            continue
        label = canonical(match["label"])
        if label not in CLASSES:
            folder = name.rpartition("/")[0]
            raise UserError(f"{tree.path} has the folder {folder}, which is no class: use {', '.join(CLASSES)}")
        tops.add(match["top"])
        rows.append((name[len(match["top"]) :], name, CLASSES.index(label), _usage(match["part"], match["file"])))
    if len(tops) > 1:
        raise UserError(
            f"{tree.path} holds FER2013 {len(tops)} times, under {', '.join(sorted(tops))}: keep one of them"
        )
    rows.sort()
    ids, names, labels, usage = zip(*rows, strict=True)
    return images.Records(
        ids=np.array(ids),
        labels=np.array(labels, np.int64),
        class_names=CLASSES,
        read=images.reader(tree, names),
        usage=np.array(usage),
    )


def _usage(part: str, file: str) -> str:
    if part.lower() == "train":
        return TRAINING
    return next((usage for usage in (PUBLIC, PRIVATE) if file.startswith(usage)), TEST)


def download() -> Path:
    """Return the folder of the data set that kagglehub keeps, downloading it the first time.

    Raises:
        UserError: there is no connection, or Kaggle refuses.
    """
    import kagglehub
    import requests

    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except (requests.ConnectionError, requests.Timeout) as error:
        raise UserError(f"cannot download FER2013 from Kaggle: there is no connection; {_INSTEAD}") from error
    except Exception as error:
        raise UserError(f"cannot download FER2013 from Kaggle: {first_line(error)}; {_INSTEAD}") from error
