"""The CSV form of FER2013: one row an image, ``emotion,pixels,Usage``, its 2,304 pixels as text."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from fersweep.data.files import Tree
from fersweep.data.images import Pixels, Records
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING
from fersweep.errors import UserError

CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The class that each number in the column ``emotion`` stands for."""

SIDE = 48
_COLUMNS = ("emotion", "pixels", "usage")
_USAGES = (TRAINING, PUBLIC, PRIVATE)
_BLANK, _ZERO = ord(" "), ord("0")


def records(tree: Tree, name: str) -> Records:
    """Read the CSV file ``name``; its rows' ids are ``<file name>/<row, six digits>``, counted from 1 below the header.

    Raises:
        UserError: it lacks a column, has no rows, or is no text table. Broken rows are `Records.faults`.
    """
    where = tree.path / name
    short = name.rpartition("/")[2]
    ids, labels, usages, faults = [], [], [], []
    pixels: list[Pixels] = []
    try:
        for row, cells in enumerate(_rows(tree, name), start=1):
            try:
                label, image, usage = _parse(cells)
            except ValueError as error:
                faults.append((f"{where} row {row} (line {row + 1})", str(error)))
                continue
            ids.append(f"{short}/{row:06d}")
            labels.append(label)
            usages.append(usage)
            pixels.append(image)
    except (OSError, csv.Error, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UserError(f"cannot read {where}: {error}") from error
    if not ids and not faults:
        raise UserError(f"{where} has a header but no rows: copy or download it again")
    return Records(
        ids=np.array(ids, np.str_),
        labels=np.array(labels, np.int64),
        class_names=CLASSES,
        read=lambda index: pixels[index],
        usage=np.array(usages, np.str_),
        faults=tuple(faults),
    )


def _rows(tree: Tree, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield the cells ``emotion``, ``pixels`` and ``Usage`` of every row; missing ones are empty."""
    with tree.stream(name) as raw, io.TextIOWrapper(raw, "utf-8-sig", errors="replace", newline="") as text:
        table = csv.reader(text)
        header = [cell.strip().lower() for cell in next(table, [])]
        missing = [column for column in _COLUMNS if column not in header]
        if missing:
            raise UserError(
                f"{tree.path / name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: "
                "its first line must name emotion, pixels and Usage"
            )
        emotion, pixels, usage = (header.index(column) for column in _COLUMNS)
        width = len(header)
        for cells in table:
            if cells:
                cells += [""] * (width - len(cells))
                yield cells[emotion], cells[pixels], cells[usage]


def _parse(cells: tuple[str, str, str]) -> tuple[int, Pixels, str]:
    """Return the canonical label, the image and the usage of one row.

    Raises:
        ValueError: one of the cells is not what it should be; the text says which.
    """
    emotion, pixels, usage = cells[0].strip(), cells[1], cells[2].strip()
    if not (emotion.isascii() and emotion.isdigit() and int(emotion) < len(CODES)):
        raise ValueError(f"emotion is {emotion!r}, and must be 0 to {len(CODES) - 1}")
    if usage not in _USAGES:
        raise ValueError(f"Usage is {usage!r}, and must be one of {', '.join(_USAGES)}")
    values = parse_pixels(pixels)
    if len(values) != SIDE * SIDE:
        raise ValueError(f"{len(values)} pixels, and must be {SIDE * SIDE}")
    return CLASSES.index(CODES[int(emotion)]), values.reshape(SIDE, SIDE), usage


def parse_pixels(text: str) -> Pixels:
    """Return the numbers 0…255 in ``text``, uint8: some ten times as fast as ``text.split()`` and ``int``.

    Raises:
        ValueError: something in ``text`` is not a number of 0…255.
    """
    data = np.frombuffer(text.strip().encode(), np.uint8)
    if not len(data):
        return np.empty(0, np.uint8)
    blanks = np.flatnonzero(data == _BLANK)
    starts = np.concatenate(([0], blanks + 1))
    lengths = np.concatenate((blanks, [len(data)])) - starts
    digits = data - _ZERO
    digits[blanks] = 0
    if lengths.min() < 1 or lengths.max() > 3 or digits.max() > 9:
        return _parse_slowly(text)
    ends = starts + lengths - 1
    values = digits[ends].astype(np.int64)
    values += 10 * digits[np.maximum(ends - 1, 0)].astype(np.int64) * (lengths > 1)
    values += 100 * digits[np.maximum(ends - 2, 0)].astype(np.int64) * (lengths > 2)
    if values.max() > 255:
        raise ValueError(f"pixel {values.max()} is more than 255")
    return values.astype(np.uint8)


def _parse_slowly(text: str) -> Pixels:
    """As `parse_pixels`, for text with other white space or with something wrong in it."""
    words = text.split()
    wrong = next((word for word in words if not (word.isascii() and word.isdigit() and int(word) <= 255)), None)
    if wrong is not None:
        raise ValueError(f"pixel {wrong[:20]!r} is not a number of 0 to 255")
    return np.array(words, np.int64).astype(np.uint8)
