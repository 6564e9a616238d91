"""CK+ (Lucey et al., 2010): 593 sequences of 123 people from a neutral face to the peak of an expression.

Two layouts, in a folder or at any depth of a zip archive:

- the original: ``cohn-kanade-images/S005/001/S005_001_00000011.png`` and, for 327 sequences,
  ``Emotion/S005/001/S005_001_00000011_emotion.txt`` holding the number of the emotion at the peak;
- ``CK+48``: the last three frames of those 327, cropped to 48×48, in class folders. It has no neutral face.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fersweep.data import files, images
from fersweep.data.samples import CLASSES, CONTEMPT, canonical
from fersweep.data.sources.base import ImageFiles
from fersweep.errors import UserError

CODES = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
"""The class that each number in an emotion file stands for."""
LAYOUTS = "CK+ as cohn-kanade-images/ and Emotion/ beside each other, or as CK+48's class folders"
LABELLED = {"angry": 45, "contempt": 18, "disgust": 59, "fear": 25, "happy": 69, "sad": 28, "surprise": 83}
"""Labelled sequences per class of a complete copy."""

_FRAME = re.compile(r"(?P<subject>S\d+)_(?P<take>\d+)_(?P<number>\d+)\.(png|jpe?g|tiff?)", re.IGNORECASE)
_EMOTION = re.compile(r"(?P<subject>S\d+)_(?P<take>\d+)_\d+_emotion\.txt", re.IGNORECASE)
_IMAGES, _EMOTIONS = "cohn-kanade-images", "emotion"

Key = tuple[str, str]
"""Subject and take: what names a sequence."""


@dataclass(frozen=True)
class Sequences:
    """What a copy of CK+ holds: the frames of each sequence in order, and the class of the labelled ones."""

    tree: files.Tree
    cropped: bool
    frames: Mapping[Key, list[str]]
    labels: Mapping[Key, str]


class CkPlus(ImageFiles):
    """CK+ as `Samples`, with subjects and sequences.

    Args:
        root: the folder with ``cohn-kanade-images`` and ``Emotion``, CK+48's folder, an archive of one of them, or any
            folder above it.
        image_size: pixels a side of the decoded images.
        channels: 1 for grey, 3 for RGB.
        peak_frames: how many frames at the end of each labelled sequence are its emotion; by default 1 of the original
            and all three of CK+48.
        neutral: take the first frame of every sequence, labelled or not, as neutral; by default where that is possible,
            which it is not for CK+48.
        contempt: keep contempt, as the last class, instead of leaving it out.
    """

    name = "ckplus"

    def __init__(
        self,
        root: str | Path | None = None,
        image_size: int = 48,
        channels: int = 1,
        peak_frames: int | None = None,
        neutral: bool | None = None,
        contempt: bool = False,
    ) -> None:
        if peak_frames is not None and peak_frames < 1:
            raise UserError(f"dataset.source.peak_frames={peak_frames} is impossible: choose 1 or more, such as 1 or 3")
        super().__init__(root, image_size, channels)
        self.peak_frames = peak_frames
        self.neutral = neutral
        self.contempt = contempt

    def locate(self) -> Path:
        """Return the folder or archive.

        Raises:
            UserError: it is missing, not CK+, or there several times.
        """
        return files.locate(self.root, self.name, LAYOUTS, _recognise)

    def fingerprint(self) -> str:
        """Return a digest of the file names, sizes and checksums (or times), the options, and the decoded form."""
        tree = self._open()
        options: dict[str, object] = {"size": self.image_size, "channels": self.channels}
        options |= {"sequences": True}  # folders that were decoded before these were kept do not have them
        options |= {"peak_frames": self.peak_frames, "neutral": self.neutral, "contempt": self.contempt}
        names = [name for name in tree.stamps if files.is_image(name) or _EMOTION.fullmatch(_file(name))]
        return files.fingerprint(tree.stamps, names, options)

    def records(self) -> images.Records:
        """Return the chosen frames before decoding, sorted by name.

        Raises:
            UserError: an emotion file is wrong, a sequence is too short, or CK+48 is asked for neutral faces.
        """
        held = _read(self._open())
        last = self.peak_frames or (3 if held.cropped else 1)
        neutral = not held.cropped if self.neutral is None else self.neutral
        if held.cropped and neutral:
            raise UserError(f"{held.tree.path} is CK+48, which has no neutral faces: leave dataset.source.neutral out")
        rows = [
            (name, label, key)
            for key, label in held.labels.items()
            if label != CONTEMPT or self.contempt
            for name in _tail(held.frames[key], last, key, spare=int(neutral))
        ]
        if neutral:
            rows += [(frames[0], "neutral", key) for key, frames in held.frames.items()]
        rows.sort()
        names, labels, keys = zip(*rows, strict=True)
        class_names = tuple(
            name
            for name in (*CLASSES, CONTEMPT)
            if (name != "neutral" or neutral) and (name != CONTEMPT or self.contempt)
        )
        return images.Records(
            ids=np.array([_id(name) for name in names]),
            labels=np.array([class_names.index(label) for label in labels], np.int64),
            class_names=class_names,
            read=images.reader(held.tree, names),
            subjects=np.array([subject for subject, _ in keys]),
            sequences=np.array(["_".join(key) for key in keys]),
        )

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        """Return ``(what, found, expected)`` for the counts a complete copy has, whatever frames are chosen of it."""
        held = _read(self._open())
        counts = Counter(held.labels.values())
        rows = [
            ("labelled sequences", len(held.labels), sum(LABELLED.values())),
            ("labelled subjects", len({subject for subject, _ in held.labels}), 118),
        ]
        if not held.cropped:
            rows.append(("sequences", len(held.frames), 593))
            rows.append(("subjects", len({subject for subject, _ in held.frames}), 123))
        else:
            rows.append(("images", sum(len(frames) for frames in held.frames.values()), 981))
        return rows + [(f"labelled {name}", counts[name], expected) for name, expected in LABELLED.items()]

    def _open(self) -> files.Tree:
        path = self.locate()
        original = path.is_dir() and _IMAGES in files.subfolders(path)
        return files.open_tree(path, only=(_IMAGES, _EMOTIONS) if original else _class_folders(path))


def _recognise(path: Path) -> bool:
    if path.is_dir():
        if {_IMAGES, _EMOTIONS} <= files.subfolders(path).keys():
            return True
        folders = [folder for name, folder in files.subfolders(path).items() if name in _class_folders(path)]
        return len(folders) > 1 and any(files.has_file(folder, _is_frame) for folder in folders)
    if path.suffix.lower() != ".zip":
        return False
    tree = files.open_tree(path)
    return any(_is_frame(_file(name)) and (_in(name, _IMAGES) or _label_of(name) in LABELLED) for name in tree.images())


def _class_folders(path: Path) -> list[str]:
    """Return the lower-case names of the folders in ``path`` that are named after a class of CK+48."""
    return [name for name in files.subfolders(path) if canonical(name) in LABELLED] if path.is_dir() else []


def _is_frame(file: str) -> bool:
    return _FRAME.fullmatch(file) is not None


def _file(name: str) -> str:
    return name.rpartition("/")[2]


def _in(name: str, folder: str) -> bool:
    return folder in name.lower().split("/")[:-1]


def _label_of(name: str) -> str:
    """Return the class that the folder of a CK+48 image stands for."""
    parts = name.split("/")
    return canonical(parts[-2]) if len(parts) > 1 else ""


def _read(tree: files.Tree) -> Sequences:
    """Sort out the frames and labels.

    Raises:
        UserError: an emotion file is wrong, or a sequence has several labels, or a label but no frames.
    """
    original = any(_in(name, _IMAGES) for name in tree.images())
    numbered: dict[Key, list[tuple[int, str]]] = defaultdict(list)
    labels: dict[Key, str] = {}
    for name in tree.images():
        match = _FRAME.fullmatch(_file(name))
        if match is None or (not _in(name, _IMAGES) if original else _label_of(name) not in LABELLED):
            continue
        key = (match["subject"].upper(), match["take"])
        numbered[key].append((int(match["number"]), name))
        if not original:
            _set_label(labels, key, _label_of(name), tree.path / name)
    if original:
        for name in tree.stamps:
            match = _EMOTION.fullmatch(_file(name))
            if match is not None:
                key = (match["subject"].upper(), match["take"])
                if key not in numbered:
                    raise UserError(f"{tree.path / name} labels a sequence that has no frames in {_IMAGES}: add them")
                _set_label(labels, key, _emotion(tree, name), tree.path / name)
        if not labels:
            raise UserError(f"{tree.path} has {_IMAGES} but no label in Emotion/: add the *_emotion.txt files")
    frames = {key: [name for _, name in sorted(numbered[key])] for key in sorted(numbered)}
    return Sequences(tree, not original, frames, labels)


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
    """Return ``name`` without the folders above the layout's own, so that ids do not depend on where the data lie."""
    parts = name.split("/")
    lower = [part.lower() for part in parts]
    return "/".join(parts[lower.index(_IMAGES) if _IMAGES in lower else -2 :])
