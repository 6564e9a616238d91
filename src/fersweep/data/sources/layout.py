"""Layouts of image folders: the names of parts and classes, and the level of a tree at which they stand."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from fersweep.data.files import Tree
from fersweep.data.samples import CLASSES, CONTEMPT, PRIVATE, PUBLIC, TRAINING, canonical

Folder = tuple[str, ...]
"""A folder of a tree, as its names from the top."""

_PARTS = {
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development", "publictest"), PUBLIC),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "privatetest"), PRIVATE),
}
_FILLERS = (
    {"set", "data", "dataset", "split", "part", "image", "images", "img", "imgs", "face", "faces"}
    | {"fer", "2013", "plus", "ferplus"}
    | {"raf", "db", "rafdb", "affectnet", "ck", "ckplus", "kdef", "jaffe"}
)
_FIRST_PARTS = ("train", "training", "val", "valid", "validation", "test", "testing")
"""Names of parts in version 0.1.0, for which fingerprints stay as they were."""

_DEPTH = 4  # levels of folders in an archive at which the layout is searched for


def part_of(name: str) -> str | None:
    """Return the usage that a folder's name stands for (``train_set``, ``FER2013Valid``); ``None`` for another name.

    ``eval`` and ``PrivateTest`` are test parts, ``dev`` and ``PublicTest`` validation parts.
    """
    words = re.findall(r"[a-z]+|\d+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).lower())
    joined = "".join(word for word in words if word not in _FILLERS)
    return _PARTS.get(joined) or _PARTS.get(re.sub(r"(set|data)$", "", joined))


def class_folders(names: Iterable[str], chosen: Collection[str] | None) -> set[str]:
    """Return those folder names that stand for classes.

    These are the chosen ones (in any case), or else those of emotions, or else single digits, as in AffectNet.
    """
    names = set(names)
    if chosen is not None:
        wanted = {key(name) for name in chosen}
        return {name for name in names if key(name) in wanted}
    return {name for name in names if canonical(name) in (*CLASSES, CONTEMPT)} or {
        name for name in names if re.fullmatch("[0-9]", name)
    }


def key(name: str) -> str:
    """Return what a class's name and those of its folders have in common."""
    return canonical(str(name)).strip().lower()


@dataclass(frozen=True)
class Layout:
    """The level of a tree at which its class folders stand.

    Attributes:
        top: the folder that holds the folders of classes, or of parts.
        parts: usage by the name of a part's folder; empty without parts.
        classes: the class folders.
        others: folders beside class folders that stand for no class and hold images.
        usual: whether version 0.1.0 read the same images in the same way.
    """

    top: Folder
    parts: dict[str, str]
    classes: frozenset[Folder]
    others: tuple[Folder, ...]
    usual: bool

    def class_of(self, path: Folder) -> Folder | None:
        """Return the class folder of an image, ``None`` if it lies in none."""
        folder = path[: len(self.top) + 1 + bool(self.parts)]
        return folder if folder in self.classes and len(path) > len(folder) else None


def layouts(tree: Tree, chosen: Collection[str] | None) -> list[Layout]:
    """Return the layouts at the highest level of ``tree`` that has one; below a folder, only its own level counts."""
    filled = {tuple(name.split("/")[:-1]) for name in tree.images()}
    listed = {tuple(name.split("/")) for name in tree.folders}
    children: dict[Folder, set[str]] = defaultdict(set)
    for folder in filled | listed:
        for depth in range(len(folder)):
            children[folder[:depth]].add(folder[depth])
    tops = sorted(children, key=lambda top: (len(top), top)) if tree.archive is not None else [()]
    found: list[Layout] = []
    for top in tops:
        if len(top) > (len(found[0].top) if found else _DEPTH):
            break
        layout = _layout_at(top, dict(children), filled, listed, chosen)
        found += [layout] if layout else []
    return found


def _layout_at(
    top: Folder,
    children: Mapping[Folder, set[str]],
    filled: set[Folder],
    listed: set[Folder],
    chosen: Collection[str] | None,
) -> Layout | None:
    """Return the layout below the folder ``top``, if that has class folders.

    Args:
        top: a folder of the tree.
        children: the names of the folders in each folder.
        filled: the folders with images.
        listed: the folders that version 0.1.0 knew: in an archive, those that hold files or have an entry.
        chosen: as of `class_folders`.
    """
    parts = {name: usage for name in sorted(children.get(top, ())) if (usage := part_of(name))}
    places = [(*top, part, name) for part in parts for name in children.get((*top, part), ())]
    known = class_folders((place[-1] for place in places), chosen)
    if not known or len({place[-1] for place in places}) < 2:
        parts, places = {}, [(*top, name) for name in children.get(top, ())]
        known = class_folders((place[-1] for place in places), chosen)
        if not known or len(places) < 2:
            return None
    classes = frozenset(place for place in places if place[-1] in known)
    with_images = {folder[: len(places[0])] for folder in filled}
    earlier = {place for place in places if place in listed and (not parts or place[len(top)].lower() in _FIRST_PARTS)}
    beside = any(folder[: len(top)] != top[: len(folder)] for folder in filled)
    names = {canonical(place[-1]) for place in classes}
    alike = classes & with_images == earlier & with_images and names == {canonical(place[-1]) for place in earlier}
    return Layout(top, parts, classes, tuple(sorted(with_images.intersection(places) - classes)), alike and not beside)
