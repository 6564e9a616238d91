"""FER+ (Barsoum et al. 2016): the votes of ten people on each image of FER2013, in three forms.

- ``fer2013.csv`` (or ``icml_face_data.csv``) and ``fer2013new.csv``, joined line by line;
- the image archive of Kaggle, in any layout that `Fer2013` reads, and ``fer2013new.csv``. The package has the row of
  ``fer2013.csv`` for 35,709 of its 35,887 files (`ferplus_join.kaggle_rows`), found by comparing pixels. Among
  identical images the assignment is arbitrary;
- ``FER2013Train``, ``FER2013Valid`` and ``FER2013Test`` of Microsoft's repository FERPlus, each with its pictures and
  ``label.csv``. That repository's own three lists differ from ``fer2013new.csv`` in 1,601 images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fersweep.config.schema import aside
from fersweep.data import accounting, files, images
from fersweep.data.samples import CLASSES, CONTEMPT, TRAINING
from fersweep.data.sources import ferplus_votes
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.ferplus_join import (
    BY_LINE,
    BY_LIST,
    BY_NAME,
    FOLDERS,
    USAGES,
    Found,
    by_line,
    by_list,
    by_name,
    check_fit,
    in_folders,
)
from fersweep.data.sources.ferplus_votes import PROTOCOLS, protocol
from fersweep.errors import UserError
from fersweep.files import given
from fersweep.text import counted, listed

COUNTS = {
    BY_LINE: {"majority": (25060, 3199, 3153), "cross_entropy": (27956,), "multi_target": (27671,)},
    BY_NAME: {"majority": (25056, 3199, 3152), "cross_entropy": (27952,), "multi_target": (27667,)},
    BY_LIST: {"majority": (25045, 3191, 3137), "cross_entropy": (27947,), "multi_target": (27667,)},
}
"""Images of a complete copy by form and protocol: Training, PublicTest, PrivateTest; the latter two of any protocol."""


@dataclass
class FerPlus(Fer2013):
    """FER+ as `Samples`: eight classes, contempt last, and with other ``labels`` than ``majority`` soft targets.

    The protocols are those of Barsoum et al. 2016 (`fersweep.data.sources.ferplus_votes.protocol`). Images of
    PublicTest and PrivateTest are those with a majority, which is their label, whatever the protocol: the authors
    measure all of them so. Of Training a protocol keeps what it can use; a label is then the emotion with most votes.

    Args:
        root, image_size, channels, download: as in `Fer2013`.
        labels: one of `PROTOCOLS`.
        contempt: keep contempt; else its images are left out, and the shares of others are scaled to add up to 1.
        votes: ``fer2013new.csv``, or the folder that holds it, if it does not lie beside the pictures.
    """

    name = "ferplus"
    layouts = (
        "fer2013.csv or the image archive of FER2013, beside fer2013new.csv, or FER2013Train/, FER2013Valid/ and "
        "FER2013Test/, each with its pictures and label.csv"
    )
    marks = r"(.*/)?(fer2013new\.csv|fer2013(train|valid|test)/(label\.csv|fer\d{7}\.[a-z]+))"

    labels: str = "majority"
    contempt: bool = True
    votes: str | Path | None = aside(None)

    def __post_init__(self) -> None:
        if self.labels not in PROTOCOLS:
            raise UserError(f"dataset.source.labels={self.labels} is not known: choose {listed(PROTOCOLS, 'or')}")
        if not isinstance(self.contempt, bool):
            raise UserError(f"dataset.source.contempt={self.contempt} must be true or false")

    def recognise(self, path: Path) -> bool:
        if path.name.lower() == ferplus_votes.NAME:
            if path == given(Path(str(self.root))):
                raise UserError(
                    f"{path} holds votes and no pictures: set dataset.root to FER2013, and dataset.source.votes to it"
                )
            return False
        if path.is_dir() and (parts := _folders(path)):
            return any(files.has_file(part, files.is_image) for part in parts)
        if files.is_archive(path) and in_folders(files.open_tree(path)):
            return True
        return super().recognise(path)

    def opened(self, place: Path) -> files.Tree:
        if place.is_dir() and _folders(place):
            return files.open_tree(place, [name.lower() for name in FOLDERS])
        return super().opened(place)

    def holds(self, tree: files.Tree) -> bool:
        return bool(in_folders(tree)) or super().holds(tree)

    def options(self, tree: files.Tree) -> dict[str, object]:
        own = {"labels": self.labels, "contempt": self.contempt}
        if not in_folders(tree):
            where, name = self._votes(tree)
            own["votes"] = hashlib.sha256(_bytes(where, name)).hexdigest()
        return {**super().options(tree), **own}

    def records(self) -> images.Records:
        """Return the images that the protocol keeps, before decoding.

        Raises:
            UserError: as `Fer2013.records`, or the votes are missing, damaged, or not those of these pictures.
        """
        return self._chosen(self._found)[0]

    def read_names(self) -> Collection[str] | None:
        records = self.records()
        return super().read_names() if records.names is None else records.names

    def reasons(self) -> Callable[[str], accounting.Reason]:
        found = self._found
        unread, kept = dict(found.unread), self._chosen(found)[1]
        if (names := found.records.names) is not None:
            unread |= {name: self._dropped for name, stays in zip(names, kept, strict=True) if not stays}
        other = super().reasons()
        return lambda name: unread.get(name) or other(name)

    def left_out(self) -> list[accounting.LeftOut]:
        found = self._found
        dropped = np.flatnonzero(~self._chosen(found)[1])
        if found.records.names is not None or not len(dropped):
            return super().left_out()
        what, why, missing = self._dropped
        rows = f"{counted(len(dropped), 'row')} {what}"
        return [
            *super().left_out(),
            accounting.LeftOut(rows, why, len(dropped), str(found.records.ids[dropped[0]]), missing),
        ]

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        if not self.contempt:
            return []  # counted with it
        counts = COUNTS[self._found.form]
        kept = (*counts[_rule(self.labels)][:1], *counts["majority"][1:])
        return [
            (f"{usage} images", int(np.sum(records.usage == usage)), expected)
            for usage, expected in zip(USAGES, kept, strict=True)
        ]

    @property
    def _dropped(self) -> accounting.Reason:
        contempt = "" if self.contempt else " and dataset.source.contempt=false"
        return "that the votes leave without a class", f"dataset.source.labels={self.labels}{contempt}", False

    @cached_property
    def _found(self) -> Found:
        tree = self.tree()
        if in_folders(tree):
            if self.votes is not None:
                raise UserError(
                    f"dataset.source.votes={self.votes} has no effect: the folders in {tree.path} have their own votes"
                )
            return by_list(tree)
        plain, (where, name) = super().records(), self._votes(tree)
        votes = ferplus_votes.read_table(where, name)
        found = by_line(plain, votes) if plain.names is None else by_name(plain, votes)
        check_fit(found, where.path / name)
        return found

    def _chosen(self, found: Found) -> tuple[images.Records, npt.NDArray[np.bool_]]:
        """Return the records that are kept, with labels and targets, and which of the ``N`` found ones they are."""
        counts, records = found.votes.counts[found.rows], found.records
        own, majority = protocol(counts, self.labels), protocol(counts, "majority")
        classes = (*CLASSES, CONTEMPT) if self.contempt else CLASSES
        kept = own.kept & (majority.kept | (records.usage == TRAINING)) & (own.labels < len(classes))
        places = np.flatnonzero(kept)
        targets = own.targets[places, : len(classes)]
        if self.labels != "multi_target":
            targets = targets / targets.sum(axis=1, keepdims=True)
        chosen = replace(records.at(places), labels=own.labels[places], class_names=classes)
        if self.labels != "majority":
            chosen = replace(chosen, targets=targets.astype(np.float32), objective=self.labels)
        return chosen, kept

    def _votes(self, tree: files.Tree) -> tuple[files.Tree, str]:
        """Return the tree and name of ``fer2013new.csv``.

        Raises:
            UserError: it does not exist, or several do.
        """
        if self.votes is not None:
            place = given(Path(self.votes))
            if place.is_file():
                return files.Tree(place.parent, {place.name: (0, 0)}, ()), place.name
            if not place.exists():
                raise UserError(f"dataset.source.votes={self.votes} does not exist: it must be {ferplus_votes.NAME}")
            found = files.named(place, ferplus_votes.NAME)
        else:
            inside = [name for name in tree.stamps if files.basename(name).lower() == ferplus_votes.NAME]
            if inside:
                return tree, inside[0]
            top = tree.path if self.root is None else given(Path(self.root))
            found = files.named(top, ferplus_votes.NAME) if top.is_dir() else []
            beside = (top if top.is_dir() else top.parent) / ferplus_votes.NAME
            found += [beside] * (beside.is_file() and beside not in found)
        if len({path.read_bytes() for path in found}) > 1:
            raise UserError(f"set dataset.source.votes to one of {listed(list(map(str, found)), 'or')}, which differ")
        if not found:
            where = "" if self.votes is None else f" in {self.votes}"
            raise UserError(
                f"FER+ needs its votes, {ferplus_votes.NAME} of Microsoft's repository FERPlus, and there are none"
                f"{where}: put the file beside the pictures ({tree.path}), or set dataset.source.votes=PATH"
            )
        return files.Tree(found[0].parent, {found[0].name: (0, 0)}, ()), found[0].name


def _rule(labels: str) -> str:
    return "cross_entropy" if labels == "probability" else labels


def _folders(folder: Path) -> list[Path]:
    """Return those of Microsoft's three folders that lie in ``folder``."""
    below = files.subfolders(folder)
    return [below[name] for name in map(str.lower, FOLDERS) if name in below]


def _bytes(tree: files.Tree, name: str) -> bytes:
    try:
        return tree.read(name)
    except OSError as error:
        raise UserError(f"cannot read {tree.path / name}: {error.strerror or error}") from error
