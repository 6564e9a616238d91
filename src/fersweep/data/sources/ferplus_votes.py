"""Votes of FER+ (Barsoum et al. 2016): ten people chose one of eight emotions, ``unknown`` or "no face" per image.

`protocol` turns them into labels and targets by the paper's four schemes, with the rules of the authors' own code
(``_process_data`` in ``ferplus.py`` of Microsoft's repository FERPlus).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fersweep.data.files import Tree
from fersweep.data.samples import CLASSES, CONTEMPT, canonical
from fersweep.errors import UserError

NAME = "fer2013new.csv"
"""The file of the votes, one line per row of ``fer2013.csv``."""

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = (*EMOTIONS, "unknown", "NF")
"""The columns of votes, in the order of the files."""

PROTOCOLS = ("majority", "probability", "cross_entropy", "multi_target")

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.float64]

MOST = 100
"""Largest number of votes that a cell may hold; ten people voted on each image."""

_CLASSES = (*CLASSES, CONTEMPT)
_ORDER = [[canonical(name) for name in EMOTIONS].index(name) for name in _CLASSES]  # the columns of the classes


@dataclass(frozen=True)
class Votes:
    """The votes on ``N`` images.

    Attributes:
        counts: int64 ``(N, 10)``, in the order of `COLUMNS`.
        names: the images' names; of a table, they are not the numbers of its rows.
        usage: str ``(N,)``, the part that each image belongs to; ``None`` where the file does not say.
    """

    counts: Counts
    names: tuple[str, ...]
    usage: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True)
class Chosen:
    """Labels and targets from votes.

    Attributes:
        kept: bool ``(N,)``, the images that the protocol does not drop.
        labels: int64 ``(N,)``, indices into the eight classes, contempt last: the emotion with most votes, of several
            the first in the files' order. Of a dropped image without meaning.
        targets: float64 ``(N, 8)``: shares of the votes that count, or of ``multi_target`` ones and zeros.
    """

    kept: Mask
    labels: Counts
    targets: Rows


def protocol(counts: Counts, name: str) -> Chosen:
    """Return the labels and targets of one of the `PROTOCOLS`.

    Single votes never count. An image is dropped if most of its remaining votes are for ``unknown`` or "no face", or if
    they are too far apart:

    - ``majority``: one emotion must have more than half of them.
    - ``probability`` and ``cross_entropy``: the most frequent emotions are taken until they have three quarters of the
      votes, or are three, or ``unknown`` or "no face" comes next; they must be three at most and have more than half.
    - ``multi_target``: all with 30 % or more are taken, and must have more than half together.

    Args:
        counts: votes ``(N, 10)``, in the order of `COLUMNS`.
        name: of the protocol.
    """
    votes = np.where(counts > 1, counts, 0).astype(np.float64)
    total = votes.sum(axis=1)
    if name == "majority":
        taken = np.where(votes == votes.max(axis=1, keepdims=True), votes, 0.0)
        valid = votes.max(axis=1) > 0.5 * total
    elif name == "multi_target":
        taken = np.where(votes >= 0.3 * total[:, None], votes, 0.0)
        valid = taken.sum(axis=1) > 0.5 * total
    else:
        taken, number = _most_frequent(votes, total)
        valid = (taken.sum(axis=1) > 0.5 * total) & (number <= 3)
    best, emotions = taken.argmax(axis=1), taken[:, : len(EMOTIONS)][:, _ORDER]
    kept = valid & (best < len(EMOTIONS))
    labels = np.argsort(_ORDER)[np.minimum(best, len(EMOTIONS) - 1)]
    shares = emotions > 0 if name == "multi_target" else emotions / np.maximum(emotions.sum(axis=1, keepdims=True), 1)
    return Chosen(kept, labels, shares.astype(np.float64))


def _most_frequent(votes: Rows, total: Rows) -> tuple[Rows, Counts]:
    """Return the votes ``(N, 10)`` of the columns that are taken one after another, equal ones at once, and how many.

    ``unknown`` and "no face" end the search, and count only if nothing was taken before them.
    """
    left, taken = votes.copy(), np.zeros_like(votes)
    part, number, goes_on = np.zeros(len(votes)), np.zeros(len(votes), np.int64), np.ones(len(votes), bool)
    emotion = np.arange(len(COLUMNS)) < len(EMOTIONS)
    for _ in range(3):
        active = goes_on & (part < 0.75 * total) & (number < 3)
        most = left.max(axis=1, keepdims=True)
        equal = (left == most) & active[:, None]
        ends = equal[:, ~emotion].any(axis=1)
        number += (equal & emotion).sum(axis=1)
        part += np.where(equal & emotion, left, 0.0).sum(axis=1) + np.where(ends, most[:, 0], 0.0)
        taken += np.where(equal & emotion, left, 0.0)
        left[equal] = 0
        first = ends & (taken.sum(axis=1) == 0)
        taken[first, len(EMOTIONS)] = most[first, 0]
        number += first
        goes_on &= ~ends
    return taken, number


def read_table(tree: Tree, name: str) -> Votes:
    """Read ``fer2013new.csv``, whatever the order of its columns.

    Raises:
        UserError: it lacks a column, a row is wrong, or it is not a text table.
    """
    where = tree.path / name
    lines = _lines(tree, name)
    table = _cells(where, lines, max(",;\t", key=lines[0].count) if lines else ",")
    header = [cell.strip().lower() for cell in next(table, [])]
    wanted = ("usage", "image name", *map(str.lower, COLUMNS))
    if missing := [each for each in wanted if each not in header]:
        raise UserError(
            f"{where} holds no votes of FER+: it lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"{NAME} begins with Usage,Image name,{','.join(COLUMNS)}"
        )
    places = [header.index(each) for each in wanted]
    rows = [[cells[place] if place < len(cells) else "" for place in places] for cells in filter(None, table)]
    usage, names = ([row[column].strip() for row in rows] for column in (0, 1))
    return Votes(_numbers(where, (row[2:] for row in rows), 2), tuple(names), np.array(usage, np.str_))


def read_list(tree: Tree, name: str) -> Votes:
    """Read a folder's ``label.csv``: an image's name, in most copies a face's box, and ten numbers, without a header.

    Of an image that is listed several times the last line counts, as its picture replaced the others.

    Raises:
        UserError: a row is wrong, or the file is not a text table.
    """
    where = tree.path / name
    rows = {cells[0].strip(): cells[1:] for cells in _cells(where, _lines(tree, name)) if cells}
    boxed = all(len(cells) == len(COLUMNS) + 1 for cells in rows.values())
    return Votes(_numbers(where, (cells[boxed:] for cells in rows.values()), 1), tuple(rows))


def _lines(tree: Tree, name: str) -> Sequence[str]:
    try:
        return tree.read(name).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {tree.path / name}: {error}") from error


def _cells(where: object, lines: Sequence[str], delimiter: str = ",") -> Iterator[list[str]]:
    """Yield the cells of every row; UserError for a line that is none of a table."""
    table = csv.reader(lines, delimiter=delimiter)
    try:
        yield from table
    except csv.Error as error:
        raise UserError(f"{where} line {table.line_num} is no row of votes: {error}") from error


def _numbers(where: object, rows: Iterable[Sequence[str]], first: int) -> Counts:
    """Return ten numbers of each row, whose first one is line ``first`` of the file."""
    found = []
    for line, cells in enumerate(rows, start=first):
        words = [cell.strip() for cell in cells]
        if len(words) != len(COLUMNS) or not all(map(_is_number, words)):
            shown = io.StringIO()
            csv.writer(shown).writerow(cells)
            raise UserError(
                f"{where} line {line}: {shown.getvalue().strip()[:80]!r} is not {len(COLUMNS)} numbers of votes, "
                f"each of 0 to {MOST}"
            )
        found.append([int(word) for word in words])
    if not found:
        raise UserError(f"{where} holds no rows: copy or download it again")
    return np.array(found, np.int64)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= len(str(MOST)) and int(word) <= MOST
