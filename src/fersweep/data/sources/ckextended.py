"""CK+ as ``ckextended.csv``, a table like FER2013's: 920 rows of a circulating copy.

By their counts they are one frame of each of the 327 labelled sequences, and a neutral one of each of all 593. The
table names no people and no sequences. Its column ``Usage`` has parts that somebody drew without regard to people, and
is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fersweep.data import files
from fersweep.data.images import Pixels, Records
from fersweep.data.samples import CLASSES, CONTEMPT
from fersweep.data.sources import fer2013_csv
from fersweep.errors import UserError

TABLE = "ckextended.csv"
CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", CONTEMPT)
"""The class of each number in the column ``emotion``."""
NEUTRAL = 593
"""Rows of a neutral face."""


def is_table(name: str) -> bool:
    """Return whether the file ``name`` is called as the table."""
    return files.basename(name).lower() == TABLE


def find(names: Iterable[str]) -> str:
    """Return the first of ``names`` that is called as the table, or an empty string."""
    return next(filter(is_table, names), "")


def refuse_idle(where: Path, **settings: object) -> None:
    """Raise UserError for one of the ``settings`` of frames that is given, as the table has no frames to choose."""
    for name in (name for name, value in settings.items() if value is not None):
        raise UserError(
            f"{where} has one frame of each sequence and neutral faces of its own: leave dataset.source.{name} out"
        )


def records(tree: files.Tree, name: str, class_names: tuple[str, ...]) -> Records:
    """Return the rows of the classes, with ids like ``ckextended.csv/000001``.

    Raises:
        UserError: as `fer2013_csv.records`.
    """
    every = fer2013_csv.records(tree, name, CODES, (*CLASSES, CONTEMPT))
    shown = [every.class_names[label] for label in every.labels]
    kept = [index for index, label in enumerate(shown) if label in class_names]
    labels = np.array([class_names.index(shown[index]) for index in kept], np.int64)
    read = every.read

    def read_kept(index: int) -> Pixels:
        return read(kept[index])

    return replace(every, ids=every.ids[kept], labels=labels, class_names=class_names, read=read_kept, usage=None)


def checks(tree: files.Tree, name: str, labelled: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Return ``(what, found, expected)`` for the rows per class of a complete table, whichever are chosen.

    Args:
        tree, name: the table.
        labelled: the labelled sequences per class.
    """
    every = fer2013_csv.records(tree, name, CODES, (*CLASSES, CONTEMPT))
    numbers = np.bincount(every.labels, minlength=len(every.class_names)).tolist()
    expected = {**labelled, "neutral": NEUTRAL}
    rows = zip(every.class_names, numbers, strict=True)
    return [("rows", len(every), sum(expected.values())), *((label, found, expected[label]) for label, found in rows)]
