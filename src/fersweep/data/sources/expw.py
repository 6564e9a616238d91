"""ExpW, Expression in-the-Wild (Zhang et al., 2018): 91,793 faces in photographs from the web.

``label/label.lst`` has a line for each face: name of the picture, number of the face, top, left, right and bottom of
its box, the detector's confidence, and a number of 0 to 6 for the expression. The pictures lie in ``image/origin/``;
one may show several faces, each of which is an image here, cut to its box. There are no parts, and nothing says who is
shown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from fersweep.data import accounting, files, images
from fersweep.data.samples import CLASSES
from fersweep.data.sources.base import ImageFile, as_records
from fersweep.data.sources.listed import Listed, lines
from fersweep.errors import UserError

CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The class of each number."""
COUNTS = (3_671, 3_995, 1_088, 30_537, 34_883, 10_559, 7_060)
"""Lines per canonical class of a complete list."""


class _Face(NamedTuple):
    picture: str
    number: str
    box: images.Box
    confidence: float
    code: int


@dataclass
class ExpW(Listed):
    """ExpW's faces as `Samples`; ids are like ``happy_actor_1.jpg/0``, the picture and the number of the face.

    Args:
        root, image_size, channels: as in `ImageFiles`.
        confidence: leave out faces whose box has a lower confidence, on the scale of ``label.lst``; by default none.
    """

    name = "expw"
    layouts = "ExpW's label/label.lst and image/origin/ (or origin.zip), in a folder or a zip"
    marks = r"(.*/)?label\.lst"
    lists = ("label.lst",)
    list_folders = ("label", "labels")

    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.confidence is not None and (isinstance(self.confidence, bool | str) or self.confidence < 0):
            raise UserError(f"dataset.source.confidence={self.confidence} is impossible: choose null, or 0 or more")

    def shows(self, name: str) -> bool:
        return files.is_image(name)

    def options(self, tree: files.Tree) -> dict[str, object]:
        return {**super().options(tree), "confidence": self.confidence}

    def records(self) -> images.Records:
        """Return the faces before decoding; one whose picture is missing is a fault. Repeated lines count once.

        Raises:
            UserError: there is no picture, or a line is none of ExpW's.
        """
        tree = self.tree()
        pictures = {files.basename(name): name for name in tree.images()}
        rows: list[ImageFile] = []
        faults: list[tuple[str, str]] = []
        seen: dict[str, _Face] = {}
        for number, face in self._faces(tree):
            key = f"{face.picture}/{face.number}"
            if not self._chosen(face) or seen.get(key) == face:
                continue
            key = f"{key}.{number}" if key in seen else key
            seen[key] = face
            if name := pictures.get(face.picture):
                rows.append(ImageFile(key, name, CLASSES.index(CODES[face.code]), box=face.box))
            else:
                faults.append((key, "it is in label.lst, but its picture is missing"))
        if not rows and not seen:
            raise UserError(f"no face of {tree.path} has dataset.source.confidence={self.confidence}: lower it")
        if not rows:
            raise UserError(
                f"{tree.path} has ExpW's label.lst but none of its pictures: put image/origin/, unpacked, beside "
                "label/, and set dataset.root to the folder that holds both"
            )
        return replace(as_records(tree, CLASSES, rows), faults=tuple(faults))

    def _chosen(self, face: _Face) -> bool:
        return self.confidence is None or face.confidence >= self.confidence

    def _faces(self, tree: files.Tree) -> list[tuple[int, _Face]]:
        """Return the number and the face of each line of the list.

        Raises:
            UserError: a line is none of ExpW's, or there are several lists.
        """
        found = [name for name in tree.stamps if self.is_list(name)]
        if len(found) > 1:
            raise UserError(f"{tree.path} has {len(found)} lists, {' and '.join(found[:2])}: keep one of them")
        return [(number, _face(tree, found[0], number, line)) for number, line in lines(tree, found[0])]

    def reasons(self) -> Callable[[str], accounting.Reason]:
        """Return a function of an image: pictures without a chosen face are not missing; the list leaves out some."""
        listed = {face.picture for _, face in self._faces(self.tree())}

        def reason(name: str) -> accounting.Reason:
            if files.basename(name) in listed:
                return "without a face", "by dataset.source.confidence", False
            return "without a face in label.lst", "", "/origin/" not in f"/{name.lower()}"

        return reason

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        """Return ``(what, found, expected)`` for the lines of the list, repeated ones included, whatever is chosen."""
        found = Counter(CODES[face.code] for _, face in self._faces(self.tree()))
        rows = [("faces in label.lst", found.total(), sum(COUNTS))]
        return rows + [(f"{name} in label.lst", found[name], COUNTS[k]) for k, name in enumerate(CLASSES)]


def _face(tree: files.Tree, name: str, number: int, line: str) -> _Face:
    """Return the face of a line.

    Raises:
        UserError: the line is none of ExpW's.
    """
    cells = line.rsplit(maxsplit=7)  # names of pictures may contain spaces
    try:
        picture, face, *rest, code = cells
        top, left, right, bottom, confidence = map(float, rest)
        if int(code) not in range(len(CODES)) or not all(map(math.isfinite, (top, left, right, bottom, confidence))):
            raise ValueError(line)
    except ValueError as error:
        raise UserError(
            f"{tree.path / name} line {number} is {line[:60]!r}, and must be a name, the number of the face, top, "
            f"left, right, bottom and confidence of its box, all finite, and a number of 0 to {len(CODES) - 1}"
        ) from error
    return _Face(files.basename(picture), face, (left, top, right, bottom), confidence, int(code))
