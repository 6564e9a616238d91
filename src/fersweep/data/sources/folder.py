"""Any images in class folders: ``<class>/*``, or ``<part>/<class>/*`` with parts train, val and test.

Class folders with a usual name for a canonical emotion (``Anger``, ``happiness``) become that class; other names are
classes in their own right, sorted, after the canonical ones. An empty class folder is a class, which splits refuse.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fersweep.data import files, images
from fersweep.data.samples import CLASSES, CONTEMPT, PRIVATE, PUBLIC, TEST, TRAINING, canonical
from fersweep.data.sources.base import ImageFile, ImageFiles, as_records

PARTS = {
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("val", "valid", "validation"), PUBLIC),
    **dict.fromkeys(("test", "testing"), PRIVATE),
}
"""Usage by the name of the part's folder. A test folder without a validation folder is ``Test``; a training folder
alone is not a part."""


class Folder(ImageFiles):
    """A folder of images as `Samples`; arguments as of `ImageFiles`."""

    name = "folder"
    layouts = "at least two folders of images named after their classes, or such folders in train/, val/ and test/"

    def recognise(self, path: Path) -> bool:
        if not path.is_dir():
            return path.suffix.lower() == ".zip" and _archives_classes(files.open_tree(path))
        folders = files.subfolders(path)
        parts = [folder for name, folder in folders.items() if name in PARTS]
        return any(map(_has_classes, parts or [path]))

    def reads(self, name: str) -> bool:
        return files.is_image(name)

    def options(self, tree: files.Tree) -> dict[str, object]:
        return {**super().options(tree), "folders": tree.folders}

    def records(self) -> images.Records:
        tree = self.tree()
        top, parted = _layout(tree)
        depth = 2 if parted else 1
        folders = {tuple(folder[len(top) :].split("/")) for folder in tree.folders if folder.startswith(top)}
        wanted = {folder for folder in folders if len(folder) == depth and (not parted or folder[0].lower() in PARTS)}
        class_names = _class_names({canonical(folder[-1]) for folder in wanted})
        rows = []
        for name in tree.images():
            path = tuple(name[len(top) :].split("/"))
            if path[:depth] in wanted and len(path) > depth:
                label = class_names.index(canonical(path[depth - 1]))
                rows.append(ImageFile("/".join(path), name, label, PARTS[path[0].lower()] if parted else None))
        records = as_records(tree, class_names, rows)
        usage = records.usage
        if usage is None or len(np.unique(usage)) == 1:
            return replace(records, usage=None)
        return records if PUBLIC in usage else replace(records, usage=np.where(usage == PRIVATE, TEST, usage))


def _class_names(found: set[str]) -> tuple[str, ...]:
    known = (*CLASSES, CONTEMPT)
    return (*(name for name in known if name in found), *sorted(found - set(known)))


def _has_classes(folder: Path) -> bool:
    """Return whether ``folder`` has at least two subfolders, and one of them images."""
    below = files.subfolders(folder)
    return len(below) > 1 and any(files.has_file(path, files.is_image) for path in below.values())


def _archives_classes(tree: files.Tree) -> bool:
    top, parted = _layout(tree)
    depth = 2 if parted else 1
    paths = [name[len(top) :].split("/") for name in tree.images()]
    return len({path[depth - 1] for path in paths if len(path) > depth}) > 1


def _layout(tree: files.Tree) -> tuple[str, bool]:
    """Return the folders above the class or part folders, with a trailing slash, and whether there are parts."""
    top = ""
    while True:
        first = {name[len(top) :].split("/")[0] for name in tree.images() if "/" in name[len(top) :]}
        if any(name.lower() in PARTS for name in first):
            return top, True
        if len(first) != 1 or tree.archive is None:
            return top, False
        top += f"{first.pop()}/"
