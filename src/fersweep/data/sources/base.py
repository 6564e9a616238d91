"""Base class of dataset sources that read image files.

To read another layout of files, add a module with a subclass of `ImageFiles` that has `recognise` and `records`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from fersweep.data import accounting, files, images
from fersweep.data.samples import Samples
from fersweep.files import given


class ImageFile(NamedTuple):
    """One image of a source: its id, its name in the tree, and what is known about it, as in `Samples`.

    With a ``box`` the image is that part of the picture (`images.cut`).
    """

    id: str
    name: str
    label: int
    usage: str | None = None
    subject: str | None = None
    sequence: str | None = None
    box: images.Box | None = None


@dataclass
class ImageFiles(ABC):
    """A dataset of image files as `Samples`.

    A subclass has a ``name`` and lists its images (`records`). It may search for them below ``root`` (`recognise`),
    restrict the files that count (`only`, `reads`), and, as a dataclass with more fields, have `options`.

    Args:
        root: the folder or zip archive that holds the files, or any folder above it.
        image_size: pixels per side of the decoded images.
        channels: 1 for grey, 3 for RGB.
    """

    name: ClassVar[str]
    layouts: ClassVar[str] = "its folder or archive"
    """The layouts that are recognised, for messages."""
    marks: ClassVar[str] = ""
    """A regular expression of relative names, in lower case, that belong to this dataset alone: where another one is
    searched for, they tell which this is (`fersweep.data.contents.owner`)."""
    only: ClassVar[Collection[str] | None] = None
    """Lower-case names of the subfolders to read, if others may be unrelated; ``None``: all."""

    root: str | Path | None = None
    image_size: int = 48
    channels: int = 1

    def recognise(self, path: Path) -> bool:
        """Return whether a folder, zip archive or CSV file is this dataset; by default, ``root`` itself is."""
        return path == given(Path(str(self.root)))

    def locate(self) -> Path:
        """Return the folder or file at or below ``root`` that holds the dataset.

        Raises:
            UserError: it is missing, is not this dataset, or was found several times.
        """
        return files.locate(self.root, self.name, self.layouts, self.recognise)

    def tree(self) -> files.Tree:
        """Return the files by relative name: ``tree.images()`` lists the images, ``tree.read(name)`` gives bytes."""
        return files.open_tree(self.locate(), self.only)

    def reads(self, name: str) -> bool:
        """Return whether the file ``name`` belongs to the dataset and thus to its fingerprint."""
        return True

    def options(self, tree: files.Tree) -> dict[str, object]:
        """Return what the decoded images depend on besides the files, as JSON can hold it."""
        return {"size": self.image_size, "channels": self.channels}

    def fingerprint(self) -> str:
        """Return a digest of the files' names, sizes and checksums (or modification times), and of `options`."""
        tree = self.tree()
        return files.fingerprint(tree.stamps, filter(self.reads, tree.stamps), self.options(tree))

    @abstractmethod
    def records(self) -> images.Records:
        """Return the images before decoding.

        Raises:
            UserError: the files are not those of this dataset.
        """

    def load(self) -> Samples:
        """Decode everything.

        Raises:
            UserError: as `locate` and `records`, or an image is broken.
        """
        return images.load(self.records(), self.image_size, self.channels, self.name)

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        """Return ``(what, found, expected)`` for the counts of a complete copy; none by default."""
        return []

    def read_names(self) -> Collection[str] | None:
        """Return the names, in the tree, of the files that are read; ``None`` if that is not known."""
        return self.records().names

    def reasons(self) -> Callable[[str], accounting.Reason]:
        """Return a function of an image that is not read: its kind, why, and whether it is missing."""
        return _by_folder

    def surroundings(self) -> files.Tree:
        """Return all files of the dataset's folder or archive, also those that `tree` leaves out."""
        return files.open_tree(self.locate())

    def left_out(self) -> list[accounting.LeftOut]:
        """Return the files below the dataset's folder, or in its archive, that are not read.

        Raises:
            UserError: as `locate` and `records`.
        """
        read = self.read_names()
        return [] if read is None else accounting.account(self.surroundings(), read, self.reasons())


def _by_folder(name: str) -> accounting.Reason:
    folder = name.partition("/")[0]
    return f"in {folder}/" if folder != name else "in no folder", "", True


def as_records(tree: files.Tree, class_names: tuple[str, ...], found: Iterable[ImageFile]) -> images.Records:
    """Return the image files of a tree as records, sorted by id; a field that is ``None`` for one is left out."""
    rows = sorted(found)
    texts = {field: [getattr(row, field) for row in rows] for field in ("usage", "subject", "sequence")}
    usage, subjects, sequences = (None if None in values else np.array(values, np.str_) for values in texts.values())
    return images.Records(
        ids=np.array([row.id for row in rows], np.str_),
        labels=np.array([row.label for row in rows], np.int64),
        class_names=class_names,
        read=images.reader(tree, [row.name for row in rows], [row.box for row in rows]),
        subjects=subjects,
        usage=usage,
        sequences=sequences,
        names=tuple(row.name for row in rows),
    )
