"""JAFFE (Lyons et al., 1998): 213 grey faces of 256×256 pixels, ten women posing seven expressions.

The file names hold all labels: ``KA.AN1.39.tiff`` is subject KA, angry, her first picture of it, number 39. Other files
beside them, such as ``README``, are ignored.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fersweep.data import files, images
from fersweep.data.samples import CLASSES
from fersweep.data.sources.base import ImageFile, ImageFiles, as_records

CODES = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
COUNTS = (30, 29, 32, 31, 30, 31, 30)  # images per canonical class of a complete copy
SUBJECTS = 10

_NAME = re.compile(r"(?P<subject>[A-Z]{2})\.(?P<code>AN|DI|FE|HA|NE|SA|SU)\d\.\d+\.(tiff?|jpe?g|png)", re.IGNORECASE)


class Jaffe(ImageFiles):
    """JAFFE as `Samples`, with subjects; arguments as of `ImageFiles`."""

    name = "jaffe"
    layouts = "JAFFE's images, named like KA.AN1.39.tiff (or .tif, .jpg, .png), in a folder or zip archive"
    only = ()

    def recognise(self, path: Path) -> bool:
        if path.is_dir():
            return files.has_file(path, self.reads)
        return files.is_archive(path) and any(map(self.reads, files.open_tree(path).stamps))

    def reads(self, name: str) -> bool:
        return _NAME.fullmatch(files.basename(name)) is not None

    def records(self) -> images.Records:
        tree = self.tree()
        rows = []
        for name in tree.stamps:
            if match := _NAME.fullmatch(files.basename(name)):
                label = CLASSES.index(CODES[match["code"].upper()])
                rows.append(ImageFile(match.string, name, label, subject=match["subject"].upper()))
        return as_records(tree, CLASSES, rows)

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        assert records.subjects is not None
        rows = [("images", len(records), sum(COUNTS)), ("subjects", len(np.unique(records.subjects)), SUBJECTS)]
        return rows + [(name, int((records.labels == k).sum()), COUNTS[k]) for k, name in enumerate(CLASSES)]
