"""JAFFE (Lyons et al., 1998): 213 grey faces of 256×256 pixels, ten women posing seven expressions.

Everything is in a file's name: ``KA.AN1.39.tiff`` is subject KA, angry, her first picture of it, number 39. Other files
beside them, such as ``README``, are not looked at.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fersweep.data import files, images
from fersweep.data.samples import CLASSES
from fersweep.data.sources.base import ImageFiles

CODES = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
LAYOUTS = "JAFFE's images, named like KA.AN1.39.tiff (or .tif, .jpg, .png), in a folder or zip archive"
COUNTS = (30, 29, 32, 31, 30, 31, 30)
"""Images per canonical class of a complete copy."""
SUBJECTS = 10

_NAME = re.compile(r"(?P<subject>[A-Z]{2})\.(?P<code>AN|DI|FE|HA|NE|SA|SU)\d\.\d+\.(tiff?|jpe?g|png)", re.IGNORECASE)


class Jaffe(ImageFiles):
    """JAFFE as `Samples`.

    Args:
        root: the folder or archive that holds the images, or any folder above it.
        image_size: pixels a side of the decoded images.
        channels: 1 for grey, 3 for RGB (three equal channels).
    """

    name = "jaffe"

    def locate(self) -> Path:
        """Return the folder or archive.

        Raises:
            UserError: it is missing, not JAFFE, or there several times.
        """
        return files.locate(self.root, self.name, LAYOUTS, _recognise)

    def fingerprint(self) -> str:
        """Return a digest of the file names, sizes and checksums (or times), and of the decoded form."""
        tree = self._open()
        return files.fingerprint(tree.stamps, _named(tree), {"size": self.image_size, "channels": self.channels})

    def records(self) -> images.Records:
        """Return the images before decoding, sorted by name."""
        tree = self._open()
        rows = []
        for name in _named(tree):
            file = name.rpartition("/")[2]
            match = _NAME.fullmatch(file)
            assert match is not None
            rows.append((file, name, CLASSES.index(CODES[match["code"].upper()]), match["subject"].upper()))
        rows.sort()
        ids, names, labels, subjects = zip(*rows, strict=True)
        return images.Records(
            ids=np.array(ids),
            labels=np.array(labels, np.int64),
            class_names=CLASSES,
            read=images.reader(tree, names),
            subjects=np.array(subjects),
        )

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        """Return ``(what, found, expected)`` for the counts a complete copy has."""
        assert records.subjects is not None
        rows = [
            ("images", len(records), sum(COUNTS)),
            ("subjects", len(np.unique(records.subjects)), SUBJECTS),
        ]
        return rows + [(name, int((records.labels == k).sum()), COUNTS[k]) for k, name in enumerate(CLASSES)]

    def _open(self) -> files.Tree:
        return files.open_tree(self.locate(), only=())


def _recognise(path: Path) -> bool:
    if path.is_dir():
        return files.has_file(path, lambda name: _NAME.fullmatch(name) is not None)
    return path.suffix.lower() == ".zip" and bool(_named(files.open_tree(path)))


def _named(tree: files.Tree) -> list[str]:
    """Return the files that have JAFFE's names."""
    return [name for name in tree.images() if _NAME.fullmatch(name.rpartition("/")[2])]
