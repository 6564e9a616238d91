"""Any images in class folders: ``<class>/*``, or ``<part>/<class>/*`` with parts train, val and test.

Class folders with a usual name for a canonical emotion (``Anger``, ``happiness``) become that class; single digits and
the names that ``classes`` lists are classes in their own right, sorted, after the canonical ones. An empty class folder
is a class, which splits refuse. Other folders are no classes, and one with images beside class folders is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fersweep.data import accounting, contents, files, images
from fersweep.data.samples import CLASSES, CONTEMPT, PRIVATE, PUBLIC, TEST, canonical
from fersweep.data.sources.base import ImageFile, ImageFiles, as_records
from fersweep.data.sources.layout import Layout, class_folders, key, layouts, part_of
from fersweep.errors import UserError
from fersweep.files import given

NAMED = 6  # folders that a message names


@dataclass
class Folder(ImageFiles):
    """A folder of images as `Samples`.

    Args:
        root, image_size, channels: as in `ImageFiles`.
        classes: the names of all class folders, if some are not usual names of emotions; images in other folders are
            then left out.
    """

    name = "folder"
    layouts = "at least two folders of images named after emotions, or such folders in train/, val/ and test/"

    classes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and (isinstance(self.classes, str) or len(set(map(key, self.classes))) < 2):
            raise UserError(
                f"dataset.source.classes={self.classes} does not list two or more classes: write [happy,sad,bored]"
            )

    def locate(self) -> Path:
        """Return the folder or zip archive at or below ``root`` that has class folders.

        Raises:
            UserError: it is missing, or there are several; or the folders with images have other names.
        """
        found: list[Path] = []
        others: list[tuple[Path, list[str]]] = []

        def recognise(path: Path) -> bool:
            if self.recognise(path):
                found.append(path)
                return True
            if names := _with_images(path):
                others.append((path, names))
            return False

        try:
            return files.locate(self.root, self.name, self.layouts, recognise)
        except UserError as error:
            if len(found) > 1:
                raise self._several([str(path) for path in found]) from error
            if others and not found:
                raise UserError(f"{self._no_classes(*others[0])}{self._other()}") from error
            raise

    def recognise(self, path: Path) -> bool:
        if not path.is_dir():
            return files.is_archive(path) and bool(layouts(files.open_tree(path), self.classes))
        below = _names(path)
        of_parts = [child for name in below if part_of(name.name) for child in _names(name)]
        return self._are_classes(of_parts) or self._are_classes(below)

    def _are_classes(self, folders: list[Path]) -> bool:
        """Return whether some of at least two folders are classes, and one of these has images."""
        names = {folder.name for folder in folders}
        known = class_folders(names, self.classes)
        return len(names) > 1 and any(
            files.has_file(folder, files.is_image) or (key(folder.name) in _USUAL and _holds_images(folder))
            for folder in folders
            if folder.name in known
        )

    def reads(self, name: str) -> bool:
        return files.is_image(name)

    def options(self, tree: files.Tree) -> dict[str, object]:
        layout = self._layout(tree)
        read = {} if layout.usual else {"classes": sorted(map("/".join, layout.classes)), "parts": layout.parts}
        return {**super().options(tree), "folders": tree.folders, **read}

    def records(self) -> images.Records:
        """Return the images before decoding.

        Raises:
            UserError: a folder beside class folders is none, or `classes` names one that does not exist.
        """
        tree = self.tree()
        layout = self._layout(tree)
        class_names = _class_names({canonical(folder[-1]) for folder in layout.classes})
        rows = []
        for name in tree.images():
            path = tuple(name.split("/"))
            if folder := layout.class_of(path):
                own = path[len(layout.top) :]
                label = class_names.index(canonical(folder[-1]))
                rows.append(ImageFile("/".join(own), name, label, layout.parts.get(own[0])))
        records = as_records(tree, class_names, rows)
        usage = records.usage
        if usage is None or len(np.unique(usage)) == 1:
            return replace(records, usage=None)
        return records if PUBLIC in usage else replace(records, usage=np.where(usage == PRIVATE, TEST, usage))

    def reasons(self) -> Callable[[str], accounting.Reason]:
        layout = self._layout(self.tree())
        return lambda name: _reason(layout, tuple(name.split("/")))

    def _layout(self, tree: files.Tree) -> Layout:
        """Return the one layout of the tree, after the checks of `records`."""
        found = layouts(tree, self.classes)
        if len(found) != 1:  # an archive, or a folder that changed
            if found:
                raise self._several([f"{tree.path}/{'/'.join(layout.top)}" for layout in found])
            raise UserError(f"{tree.path} holds no {self.name} data: it must hold {self.layouts}")
        layout = found[0]
        names = {folder[-1] for folder in layout.classes}
        if self.classes is not None:
            missing = [str(name) for name in self.classes if key(name) not in set(map(key, names))]
            if missing:
                raise UserError(
                    f"dataset.source.classes lists {_listed(missing)}, and {tree.path} has no such class folder: "
                    f"its folders are {_listed(_all_names(layout))}"
                )
        elif layout.others:
            others = sorted({"/".join(folder) for folder in layout.others})
            setting = _setting(name for name in _all_names(layout) if not part_of(name))
            raise UserError(
                f"{tree.path} has images in {_listed(others)} beside its class folders, and no emotion is called that: "
                f"list all folders that are classes, as in {setting}, and images in others are left out"
                f"{self._other()}"
            )
        return layout

    def _other(self) -> str:
        """Return a clause on the dataset that ``root`` holds by the names of its files, if it is another one."""
        other = contents.owner(given(Path(str(self.root))), self.name)
        return f"; {other}" if other else ""

    def _several(self, places: list[str]) -> UserError:
        return UserError(
            f"dataset.root={self.root} holds class folders in {len(places)} places, {_listed(places)}: if these are "
            "copies, set dataset.root to one of them; if they are parts of one dataset, put them into one folder, as "
            "train/<class>/ and test/<class>/; if they hold people of one dataset, put their images together, one "
            "folder per class"
        )

    def _no_classes(self, place: Path, names: list[str]) -> UserError:
        if "" in names and len(names) == 1:
            return UserError(
                f"{place} has images but no class folders: dataset=folder needs {self.layouts}, "
                "so sort the images into such folders"
            )
        names = [name for name in names if name]
        last = {name.rpartition("/")[2] for name in names}
        if class_folders(last, None) == last:
            return UserError(
                f"{place} has images of one class only, {_listed(names)}: unpack or move the class folders into one "
                "folder, and set dataset.root to it"
            )
        parts = all(part_of(name.rpartition("/")[2]) for name in names)
        kind = "names of parts, not of classes" if parts else "no names of emotions"
        setting = "" if parts else f"; if these folders are your classes, set {_setting(names)}"
        return UserError(
            f"{place} has images in {_listed(names)}, which are {kind}: dataset=folder needs {self.layouts}, so sort "
            f"the images into such folders{setting}"
        )


_USUAL = (*CLASSES, CONTEMPT)


def _reason(layout: Layout, path: tuple[str, ...]) -> accounting.Reason:
    """Return why an image is in no class folder."""
    own = path[len(layout.top) :]
    if path[: len(layout.top)] != layout.top:
        return f"in {'/'.join(path[:-1]) or '.'}/", f"outside of {'/'.join(layout.top)}/", True
    if len(own) == 1:
        return f"beside the folders of {'parts' if layout.parts else 'classes'}", "", True
    if layout.parts and own[0] not in layout.parts:
        return f"in {own[0]}/", "not a usual name of a part, as train, val or test", True
    if layout.parts and len(own) == 2:
        return f"in {own[0]}/", "in none of its class folders", True
    return f"in {'/'.join(own[: 1 + bool(layout.parts)])}/", "not in dataset.source.classes", False


def _class_names(found: set[str]) -> tuple[str, ...]:
    return (*(name for name in _USUAL if name in found), *sorted(found - set(_USUAL)))


def _names(folder: Path) -> list[Path]:
    return list(files.subfolders(folder).values())


def _holds_images(folder: Path, depth: int = files.SEARCH_DEPTH) -> bool:
    """Return whether images lie in ``folder`` or at most ``depth`` levels below it."""
    if files.has_file(folder, files.is_image):
        return True
    return depth > 0 and any(_holds_images(below, depth - 1) for below in _names(folder))


def _with_images(path: Path) -> list[str]:
    """Return the names of the subfolders that hold images directly; an empty name is the folder or archive itself."""
    if path.is_dir():
        own = [""] * files.has_file(path, files.is_image)
        return own + [folder.name for folder in _names(path) if files.has_file(folder, files.is_image)]
    if not files.is_archive(path):
        return []
    return sorted({name.rpartition("/")[0] for name in files.open_tree(path).images()})


def _all_names(layout: Layout) -> list[str]:
    return sorted({folder[-1] for folder in (*layout.classes, *layout.others)})


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _setting(names: Iterable[str]) -> str:
    """Return the setting that lists these class folders, quoted for a shell; shortened if there are many."""
    last = sorted({name.rpartition("/")[2] for name in names})
    words = [name if re.fullmatch(r"[A-Za-z_][\w-]*", name, re.ASCII) else f'"{name}"' for name in last]
    return "'dataset.source.classes=[" + ",".join(words[:20]) + ",…" * (len(words) > 20) + "]'"
