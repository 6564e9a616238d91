"""AffectNet's manual annotations (Mollahosseini et al., 2017): photographs from the web, labelled by one person each.

Two forms, each in a folder or an archive:

- files: ``train_set/images/0.jpg`` with its label in ``train_set/annotations/0_exp.npy``, and ``val_set/`` likewise;
  faces of 224×224 pixels;
- tables: ``training.csv`` and ``validation.csv`` with the columns ``subDirectory_filePath``, ``face_x``, ``face_y``,
  ``face_width``, ``face_height`` and ``expression``, and ``Manually_Annotated_Images/689/….jpg``, which are cut to the
  box of their row.

The test part of the authors is not public; the literature tests on the validation part, whose usage is ``Test`` here.
Nothing says who is shown. Valence, arousal and landmarks are not read.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fersweep.data import accounting, files, images
from fersweep.data.samples import CLASSES, CONTEMPT, TEST, TRAINING
from fersweep.data.sources.base import ImageFile, as_records
from fersweep.data.sources.listed import Listed, lines
from fersweep.errors import UserError

CODES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", CONTEMPT, "none", "uncertain", "no face")
"""The class of each number; the last three are no expressions and never read."""
COUNTS = (24_882, 3_803, 6_378, 134_415, 74_874, 25_459, 14_090, 3_750)
"""Training images per canonical class, contempt last (Mollahosseini et al., 2017, table 3, without validation)."""
VALIDATION = 500  # images per class
FILES_VALIDATION = 3_999  # images of all eight classes in the form of files, where one is missing

_PICTURE = re.compile(r"(?P<top>(?:.*/)?(?P<part>train|val)_set/)images/(?P<stem>[^/]+)\.[a-z]+", re.IGNORECASE)
_LABEL = re.compile(r"(?P<top>(?:.*/)?(?:train|val)_set/)annotations/(?P<stem>[^/]+)_exp\.npy", re.IGNORECASE)
_USAGE = {"train": TRAINING, "val": TEST}
_TABLES = {"training.csv": TRAINING, "validation.csv": TEST}
_PATH, _BOX, _EXPRESSION = "subdirectory_filepath", ("face_x", "face_y", "face_width", "face_height"), "expression"
_COLUMNS: tuple[str, ...] = (_PATH, *_BOX, "facial_landmarks", _EXPRESSION, "valence", "arousal")


class _Row(NamedTuple):
    """An annotated image: its id, its name in the tree (empty if its picture is missing), and its annotation."""

    id: str
    name: str
    code: int
    usage: str
    box: images.Box | None = None
    line: tuple[str, int] | None = None  # the table and the number of its line


_LAST: dict[tuple[Path, int, bool | None], list[_Row]] = {}
"""Last result of `AffectNet._rows`: some 290,000 small files, or 400,000 long lines."""


@dataclass
class AffectNet(Listed):
    """AffectNet's manually annotated images as `Samples`, with usages Training and Test.

    Args:
        root, image_size, channels: as in `ImageFiles`.
        contempt: keep contempt, as the last class, instead of leaving it out.
        crop: cut the pictures to the box of their row; by default true for tables, and impossible for files.
    """

    name = "affectnet"
    layouts = (
        "AffectNet's train_set/ and val_set/, with images/ and annotations/, or training.csv and validation.csv with "
        "Manually_Annotated_Images/"
    )
    marks = r".*_set/annotations/[^/]+_exp\.npy|(.*/)?manually_annotated_images/.*"
    lists = tuple(_TABLES)
    list_folders = ("manually_annotated_file_lists", "manually_annotated")

    contempt: bool = False
    crop: bool | None = None

    def recognise(self, path: Path) -> bool:
        if path.is_dir():
            parts = files.subfolders(path)
            places = [parts[f"{part}_set"] for part in _USAGE if f"{part}_set" in parts]
            below = [files.subfolders(place).get("annotations") for place in places]
            if any(files.holds(place, lambda name: name.endswith("_exp.npy")) for place in below if place):
                return True
        elif files.is_archive(path) and any(map(_LABEL.fullmatch, files.open_tree(path).stamps)):
            return True
        return super().recognise(path) and (path.is_dir() or _has_pictures(files.open_tree(path)))

    def shows(self, name: str) -> bool:
        return files.is_image(name)

    def reads(self, name: str) -> bool:
        return super().reads(name) or _LABEL.fullmatch(name) is not None

    def options(self, tree: files.Tree) -> dict[str, object]:
        return {**super().options(tree), "contempt": self.contempt, "crop": self.crop}

    def records(self) -> images.Records:
        """Return the images of an expression before decoding; one whose picture is missing is a fault.

        Raises:
            UserError: an annotation is damaged, no picture is annotated, or files are to be cropped.
        """
        tree = self.tree()
        wanted = [row for row in self._rows(tree) if CODES[row.code] in self._classes]
        _check_lines(tree, wanted)
        rows = [
            ImageFile(row.id, row.name, self._classes.index(CODES[row.code]), row.usage, box=row.box)
            for row in wanted
            if row.name
        ]
        if not rows:
            raise UserError(
                f"{tree.path} has annotations of AffectNet but none of their pictures: put images/ beside "
                "annotations/, or Manually_Annotated_Images/ beside training.csv, and set dataset.root to the folder "
                "that holds both"
            )
        faults = tuple((row.id, "it is annotated, but its picture is missing") for row in wanted if not row.name)
        return replace(as_records(tree, self._classes, rows), faults=faults)

    @property
    def _classes(self) -> tuple[str, ...]:
        return (*CLASSES, CONTEMPT) if self.contempt else CLASSES

    def _rows(self, tree: files.Tree) -> list[_Row]:
        """Return all annotated images, also those that are no expressions; remembered while no file changes."""
        key = (tree.path, hash(tuple(tree.stamps.items())), self.crop)
        if key not in _LAST:
            rows = self._read_rows(tree)
            _LAST.clear()
            _LAST[key] = rows
        return _LAST[key]

    def _read_rows(self, tree: files.Tree) -> list[_Row]:
        labels = {(match["top"], match["stem"]): match.string for match in map(_LABEL.fullmatch, tree.stamps) if match}
        if not labels:
            return list(_of_tables(tree, filter(self.is_list, tree.stamps), crop=self.crop is not False))
        if self.crop:
            raise UserError(f"{tree.path} has faces that are cropped already: leave dataset.source.crop out")
        return _of_files(tree, labels)

    def reasons(self) -> Callable[[str], accounting.Reason]:
        """Return a function of an image: those of no expression, or of contempt, are not missing."""
        by_folder, tree = super().reasons(), self.tree()
        codes = {row.name: row.code for row in self._rows(tree)}

        def reason(name: str) -> accounting.Reason:
            if name in codes:
                label = CODES[codes[name]]
                why = "by dataset.source.contempt" if label == CONTEMPT else "no expression"
                return f"annotated as {label}", why, False
            if "automatically_annotated" in name.lower():
                return "that people did not annotate", "", False
            return ("without an annotation", "", True) if _PICTURE.fullmatch(name) else by_folder(name)

        return reason

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        assert records.usage is not None
        found = Counter(zip(records.usage.tolist(), records.labels.tolist(), strict=True))
        kept = range(len(self._classes))
        rows = [(f"{TRAINING} images", sum(found[TRAINING, k] for k in kept), sum(COUNTS[: len(kept)]))]
        rows += [(f"{TRAINING} {name}", found[TRAINING, k], COUNTS[k]) for k, name in enumerate(self._classes)]
        every = VALIDATION * len(kept)
        tables = any(map(self.is_list, self.tree().stamps))
        return [
            *rows,
            (f"{TEST} images", sum(found[TEST, k] for k in kept), every if tables else min(every, FILES_VALIDATION)),
        ]


def _has_pictures(tree: files.Tree) -> bool:
    return any(map(files.is_image, tree.stamps))


def _of_files(tree: files.Tree, labels: Mapping[tuple[str, str], str]) -> list[_Row]:
    """Return the images of the form of files, whose ids are like ``train_set/images/0.jpg``."""
    pictures = {(match["top"], match["stem"]): match for match in map(_PICTURE.fullmatch, tree.images()) if match}
    keys = list(labels)
    codes = images.parallel(len(keys), lambda index: _code(tree, labels[keys[index]]))
    rows = []
    for (top, stem), code in zip(keys, codes, strict=True):
        match = pictures.get((top, stem))
        part = files.basename(top[:-1])
        name = match.string if match else ""
        place = f"{part}/images/{files.basename(name) or stem}"
        rows.append(_Row(place, name, code, _USAGE[part.lower().removesuffix("_set")]))
    return rows


def _code(tree: files.Tree, name: str) -> int:
    """Return the number in an annotation file, which numpy stores as text or as a number."""
    try:
        value = np.load(io.BytesIO(tree.read(name)), allow_pickle=False)
        return _checked(str(value.item()))
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise UserError(f"{tree.path / name} holds no number of 0 to {len(CODES) - 1}: copy it again") from error


def _checked(text: str) -> int:
    code = float(text)
    if code not in range(len(CODES)):
        raise ValueError(f"expression is {text!r}, and must be 0 to {len(CODES) - 1}")
    return int(code)


def _of_tables(tree: files.Tree, tables: Iterable[str], *, crop: bool) -> Iterator[_Row]:
    """Yield the images of the tables, whose ids are their paths there, like ``689/737db2483489.jpg``.

    Raises:
        UserError: a row is none of AffectNet's.
    """
    pictures = {"/".join(name.split("/")[-2:]): name for name in tree.images()}
    for table in tables:
        usage, columns = _TABLES[files.basename(table).lower()], _COLUMNS
        for number, line in lines(tree, table):
            cells = _cells(tree, table, number, line)
            if number == 1 and _EXPRESSION in (header := [cell.strip().lower() for cell in cells]):
                columns = tuple(header)
                continue
            row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
            try:
                code, box = _checked(row[_EXPRESSION]), _box(row) if crop else None
                yield _Row(row[_PATH], pictures.get(row[_PATH], ""), code, usage, box, (table, number))
            except (KeyError, ValueError) as error:
                raise UserError(
                    f"{tree.path / table} line {number} is no row of AffectNet: it needs {_PATH} and {_EXPRESSION}, a "
                    f"number of 0 to {len(CODES) - 1}"
                ) from error


def _cells(tree: files.Tree, table: str, number: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except csv.Error as error:
        raise UserError(f"{tree.path / table} line {number} is no row of AffectNet: {error}") from error


def _check_lines(tree: files.Tree, rows: Iterable[_Row]) -> None:
    """Raise UserError for a picture that two lines of the tables name, and for a box that is none."""
    first: dict[str, tuple[str, int]] = {}
    for row in rows:
        if row.line is None or not row.name:
            continue
        if row.box is not None and not all(map(math.isfinite, row.box)):
            raise UserError(
                f"{tree.path / row.line[0]} line {row.line[1]} has a box that is not of finite numbers: correct it"
            )
        table, number = first.setdefault(row.id, row.line)
        if (table, number) != row.line:
            raise UserError(
                f"{tree.path / row.line[0]} line {row.line[1]} repeats {row.id} of line {number}"
                f"{'' if table == row.line[0] else f' of {table}'}: remove one of the lines"
            )


def _box(row: Mapping[str, str]) -> images.Box | None:
    """Return the box of a face, ``None`` where the table has none (as for pictures without a face)."""
    try:
        left, top, width, height = (float(row.get(column, "")) for column in _BOX)
    except ValueError:
        return None
    if all(map(math.isnan, (left, top, width, height))):
        return None
    box = left, top, left + width, top + height
    return box if not all(map(math.isfinite, box)) or (width > 0 and height > 0) else None
