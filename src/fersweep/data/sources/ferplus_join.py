"""The pictures of FER2013 joined with the votes of FER+: by lines, by the names of Kaggle's archive, or by lists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fersweep.data import accounting, files, images
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Indices, canonical
from fersweep.data.sources import ferplus_votes
from fersweep.data.sources.base import ImageFile, as_records
from fersweep.data.sources.ferplus_votes import Votes, protocol
from fersweep.errors import UserError
from fersweep.text import counted, listed

ROWS = Path(__file__).with_name("ferplus_rows.npz")  # `benchmarks.checks.ferplus` writes it
UNKNOWN = 65535
"""Row of a file of the Kaggle archive that no row of ``fer2013.csv`` is known for."""

AGREEMENT, COMPARED = 0.4, 200
"""Least share of images on which FER+ and FER2013 agree if the rows fit (63 % do, 18 % by chance), of so many."""

BY_LINE, BY_NAME, BY_LIST = "rows", "Kaggle archive", "folders"
"""The forms of FER+."""

USAGES = (TRAINING, PUBLIC, PRIVATE)
FOLDERS = {"FER2013Train": TRAINING, "FER2013Valid": PUBLIC, "FER2013Test": PRIVATE}
"""Microsoft's folders, with the usage of their images."""

_LIST = "label.csv"
_USAGE = {name.lower(): usage for name, usage in FOLDERS.items()}
_IN_FOLDERS = re.compile(rf"(?P<top>(?:.*/)?)(?P<part>{'|'.join(FOLDERS)})/(?P<file>[^/]+)", re.IGNORECASE)
_KAGGLE = re.compile(rf"(?:.*/)?(?P<label>[^/]+)/(?P<usage>{'|'.join(USAGES)})_(?P<number>\d+)\.[^.]+", re.IGNORECASE)


class Found(NamedTuple):
    """The pictures, the votes on them, and what FER2013 says of them.

    ``rows`` are the votes' indices, int64 ``(N,)``; ``unread`` are reasons by the names of pictures without any.
    """

    form: str
    records: images.Records
    votes: Votes
    rows: Indices
    unread: dict[str, accounting.Reason]


def in_folders(tree: files.Tree) -> dict[str, str]:
    """Return the usage of every folder, by its name in the tree, that holds a ``label.csv`` and pictures."""
    matches = list(filter(None, map(_IN_FOLDERS.fullmatch, tree.stamps)))
    folders = {match.string.rpartition("/")[0]: _USAGE[match["part"].lower()] for match in matches}
    filled = {name.rpartition("/")[0] for name in tree.images()}
    return {name: usage for name, usage in folders.items() if name in filled}


def by_list(tree: files.Tree) -> Found:
    """Join the pictures of Microsoft's folders with their lists.

    Raises:
        UserError: a folder, a list or a listed picture is missing, or there are several copies.
    """
    folders = in_folders(tree)
    if missing := [f"{name}/" for name, usage in FOLDERS.items() if usage not in folders.values()]:
        needs = listed([f"{name}/" for name in FOLDERS], "and")
        raise UserError(f"{tree.path} lacks the pictures of {listed(missing, 'and')}: FER+ needs all of {needs}")
    if len(folders) > len(FOLDERS):
        raise UserError(f"{tree.path} holds FER+ several times, in {listed(sorted(folders), 'and')}: keep one copy")
    found: dict[str, tuple[ImageFile, npt.NDArray[np.int64]]] = {}
    unread: dict[str, accounting.Reason] = {}
    for folder, usage in folders.items():
        votes = _listed_votes(tree, folder)
        rows = {f"{folder}/{each}": row for row, each in enumerate(votes.names)}
        pictures = [each for each in tree.images() if each.rpartition("/")[0] == folder]
        if lost := sorted(rows.keys() - set(pictures)):
            raise UserError(
                f"{tree.path / folder} lacks {counted(len(lost), 'picture')} of its {_LIST}, such as "
                f"{files.basename(lost[0])}: make them with generate_training_data.py of Microsoft's repository FERPlus"
            )
        unread |= {each: (f"in {folder}/", f"not in its {_LIST}", True) for each in pictures if each not in rows}
        for name, row in rows.items():
            found[name] = ImageFile("/".join(name.split("/")[-2:]), name, 0, usage), votes.counts[row]
    records = as_records(tree, CLASSES, [file for file, _ in found.values()])
    assert records.names is not None
    counts = np.stack([found[name][1] for name in records.names])
    return Found(BY_LIST, records, Votes(counts, records.names), np.arange(len(counts)), unread)


