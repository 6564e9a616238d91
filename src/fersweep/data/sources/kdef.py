"""KDEF (Lundqvist, Flykt and Öhman, 1998): 4,900 pictures of 70 people posing seven expressions, from five angles.

The file names hold all labels: ``AF01ANS.JPG`` is session A, female 01, angry, seen straight. So the folders in which
they lie (one for each person and session, of classes, or of parts) do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fersweep.data import accounting, files, images
from fersweep.data.samples import CLASSES
from fersweep.data.sources.base import ImageFile, as_records
from fersweep.data.sources.joined import JoinedFiles
from fersweep.errors import UserError

CODES = {"AF": "fear", "AN": "angry", "DI": "disgust", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
ANGLES = ("S", "HL", "HR", "FL", "FR")
"""Straight, half left, half right, full left and full right profile."""
SUBJECTS, SESSIONS = 70, 2
MISNAMED = {"AF31V": "AF31SAHL", "AM31H": "AM31SUHR"}
"""Files of the original whose names are incomplete, and what they show: the two pictures that are missing otherwise."""

_NAME = re.compile(
    r"(?P<key>[AB](?P<subject>[FM]\d\d)(?P<code>AF|AN|DI|HA|NE|SA|SU)(?P<angle>S|HL|HR|FL|FR))", re.IGNORECASE
)
_AVERAGED = re.compile(r"[FM](AF|AN|DI|HA|NE|SA|SU)(S|HL|HR|FL|FR)", re.IGNORECASE)


@dataclass
class Kdef(JoinedFiles):
    """KDEF as `Samples`, with subjects.

    Args:
        root, image_size, channels: as in `ImageFiles`.
        angles: the angles to read, of `ANGLES`; by default straight faces alone.
    """

    name = "kdef"
    layouts = "KDEF's pictures, named like AF01ANS.JPG, in a folder, folders of people or classes, or a zip"
    marks = r"(.*/)?[ab][fm]\d\d(af|an|di|ha|ne|sa|su)(s|hl|hr|fl|fr)\.[a-z]+"
    only = ()

    angles: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.angles is None:
            return
        if isinstance(self.angles, str) or not self.angles:
            raise UserError(f"dataset.source.angles={self.angles} is no list: write it like [S,HL,HR]")
        for angle in map(str, self.angles):
            if angle.upper() not in ANGLES:
                raise UserError(
                    f"dataset.source.angles lists {angle}: choose S (straight), HL and HR "
                    "(half left and right), FL and FR (full)"
                )

    @property
    def _angles(self) -> tuple[str, ...]:
        chosen = {"S"} if self.angles is None else {str(angle).upper() for angle in self.angles}
        return tuple(angle for angle in ANGLES if angle in chosen)

    def recognise(self, path: Path) -> bool:
        if path.is_dir():
            return files.has_file(path, self.reads)
        return files.is_archive(path) and any(map(self.reads, files.open_tree(path).stamps))

    def reads(self, name: str) -> bool:
        return self.key(name) != ""

    def key(self, name: str) -> str:
        match = _matched(name)
        return match["key"].upper() if match else ""

    def options(self, tree: files.Tree) -> dict[str, object]:
        return {**super().options(tree), "angles": self._angles}

    def records(self) -> images.Records:
        """Return the pictures of the chosen angles before decoding.

        Raises:
            UserError: there is none.
        """
        tree = self.tree()
        rows = list(self._rows(tree))
        if not rows:
            angles = ", ".join(self._angles)
            raise UserError(
                f"{tree.path} has no picture of dataset.source.angles=[{angles}]: choose others, or add them"
            )
        return as_records(tree, CLASSES, rows)

    def _rows(self, tree: files.Tree) -> Iterator[ImageFile]:
        for name in tree.images():
            match = _matched(name)
            if match and match["angle"].upper() in self._angles:
                label = CLASSES.index(CODES[match["code"].upper()])
                yield ImageFile(files.basename(name), name, label, subject=match["subject"].upper())

    def reasons(self) -> Callable[[str], accounting.Reason]:
        """Return a function of an image: other angles and the averaged faces of AKDEF are not missing."""
        by_folder = super().reasons()

        def reason(name: str) -> accounting.Reason:
            if self.reads(name):
                return "of other angles", "by dataset.source.angles", False
            if _AVERAGED.fullmatch(_stem(name)):
                return "of AKDEF", "averages of all women or men, who are no subjects", False
            return by_folder(name)

        return reason

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        assert records.subjects is not None
        each = SUBJECTS * SESSIONS * len(self._angles)
        rows = [("images", len(records), each * len(CLASSES))]
        rows += [("subjects", len(np.unique(records.subjects)), SUBJECTS)]
        return rows + [(name, int((records.labels == k).sum()), each) for k, name in enumerate(CLASSES)]


def _stem(name: str) -> str:
    return files.basename(name).rpartition(".")[0]


def _matched(name: str) -> re.Match[str] | None:
    """Return the match of a picture's name, of the full one for those in `MISNAMED`; ``None`` for another file."""
    stem = _stem(name)
    return _NAME.fullmatch(MISNAMED.get(stem.upper(), stem)) if files.is_image(name) else None
