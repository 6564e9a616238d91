"""Votes of FER+: images of every protocol, and the agreement of the people who voted.

--rows makes the table of the Kaggle archive that the package has, from a table ``file,row`` of the archive's names and
rows of fer2013.csv, counted from 0; a file of the archive that it lacks is stored as unknown.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fersweep.data import files
from fersweep.data.samples import CLASSES, CONTEMPT
from fersweep.data.sources import ferplus_join, ferplus_votes
from fersweep.data.sources.ferplus_join import USAGES
from fersweep.data.sources.ferplus_votes import COLUMNS, EMOTIONS, PROTOCOLS, Votes, protocol
from fersweep.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--votes", metavar="FILE", type=Path, help="fer2013new.csv")
    parser.add_argument("--rows", metavar="FILE", type=Path, help="write the package's table from this file,row table")
    parser.add_argument("--fer2013", metavar="PATH", type=Path, help="the Kaggle archive, for --rows")


def run(asked: argparse.Namespace) -> int:
    """Write the table if requested; print counts and agreement."""
    if asked.smoke:
        with tempfile.TemporaryDirectory(prefix="fersweep-ferplus-") as folder:
            return show(read(drawn(Path(folder))))
    if asked.votes is None:
        raise UserError("--votes is missing: name fer2013new.csv.")
    votes = read(asked.votes)
    if asked.rows:
        write(asked.rows, asked.fer2013)
    return show(votes)


def read(file: Path) -> Votes:
    """Return the votes of a file."""
    return ferplus_votes.read_table(files.open_tree(file), file.name)


def drawn(folder: Path) -> Path:
    """Write ten random votes on each of 300 images."""
    counts = np.random.default_rng(0).multinomial(10, [0.5, *[0.5 / (len(COLUMNS) - 1)] * (len(COLUMNS) - 1)], 300)
    lines = [f"Usage,Image name,{','.join(COLUMNS)}"]
    lines += [f"{USAGES[row % 3]},fer{row:07d}.png,{','.join(map(str, each))}" for row, each in enumerate(counts)]
    (folder / "fer2013new.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "fer2013new.csv"


def show(votes: Votes) -> int:
    """Print counts and agreement."""
    assert votes.usage is not None
    known = {row for row in ferplus_join.kaggle_rows().values() if row != ferplus_join.UNKNOWN}
    of_archive = np.isin(np.arange(len(votes)), sorted(known))
    for name in PROTOCOLS:
        kept = protocol(votes.counts, name).kept
        for form, part in (("all rows", kept), ("Kaggle archive", kept & of_archive)):
            print(f"{name:14} {form:15}", *(f"{usage} {(part & (votes.usage == usage)).sum():,}" for usage in USAGES))
    chosen, tested = protocol(votes.counts, "majority"), votes.usage == USAGES[2]
    labels = chosen.labels[chosen.kept & tested]
    most = np.bincount(labels).argmax()
    hits = int((labels == most).sum())
    print(f"always {(*CLASSES, CONTEMPT)[most]}: {hits:,} of {len(labels):,}, {hits / len(labels):.1%}")
    print(f"one person and the majority of the other nine: {agreement(votes):.1%} of PublicTest and PrivateTest")
    return 0


def agreement(votes: Votes) -> float:
    """Return how often one vote is that of the majority of the other nine: the mean over test images.

    The majority is that of ``labels=majority``; votes on an image are left out whose other nine have none.
    """
    assert votes.usage is not None
    counts = votes.counts[votes.usage != USAGES[0]]
    right, number = np.zeros(len(counts)), np.zeros(len(counts))
    order = [(*CLASSES, CONTEMPT).index(ferplus_votes.canonical(name)) for name in EMOTIONS]
    for column in range(len(COLUMNS)):
        others = counts.copy()
        others[:, column] = np.maximum(others[:, column] - 1, 0)
        nine = protocol(others, "majority")
        voted = counts[:, column] * nine.kept
        number += voted
        right += voted * (nine.labels == order[column]) if column < len(EMOTIONS) else 0
    return float((right[number > 0] / number[number > 0]).mean())


def write(table: Path, archive: Path) -> None:
    """Write the rows of the files of ``archive``, sorted by key, as differences; bytes of one weight stand together."""
    with table.open(newline="") as text:
        rows = {cells["file"]: int(cells["row"]) for cells in csv.DictReader(text)}
    found = {name: ferplus_join.kaggle_key(name) for name in files.open_tree(archive).images()}
    known = sorted((key, rows.get(name, ferplus_join.UNKNOWN)) for name, key in found.items() if key is not None)
    keys, places = (np.array(column, np.uint32) for column in zip(*known, strict=True))
    differences = np.diff(keys, prepend=np.uint32(0))
    np.savez_compressed(ferplus_join.ROWS, keys=_planes(differences), rows=_planes(places.astype(np.uint16)))
    size = ferplus_join.ROWS.stat().st_size
    print(f"{ferplus_join.ROWS}: {len(known):,} files, {len(rows):,} of them with a row, {size:,} bytes")


def _planes(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the bytes of numbers ``(N,)``, lowest first: ``(B, N)``."""
    return np.ascontiguousarray(numbers.view(np.uint8).reshape(len(numbers), -1).T)
