"""RAF-DB's basic emotions (Li et al., 2017): 15,339 faces from the web, labelled by about 40 people each.

Layouts, each in a folder or an archive:

- as handed out: ``EmoLabel/list_patition_label.txt`` (its own spelling) with lines ``train_00001.jpg 5``, and the
  pictures ``train_00001_aligned.jpg`` (100×100 pixels) and ``train_00001.jpg`` (uncropped) in ``Image/aligned/`` and
  ``Image/original/``, or in ``aligned.zip`` and ``original.zip`` there;
- as found on Kaggle: ``DATASET/train/5/train_00001_aligned.jpg``, with or without ``train_labels.csv`` and
  ``test_labels.csv``.

The names say which part an image belongs to; nothing says who is shown.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fersweep.data import accounting, files, images
from fersweep.data.samples import CLASSES, TEST, TRAINING, canonical
from fersweep.data.sources.base import ImageFile, as_records
from fersweep.data.sources.listed import Listed, lines
from fersweep.errors import UserError
from fersweep.text import counted, did_you_mean

CODES = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""The class of each number, from 1."""
COUNTS = {TRAINING: (705, 717, 281, 4772, 2524, 1982, 1290), TEST: (162, 160, 74, 1185, 680, 478, 329)}
"""Images per usage and canonical class of a complete copy."""
ALIGNED, ORIGINAL, BOXED = KINDS = ("aligned", "original", "boxed")

_NAME = re.compile(r"(?:.*/)?(?P<id>(?P<part>train|test)_\d+)(?P<aligned>_aligned)?\.(jpe?g|png)", re.IGNORECASE)
_USAGE = {"train": TRAINING, "test": TEST}


@dataclass
class RafDb(Listed):
    """RAF-DB's basic emotions as `Samples`, with usages Training and Test.

    Args:
        root, image_size, channels: as in `ImageFiles`.
        pictures: the ones to read: ``aligned`` faces, ``original`` ones, or ``boxed``, which are the original ones
            cut to the box of ``Annotation/boundingbox/train_00001_boundingbox.txt``.
    """

    name = "rafdb"
    layouts = (
        "RAF-DB's folder basic/, with EmoLabel/list_patition_label.txt and Image/aligned/ or Image/original/ (or their "
        "archives), or Kaggle's DATASET/train/1/ to 7/ and DATASET/test/1/ to 7/"
    )
    marks = r"(.*/)?((train|test)_\d+_aligned\.[a-z]+|list_patition_label\.txt)"
    lists = ("list_patition_label.txt", "train_labels.csv", "test_labels.csv")
    list_folders = ("emolabel",)

    pictures: str = ALIGNED

    def __post_init__(self) -> None:
        if self.pictures not in KINDS:
            raise UserError(
                f"dataset.source.pictures={self.pictures} does not exist{did_you_mean(str(self.pictures), KINDS)}: "
                f"choose {', '.join(KINDS)}"
            )

    def recognise(self, path: Path) -> bool:
        if super().recognise(path):
            return True
        if path.is_dir():
            parts = files.subfolders(path)
            return any(_has_classes(parts[part]) for part in _USAGE if part in parts)
        return files.is_archive(path) and any(map(_by_folder, files.open_tree(path).images()))

    def shows(self, name: str) -> bool:
        match = _NAME.fullmatch(name)
        return match is not None and (match["aligned"] is not None) == (self.pictures == ALIGNED)

    def reads(self, name: str) -> bool:
        return super().reads(name) or (self.pictures == BOXED and name.lower().endswith(_BOX))

    def options(self, tree: files.Tree) -> dict[str, object]:
        return {**super().options(tree), "pictures": self.pictures}

    def records(self) -> images.Records:
        """Return the images before decoding; a listed one whose picture is missing is a fault.

        Raises:
            UserError: a list is damaged or contradicts the folders, or there is no picture of the chosen kind.
        """
        tree = self.tree()
        labels = self._labels(tree)
        boxes = {files.basename(name).lower(): name for name in tree.stamps if name.lower().endswith(_BOX)}
        rows, shown = [], set()
        for match in _matches(filter(self.shows, tree.images())):
            key = match["id"].lower()
            if key in labels:
                box = _box(tree, boxes, key) if self.pictures == BOXED else None
                usage, label = _USAGE[key.partition("_")[0]], CLASSES.index(labels[key])
                rows.append(ImageFile(files.basename(match.string), match.string, label, usage, box=box))
                shown.add(key)
        if not rows:
            raise self._no_pictures(tree)
        missing = sorted(labels.keys() - shown)
        faults = tuple((key, f"it is listed, but its {self._kind} picture is missing") for key in missing)
        return replace(as_records(tree, CLASSES, rows), faults=faults)

    @property
    def _kind(self) -> str:
        return ALIGNED if self.pictures == ALIGNED else ORIGINAL

    def _labels(self, tree: files.Tree) -> dict[str, str]:
        """Return the class of each image, by its name without suffixes: from the lists, else from the folders."""
        lists = {name: list(_listed(tree, name)) for name in filter(self.is_list, tree.stamps)}
        listed = [(name, *each) for name, rows in lists.items() for each in rows]
        by_folder = [(name, *each) for name in tree.images() if (each := _by_folder(name))]
        if not by_folder and (empty := [name for name, rows in lists.items() if not rows]):
            raise UserError(
                f"{tree.path / empty[0]} has no row such as train_00001.jpg 5: copy or download the list again"
            )
        known: dict[str, tuple[str, str]] = {}
        for where, key, label in (*listed, *by_folder):
            before, first = known.setdefault(key, (label, where))
            if before != label:
                raise UserError(f"{tree.path} calls {key} {before} in {first} and {label} in {where}: copy it again")
        return {key: known[key][0] for _, key, _ in listed or by_folder}

    def _no_pictures(self, tree: files.Tree) -> UserError:
        known = [name for name in tree.images() if _NAME.fullmatch(name)]
        if own := [name for name in known if self.shows(name)]:
            return UserError(
                f"{tree.path} has {counted(len(own), f'{self._kind} picture')}, such as {own[0]}, but the lists name "
                "none: copy the lists and the pictures of one copy of RAF-DB"
            )
        kind, example = (
            (ALIGNED, "train_00001_aligned.jpg") if self.pictures == ALIGNED else (ORIGINAL, "train_00001.jpg")
        )
        if known and self.pictures == ALIGNED:
            instead = f"it has {counted(len(known), 'original picture')}: set dataset.source.pictures=original, or "
        elif known:
            instead = f"it has {counted(len(known), 'aligned picture')}: set dataset.source.pictures=aligned, or "
        else:
            instead = "it has labels alone: "
        return UserError(
            f"{tree.path} has no {kind} picture of RAF-DB, named like {example}; {instead}put Image/{kind}/ or "
            f"{kind}.zip into it"
        )

    def reasons(self) -> Callable[[str], accounting.Reason]:
        """Return a function of an image: pictures of the kind that is not chosen are not missing."""
        by_folder = super().reasons()

        def reason(name: str) -> accounting.Reason:
            if not _NAME.fullmatch(name):
                return by_folder(name)
            return ("not in the lists", "", True) if self.shows(name) else _OTHER

        return reason

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        assert records.usage is not None
        found = Counter(zip(records.usage.tolist(), records.labels.tolist(), strict=True))
        rows = []
        for usage, counts in COUNTS.items():
            rows.append((f"{usage} images", sum(found[usage, k] for k in range(len(CLASSES))), sum(counts)))
            rows += [(f"{usage} {name}", found[usage, k], counts[k]) for k, name in enumerate(CLASSES)]
        return rows


