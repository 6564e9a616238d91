"""CK+ (Lucey et al., 2010): 593 sequences of 123 people from a neutral face to the peak of an expression.

Two layouts, in a folder or at any depth of a zip archive:

- the original: ``cohn-kanade-images/S005/001/S005_001_00000011.png`` and, for 327 sequences,
  ``Emotion/S005/001/S005_001_00000011_emotion.txt`` holding the number of the emotion at the peak. They are given out
  as two archives, ``extended-cohn-kanade-images.zip`` and ``Emotion_labels.zip``, which are read as they are, beside
  each other, or unpacked, each into its own folder;
- ``CK+48``: the last three frames of those 327, cropped to 48×48, in class folders, also in those of ``train`` and
  ``test``, which are read as one. It has no neutral faces;
- ``ckextended.csv``, where there is nothing else (`ckextended`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from fersweep.data import accounting, files, images
from fersweep.data.samples import CLASSES, CONTEMPT, canonical
from fersweep.data.sources import ckextended
from fersweep.data.sources.base import ImageFile, as_records
from fersweep.data.sources.joined import JoinedFiles
from fersweep.errors import UserError

CODES = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
"""The class of each number in an emotion file."""
LABELLED = {"angry": 45, "contempt": 18, "disgust": 59, "fear": 25, "happy": 69, "sad": 28, "surprise": 83}
"""Labelled sequences per class of a complete copy."""

_FRAME = re.compile(r"(?P<subject>S\d+)_(?P<take>\d+)_(?P<number>\d+)\.(png|jpe?g|tiff?)", re.IGNORECASE)
_EMOTION = re.compile(r"(?P<subject>S\d+)_(?P<take>\d+)_\d+_emotion\.txt", re.IGNORECASE)
_IMAGES, _EMOTIONS = "cohn-kanade-images", "emotion"

Key = tuple[str, str]
"""Subject and take, which identify a sequence."""


@dataclass
class CkPlus(JoinedFiles):
    """CK+ as `Samples`, with subjects and sequences.

    Args:
        root, image_size, channels: as in `ImageFiles`.
        peak_frames: number of frames at the end of each labelled sequence that show its emotion; by default 1 of the
            original and all three of CK+48.
        neutral: take the first frame of every sequence, labelled or not, as neutral; by default true for the original,
            and impossible for CK+48.
        contempt: keep contempt, as the last class, instead of leaving it out.
    """

    name = "ckplus"
    layouts = (
        "CK+ as cohn-kanade-images/ and Emotion/ beside each other, as extended-cohn-kanade-images.zip and "
        f"Emotion_labels.zip, as CK+48's class folders, or as {ckextended.TABLE}"
    )

    marks = r"(.*/)?(s\d+_\d+_\d{8}\.[a-z]+|s\d+_\d+_\d+_emotion\.txt|ckextended\.csv)"

    peak_frames: int | None = None
    neutral: bool | None = None
    contempt: bool = False

    def __post_init__(self) -> None:
        if self.peak_frames is not None and self.peak_frames < 1:
            raise UserError(f"dataset.source.peak_frames={self.peak_frames} is impossible: choose 1 or more, as 1 or 3")

    def recognise(self, path: Path) -> bool:
        if path.is_dir():
            folders = files.subfolders(path)
            if {_IMAGES, _EMOTIONS} <= folders.keys():
                return True
            of_classes = [folders[name] for name in _class_folders(folders)]
            return len(of_classes) > 1 and any(files.has_file(folder, _is_frame) for folder in of_classes)
        if not files.is_archive(path):
            return False
        names = files.open_tree(path).stamps
        original = any(map(_is_original, names))
        return any(map(_is_emotion if original else _is_cropped, names))

    def partial(self, path: Path) -> bool:
        """Return whether a folder or archive has the images or the labels of the original, or a file is the table."""
        if ckextended.is_table(path.name):
            return True
        if not path.is_dir():
            return files.is_archive(path) and any(
                _is_original(name) or _is_emotion(name) or ckextended.is_table(name)
                for name in files.open_tree(path).stamps
            )
        folders = files.subfolders(path)
        labels = files.open_tree(folders[_EMOTIONS]).stamps if _EMOTIONS in folders else ()
        return _IMAGES in folders or any(map(_is_emotion, labels))

    def places(self) -> list[Path]:
        found = super().places()
        if len(found) > 1 and any(self._table(self.opened(place)) for place in found):
            raise files.several(self.root, self.name, found)
        return found

    def _table(self, tree: files.Tree) -> str:
        """Return the name of the table, empty where there are frames or labels."""
        return "" if any(map(self.key, tree.stamps)) else ckextended.find(tree.stamps)

    def fingerprint(self) -> str:
        if table := self._table(tree := self.tree()):
            return files.fingerprint(tree.stamps, [table], self.options(tree))
        return super().fingerprint()

    def key(self, name: str) -> str:
        own = _is_original(name) or _is_emotion(name) or _is_cropped(name)
        return files.basename(name).rpartition(".")[0].upper() if own else ""

    def opened(self, place: Path) -> files.Tree:
        folders = files.subfolders(place) if place.is_dir() else {}
        original = {_IMAGES, _EMOTIONS} & folders.keys()
        return files.open_tree(place, only=(_IMAGES, _EMOTIONS) if original else _class_folders(folders))

    def reads(self, name: str) -> bool:
        return files.is_image(name) or _is_emotion(name)

    def options(self, tree: files.Tree) -> dict[str, object]:
        own = {"peak_frames": self.peak_frames, "neutral": self.neutral, "contempt": self.contempt}
        return {**super().options(tree), **own, "sequences": True}  # older caches lack sequences

    def records(self) -> images.Records:
        """Return the chosen frames before decoding, sorted by name.

        Raises:
            UserError: an emotion file is invalid, a sequence is too short, or neutral faces of CK+48 are requested.
        """
        if table := self._table(tree := self.tree()):
            return self._of_table(tree, table)
        cropped, frames, labels = _sequences(tree)
        last = self.peak_frames or (3 if cropped else 1)
        neutral = not cropped if self.neutral is None else self.neutral
        if cropped and neutral:
            raise UserError(f"{tree.path} is CK+48, which has no neutral faces: leave dataset.source.neutral out")
        chosen = [
            (name, label, key)
            for key, label in labels.items()
            if label != CONTEMPT or self.contempt
            for name in _tail(frames[key], last, key, spare=int(neutral))
        ]
        if neutral:
            chosen += [(names[0], "neutral", key) for key, names in frames.items()]
        class_names = self._classes(neutral)
        rows = (
            ImageFile(_id(name), name, class_names.index(label), subject=key[0], sequence="_".join(key))
            for name, label, key in chosen
        )
        return as_records(tree, class_names, rows)

    def _classes(self, neutral: bool) -> tuple[str, ...]:
        kept = {"neutral": neutral, CONTEMPT: self.contempt}
        return tuple(name for name in (*CLASSES, CONTEMPT) if kept.get(name, True))

    def _of_table(self, tree: files.Tree, table: str) -> images.Records:
        ckextended.refuse_idle(tree.path / table, peak_frames=self.peak_frames, neutral=self.neutral or None)
        return ckextended.records(tree, table, self._classes(self.neutral is not False))

    def read_names(self) -> Collection[str] | None:
        table = self._table(self.tree())
        return (table,) if table else super().read_names()

    def reasons(self) -> Callable[[str], accounting.Reason]:
        """Return a function of an image: frames of the dataset that are not chosen are not missing."""
        by_folder = super().reasons()
        if self._table(tree := self.tree()):
            return by_folder
        _, frames, _ = _sequences(tree)
        known = {name for names in frames.values() for name in names}
        chosen = ("of its sequences", "by dataset.source.peak_frames, neutral and contempt", False)
        return lambda name: chosen if name in known else by_folder(name)

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        """Return ``(what, found, expected)`` for the counts of a complete copy, whichever frames are chosen."""
        if table := self._table(tree := self.tree()):
            return ckextended.checks(tree, table, LABELLED)
        cropped, frames, labels = _sequences(tree)
        counts = Counter(labels.values())
        rows = [
            ("labelled sequences", len(labels), sum(LABELLED.values())),
            ("labelled subjects", len({subject for subject, _ in labels}), 118),
        ]
        if cropped:
            rows += [("images", sum(map(len, frames.values())), 981)]
        else:
            rows += [("sequences", len(frames), 593), ("subjects", len({subject for subject, _ in frames}), 123)]
        return rows + [(f"labelled {name}", counts[name], expected) for name, expected in LABELLED.items()]


def _class_folders(names: Collection[str]) -> list[str]:
    """Return those of the lower-case folder names that stand for a class of CK+48."""
    return [name for name in names if canonical(name) in LABELLED]


def _is_frame(name: str) -> bool:
    return _FRAME.fullmatch(files.basename(name)) is not None


def _is_original(name: str) -> bool:
    return _in(name, _IMAGES) and _is_frame(name)


def _is_cropped(name: str) -> bool:
    return _is_frame(name) and _label_of(name) in LABELLED


def _is_emotion(name: str) -> bool:
    return _EMOTION.fullmatch(files.basename(name)) is not None


def _in(name: str, folder: str) -> bool:
    return folder in name.lower().split("/")[:-1]


def _label_of(name: str) -> str:
    """Return the class of a CK+48 image, by its folder."""
    return canonical(files.basename(name.rpartition("/")[0]))


def _sequences(tree: files.Tree) -> tuple[bool, dict[Key, list[str]], dict[Key, str]]:
    """Return whether this is CK+48, the frames of each sequence in order, and the classes of the labelled sequences.

    Raises:
        UserError: an emotion file is invalid, or a sequence has several labels, or a label but no frames.
    """
    original = any(_in(name, _IMAGES) for name in tree.images()) or not any(map(_is_cropped, tree.images()))
    numbered: dict[Key, list[tuple[int, str]]] = defaultdict(list)
    labels: dict[Key, str] = {}
    for name in tree.images():
        match = _FRAME.fullmatch(files.basename(name))
        if match is None or (not _in(name, _IMAGES) if original else _label_of(name) not in LABELLED):
            continue
        key = (match["subject"].upper(), match["take"])
        numbered[key].append((int(match["number"]), name))
        if not original:
            _set_label(labels, key, _label_of(name), tree.path / name)
    if original:
        for name in tree.stamps:
            match = _EMOTION.fullmatch(files.basename(name))
            if match is not None:
                key = (match["subject"].upper(), match["take"])
                if not numbered:
                    raise UserError(
                        f"{tree.path} has the labels of CK+ but no image: put extended-cohn-kanade-images.zip, or its "
                        f"folder {_IMAGES}/, beside it, and set dataset.root to the folder that holds both"
                    )
                if key not in numbered:
                    raise UserError(f"{tree.path / name} labels a sequence that has no frames in {_IMAGES}: add them")
                _set_label(labels, key, _emotion(tree, name), tree.path / name)
        if not labels:
            raise UserError(
                f"{tree.path} has {_IMAGES} but no label in Emotion/: put Emotion_labels.zip, or its folder Emotion/, "
                "beside it, and set dataset.root to the folder that holds both"
            )
    frames = {key: [name for _, name in sorted(numbered[key])] for key in sorted(numbered)}
    return not original, frames, labels


def _set_label(labels: dict[Key, str], key: Key, label: str, where: Path) -> None:
    if labels.setdefault(key, label) != label:
        raise UserError(f"{where} says {label}, but another file calls the sequence {'_'.join(key)} {labels[key]}")


def _emotion(tree: files.Tree, name: str) -> str:
    """Return the class named by an emotion file, which holds a number such as ``   3.0000000e+00``."""
    try:
        text = tree.read(name).decode("ascii", errors="replace").strip()
    except OSError as error:
        raise UserError(f"cannot read {tree.path / name}: {error.strerror or error}") from error
    try:
        code = float(text)
    except ValueError:
        code = -1.0
    if code not in range(len(CODES)):
        raise UserError(f"{tree.path / name} holds {text[:40]!r}, and must hold a number of 0 to {len(CODES) - 1}")
    return CODES[int(code)]


def _tail(frames: list[str], last: int, key: Key, spare: int) -> list[str]:
    """Return the ``last`` frames of a sequence that has ``spare`` more."""
    if len(frames) < last + spare:
        beside = " and a neutral one" * spare
        raise UserError(
            f"the sequence {'_'.join(key)} has only {len(frames)} frames, not {last} at the peak{beside}: "
            "complete it, or choose a smaller dataset.source.peak_frames"
        )
    return frames[-last:]


def _id(name: str) -> str:
    """Return ``name`` without the folders above the layout's own, so that ids do not depend on their place."""
    parts = name.split("/")
    lower = [part.lower() for part in parts]
    return "/".join(parts[lower.index(_IMAGES) if _IMAGES in lower else -2 :])
