"""The CSV form of FER2013: one image per row, ``emotion,pixels,Usage``, its 2,304 pixels as text.

Columns are separated by commas, semicolons (as spreadsheets write them in much of Europe) or tabs.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO

import numpy as np

from fersweep.data.files import Tree, basename
from fersweep.data.images import Pixels, Records
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING
from fersweep.errors import UserError

CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The class of each number in the column ``emotion``."""

SIDE = 48
_COLUMNS = ("emotion", "pixels", "usage")
_USAGES = (TRAINING, PUBLIC, PRIVATE)
_LONGEST = 2**17  # characters of a line; one of 48×48 pixels has at most 9,300
_MOST_FAULTS = 100_000  # broken rows, beyond which the file is something else


def records(tree: Tree, name: str, codes: Sequence[str] = CODES, class_names: tuple[str, ...] = CLASSES) -> Records:
    """Read the CSV file ``name``; the ids are ``<file name>/<row, six digits>``, counted from 1 below the header.

    ``codes`` has the class of each number in the column ``emotion``, of ``class_names``.

    Raises:
        UserError: it lacks a column, has no rows, or is not a text table. Broken rows are `Records.faults`.
    """
    where = tree.path / name
    ids: list[str] = []
    rows: list[tuple[int, Pixels, str]] = []
    faults: list[tuple[str, str]] = []
    try:
        for number, cells in enumerate(_cells(tree, name), start=1):
            try:
                rows.append(_parse(*cells, codes, class_names))
                ids.append(f"{basename(name)}/{number:06d}")
            except ValueError as error:
                faults.append((f"{where} row {number} (line {number + 1})", str(error)))
                if len(faults) > _MOST_FAULTS:
                    raise OSError(f"more than {_MOST_FAULTS:,} rows are broken, the first: {faults[0][1]}") from error
    except (OSError, csv.Error) as error:
        raise UserError(f"cannot read {where}: {error}") from error
    if not rows and not faults:
        raise UserError(f"{where} has a header but no rows: copy or download it again")
    return Records(
        ids=np.array(ids, np.str_),
        labels=np.array([label for label, _, _ in rows], np.int64),
        class_names=class_names,
        read=lambda index: rows[index][1],
        usage=np.array([usage for _, _, usage in rows], np.str_),
        faults=tuple(faults),
    )


def _cells(tree: Tree, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield the cells ``emotion``, ``pixels`` and ``Usage`` of every row; missing ones are empty."""
    with tree.stream(name) as raw, io.TextIOWrapper(raw, "utf-8-sig", errors="replace", newline="") as text:
        lines = _lines(text)
        first = next(lines, "")
        table = csv.reader(chain([first], lines), delimiter=max(",;\t", key=first.count))
        header = [cell.strip().lower() for cell in next(table, [])]
        missing = [column for column in _COLUMNS if column not in header]
        if missing:
            raise UserError(
                f"{tree.path / name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: "
                "its first line must name emotion, pixels and Usage"
            )
        emotion, pixels, usage = (header.index(column) for column in _COLUMNS)
        for cells in filter(None, table):
            cells += [""] * (len(header) - len(cells))
            yield cells[emotion].strip(), cells[pixels], cells[usage].strip()


def _lines(text: IO[str]) -> Iterator[str]:
    """Yield the lines of a table; raise `csv.Error` at one that is longer than any of it can be."""
    number = 0
    while line := text.readline(_LONGEST + 1):
        number += 1
        if len(line) > _LONGEST:
            raise csv.Error(f"line {number} has more than {_LONGEST:,} characters, and is no row of 48×48 pixels")
        yield line


def _parse(
    emotion: str, pixels: str, usage: str, codes: Sequence[str], class_names: Sequence[str]
) -> tuple[int, Pixels, str]:
    """Return the canonical label, the image and the usage of one row.

    Raises:
        ValueError: one of the cells is invalid; the text says which and why.
    """
    if not (emotion.isascii() and emotion.isdigit() and int(emotion) < len(codes)):
        raise ValueError(f"emotion is {emotion!r}, and must be 0 to {len(codes) - 1}")
    if usage not in _USAGES:
        raise ValueError(f"Usage is {usage!r}, and must be one of {', '.join(_USAGES)}")
    values = parse_pixels(pixels)
    if len(values) != SIDE * SIDE:
        raise ValueError(f"{len(values)} pixels, and must be {SIDE * SIDE}")
    return class_names.index(codes[int(emotion)]), values.reshape(SIDE, SIDE), usage


def parse_pixels(text: str) -> Pixels:
    """Return the integers of ``text``, separated by white space, uint8 ``(N,)``.

    Raises:
        ValueError: something in ``text`` is not an integer of 0…255.
    """
    try:
        with warnings.catch_warnings(action="error", category=DeprecationWarning):
            values = np.fromstring(text.strip(), np.int64, sep=" ")
        if values.min() >= 0 and values.max() <= 255:
            return values.astype(np.uint8)
    except (DeprecationWarning, ValueError):  # no text, or other text than integers
        pass
    words = text.split()
    wrong = next((word for word in words if not (word.isascii() and word.isdigit() and int(word) <= 255)), None)
    if wrong is not None:
        raise ValueError(f"pixel {wrong[:20]!r} is not a number of 0 to 255")
    return np.array(words, np.int64).astype(np.uint8)
