"""JAFFE (Lyons et al., 1998): 213 grey faces of 256×256 pixels, ten women posing seven expressions.

The file names hold all labels: ``KA.AN1.39.tiff`` is subject KA, angry, her first picture of it, number 39. So the
folders in which they lie do not matter: one, or one for each class or person, or ``train`` and ``test``. Other files
beside them, such as ``README``, are ignored.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fersweep.data import files, images
from fersweep.data.samples import CLASSES
from fersweep.data.sources.base import ImageFile, as_records
from fersweep.data.sources.joined import JoinedFiles

CODES = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
COUNTS = (30, 29, 32, 31, 30, 31, 30)  # images per canonical class of a complete copy
SUBJECTS = 10

_NAME = re.compile(r"(?P<key>(?P<subject>[A-Z]{2})\.(?P<code>AN|DI|FE|HA|NE|SA|SU)\d\.\d+)\.[a-z0-9]+", re.IGNORECASE)


class Jaffe(JoinedFiles):
    """JAFFE as `Samples`, with subjects; arguments as of `ImageFiles`."""

    name = "jaffe"
    layouts = (
        "JAFFE's images, named like KA.AN1.39.tiff (or .jpg, .png), in a folder, folders of classes or people, or a zip"
    )
    marks = r"(.*/)?[a-z]{2}\.(an|di|fe|ha|ne|sa|su)\d\.\d+\.[a-z]+"
    only = ()

    def recognise(self, path: Path) -> bool:
        if path.is_dir():
            return files.has_file(path, self.reads)
        return files.is_archive(path) and any(map(self.reads, files.open_tree(path).stamps))

    def reads(self, name: str) -> bool:
        return self.key(name) != ""

    def key(self, name: str) -> str:
        match = _NAME.fullmatch(files.basename(name))
        return match["key"].upper() if match and files.is_image(name) else ""

    def records(self) -> images.Records:
        tree = self.tree()
        rows = []
        for name in tree.images():
            if match := _NAME.fullmatch(files.basename(name)):
                label = CLASSES.index(CODES[match["code"].upper()])
                rows.append(ImageFile(match.string, name, label, subject=match["subject"].upper()))
        return as_records(tree, CLASSES, rows)

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        assert records.subjects is not None
        rows = [("images", len(records), sum(COUNTS)), ("subjects", len(np.unique(records.subjects)), SUBJECTS)]
        return rows + [(name, int((records.labels == k).sum()), COUNTS[k]) for k, name in enumerate(CLASSES)]