def _listed_votes(tree: files.Tree, folder: str) -> Votes:
    name = next((name for name in tree.stamps if name.lower() == f"{folder}/{_LIST}".lower()), None)
    if name is None:
        raise UserError(f"{tree.path / folder} has no {_LIST}: copy it from Microsoft's repository FERPlus")
    return ferplus_votes.read_list(tree, name)


def by_line(records: images.Records, votes: Votes) -> Found:
    """Join the rows of ``fer2013.csv`` with those of ``fer2013new.csv``."""
    lines = len(records) + len(records.faults)
    if lines != len(votes):
        raise UserError(
            f"the table of pictures has {lines:,} rows, and {ferplus_votes.NAME} {len(votes):,}: they are joined line "
            "by line, so both must be complete"
        )
    rows = np.array([int(name.rpartition("/")[2]) - 1 for name in records.ids.tolist()], np.int64)
    return Found(BY_LINE, records, votes, rows, {})


def by_name(records: images.Records, votes: Votes) -> Found:
    """Join the files of the Kaggle archive with the votes by `kaggle_rows`."""
    assert records.names is not None
    table, rows = kaggle_rows(), []
    unread: dict[str, accounting.Reason] = {}
    for name in records.names:
        rows.append(row := table.get(kaggle_key(name), -1))
        if row == UNKNOWN:
            unread[name] = "whose row of fer2013.csv is not known", "so they have no votes", False
        elif row < 0:
            unread[name] = "of other names than those of the Kaggle archive", "so they have no votes", True
    places = np.array([place for place, row in enumerate(rows) if 0 <= row < UNKNOWN], np.int64)
    if 2 * len(places) < len(rows):
        raise UserError(
            f"the files are not named as in FER2013's Kaggle archive (train/happy/Training_10019449.jpg), such as "
            f"{records.names[0]}: FER+ cannot be joined with them, so take that archive, or fer2013.csv"
        )
    if len(votes) <= max(rows[place] for place in places):
        raise UserError(f"{ferplus_votes.NAME} has only {len(votes):,} of its 35,887 rows: copy or download it again")
    return Found(BY_NAME, records.at(places), votes, np.array(rows, np.int64)[places], unread)


def check_fit(found: Found, where: Path) -> None:
    """Raise UserError if the votes are not those of these pictures: parts differ, or FER2013's labels as by chance."""
    assert found.votes.usage is not None
    assert found.records.usage is not None
    usage = found.votes.usage[found.rows]
    if len(wrong := np.flatnonzero(usage != found.records.usage)):
        first = int(wrong[0])
        raise UserError(
            f"{where} does not belong to these pictures: its row {found.rows[first] + 1} is of {usage[first]}, and "
            f"{found.records.ids[first]} of {found.records.usage[first]}; take both as they were published"
        )
    chosen = protocol(found.votes.counts[found.rows], "majority")
    agree = (chosen.labels == found.records.labels)[chosen.kept]
    if len(agree) >= COMPARED and agree.mean() < AGREEMENT:
        raise UserError(
            f"{where} does not belong to these pictures: only {agree.mean():.0%} of its majorities are FER2013's "
            "labels, where 63 % should be; its rows may have been sorted or shifted"
        )


def kaggle_key(name: str) -> int | None:
    """Return the number by which `kaggle_rows` knows a file of the archive; ``None`` for another name.

    Names such as ``Training_10019449.jpg`` occur in several class folders, so class, part and number make the key.
    """
    match = _KAGGLE.fullmatch(name)
    label = canonical(match["label"]) if match else ""
    if match is None or label not in CLASSES or len(match["number"]) > 8:
        return None
    usage = [each.lower() for each in USAGES].index(match["usage"].lower())
    return (usage * len(CLASSES) + CLASSES.index(label)) * 10**8 + int(match["number"])


@cache
def kaggle_rows() -> dict[int | None, int]:
    """Return the row of ``fer2013.csv``, from 0, or `UNKNOWN`, of every file of the Kaggle archive by `kaggle_key`."""
    with np.load(ROWS, allow_pickle=False) as stored:
        keys, rows = (_joined(stored[name]) for name in ("keys", "rows"))
    return dict(zip(np.cumsum(keys, dtype=np.int64).tolist(), rows.tolist(), strict=True))


def _joined(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return the numbers ``(N,)`` whose bytes, lowest first, are ``(B, N)``: apart they compress better."""
    weights = 256 ** np.arange(len(planes), dtype=np.uint64)
    return np.asarray(weights @ planes.astype(np.uint64), np.uint32)