_BOX = "_boundingbox.txt"
_OTHER = ("of the other kind", "by dataset.source.pictures", False)


def _matches(names: Iterable[str]) -> Iterator[re.Match[str]]:
    return filter(None, map(_NAME.fullmatch, names))


def _has_classes(folder: Path) -> bool:
    """Return whether pictures of RAF-DB lie in class folders of the folder of a part."""
    places = files.subfolders(folder).values()
    return any(_by_folder(f"{place.name}/{path.name}") for place in places for path in files.visible(place))


def _by_folder(name: str) -> tuple[str, str] | None:
    """Return the name without suffixes and the class of a picture in a class folder, ``None`` for any other image."""
    match = _NAME.fullmatch(name)
    folder = files.basename(name.rpartition("/")[0])
    label = CODES[int(folder) - 1] if re.fullmatch("[1-7]", folder) else canonical(folder)
    return (match["id"].lower(), label) if match and label in CLASSES else None


def _listed(tree: files.Tree, name: str) -> Iterator[tuple[str, str]]:
    """Yield the name without suffixes and the class of each line of a list.

    Raises:
        UserError: a line is none of RAF-DB's.
    """
    for number, line in lines(tree, name):
        cells = re.findall(r'[^\s,;"]+', line)
        match = next(filter(None, map(_NAME.fullmatch, cells)), None)
        if match and re.fullmatch("[1-7]", cells[-1]):
            yield match["id"].lower(), CODES[int(cells[-1]) - 1]
        elif number > 1 or match:
            raise UserError(
                f"{tree.path / name} line {number} is {line[:40]!r}, and must be a name and a number of 1 to 7, as in "
                "train_00001.jpg 5"
            )


def _box(tree: files.Tree, names: dict[str, str], key: str) -> images.Box:
    """Return the box that RAF-DB gives an original picture.

    Raises:
        UserError: its file is missing or damaged.
    """
    name = names.get(f"{key}{_BOX}")
    if name is None:
        raise UserError(
            f"{tree.path} has no {key}{_BOX}: put Annotation/boundingbox/ into it, or set "
            "dataset.source.pictures=original"
        )
    text = " ".join(line for _, line in lines(tree, name))
    try:
        left, top, right, bottom = box = tuple(map(float, text.split()))
        if not all(map(math.isfinite, box)):
            raise ValueError(text)
    except ValueError as error:
        raise UserError(
            f"{tree.path / name} holds {text[:40]!r}, and must hold left, top, right and bottom, all finite"
        ) from error
    return left, top, right, bottom
