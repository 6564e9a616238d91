"""Any images in class folders: ``<class>/*``, or ``<part>/<class>/*`` with parts train, val and test.

Class folders with a usual name for a canonical emotion (``Anger``, ``happiness``) become that class; other names are
classes of their own, after the canonical ones and sorted. An empty class folder is a class, which splits then refuse.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fersweep.data import files, images
from fersweep.data.samples import CLASSES, CONTEMPT, PRIVATE, PUBLIC, TEST, TRAINING, canonical
from fersweep.data.sources.base import ImageFiles

LAYOUTS = "at least two folders of images named after their classes, or such folders in train/, val/ and test/"

PARTS = {
    "train": TRAINING,
    "training": TRAINING,
    "val": PUBLIC,
    "valid": PUBLIC,
    "validation": PUBLIC,
    "test": PRIVATE,
    "testing": PRIVATE,
}
"""The usage that the folder of each part stands for; a test folder without a validation folder is ``Test``,
and a training folder alone is no part."""


class Folder(ImageFiles):
    """A folder of images as `Samples`.

    Args:
        root: the folder or zip archive that holds the class or part folders, or any folder above it.
        image_size: pixels a side of the decoded images.
        channels: 1 for grey, 3 for RGB.
    """

    name = "folder"

    def locate(self) -> Path:
        """Return the folder or archive.

        Raises:
            UserError: it is missing, holds no class folders, or several places do.
        """
        return files.locate(self.root, self.name, LAYOUTS, _recognise)

    def fingerprint(self) -> str:
        """Return a digest of the files' and folders' names, sizes and checksums (or times), and of the decoded form."""
        tree = files.open_tree(self.locate())
        options = {"size": self.image_size, "channels": self.channels, "folders": tree.folders}
        return files.fingerprint(tree.stamps, tree.images(), options)

    def records(self) -> images.Records:
        """Return the images before decoding, sorted by name."""
        tree = files.open_tree(self.locate())
        top, parted = _layout(tree)
        depth = 2 if parted else 1
        folders = {tuple(folder[len(top) :].split("/")) for folder in tree.folders if folder.startswith(top)}
        wanted = {folder for folder in folders if len(folder) == depth and (not parted or folder[0].lower() in PARTS)}
        class_names = _class_names({canonical(folder[-1]) for folder in wanted})
        rows = []
        for name in tree.images():
            parts = tuple(name[len(top) :].split("/"))
            if parts[:depth] in wanted and len(parts) > depth:
                usage = PARTS[parts[0].lower()] if parted else ""
                rows.append((name[len(top) :], name, class_names.index(canonical(parts[depth - 1])), usage))
        rows.sort()
        ids, names, labels, usages = zip(*rows, strict=True)
        usage_of = np.array(usages)
        if PUBLIC not in usages:
            usage_of[usage_of == PRIVATE] = TEST
        return images.Records(
            ids=np.array(ids),
            labels=np.array(labels, np.int64),
            class_names=class_names,
            read=images.reader(tree, names),
            usage=usage_of if len(set(usages)) > 1 else None,
        )


def _class_names(found: set[str]) -> tuple[str, ...]:
    known = (*CLASSES, CONTEMPT)
    return (*(name for name in known if name in found), *sorted(found - set(known)))


def _recognise(path: Path) -> bool:
    if not path.is_dir():
        return path.suffix.lower() == ".zip" and _holds_classes(files.open_tree(path))
    folders = files.subfolders(path)
    parts = [folder for name, folder in folders.items() if name in PARTS]
    if parts:
        return any(_with_images(part) for part in parts)
    return _with_images(path)


def _with_images(folder: Path) -> bool:
    """Say whether ``folder`` has at least two folders, and one of them images."""
    below = files.subfolders(folder)
    return len(below) > 1 and any(files.has_file(path, files.is_image) for path in below.values())


def _holds_classes(tree: files.Tree) -> bool:
    top, parted = _layout(tree)
    depth = 2 if parted else 1
    paths = [name[len(top) :].split("/") for name in tree.images()]
    return len({parts[depth - 1] for parts in paths if len(parts) > depth}) > 1


def _layout(tree: files.Tree) -> tuple[str, bool]:
    """Return the folders above the class or part folders, with a slash at the end, and whether there are parts."""
    top = ""
    while True:
        first = {name[len(top) :].split("/")[0] for name in tree.images() if "/" in name[len(top) :]}
        if any(name.lower() in PARTS for name in first):
            return top, True
        if len(first) != 1 or tree.archive is None:
            return top, False
        top += f"{first.pop()}/"
