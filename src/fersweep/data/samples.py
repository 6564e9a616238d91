"""Samples: the decoded, labelled images that sources yield and splits divide."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fersweep.errors import UserError

Indices = npt.NDArray[np.int64]

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The canonical classes in their canonical order; ``contempt`` comes last, if requested."""

CONTEMPT = "contempt"

_SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "neutrality": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
    "contemptuous": "contempt",
}

TRAINING, PUBLIC, PRIVATE = "Training", "PublicTest", "PrivateTest"  # values of `Samples.usage`, in FER2013's own words
OBJECTIVES = ("cross_entropy", "probability", "multi_target")
"""Uses of `Samples.targets` in the training loss, see `fersweep.training.targets.SoftTargets`."""

TEST = "Test"  # usage of a test part in a source that does not distinguish FER2013's two


COLUMNS_OF_IMAGES = ("labels", "ids", "subjects", "usage", "sequences", "targets")
"""Fields of `Samples` with one value or row per image, besides the images."""


@dataclass(frozen=True)
class Samples:
    """A labelled set of images, all of one size, decoded.

    Attributes:
        images: uint8, ``(N, H, W)`` for grey or ``(N, H, W, 3)`` for RGB; may be a read-only memory map.
        labels: int64, ``(N,)``; an index into ``class_names``.
        ids: str, ``(N,)``; unique and stable: the image's path inside its source, with forward slashes.
        class_names: the names of the classes, in canonical order.
        subjects: str, ``(N,)``, the person shown; ``None`` if unknown.
        usage: str, ``(N,)``, one of ``Training``, ``PublicTest``, ``PrivateTest``, or ``Test`` in a source with a test
            part but not FER2013's two; ``None`` in a source without predefined parts.
        sequences: str, ``(N,)``, the sequence of frames that an image belongs to; ``None`` for single images.
        targets: float32, ``(N, K)``, what is learnt instead of the labels: a distribution over the classes, or with the
            objective ``multi_target`` 1 for each acceptable class and 0 for the others; ``None``: the labels.
        objective: one of `OBJECTIVES`: how the targets are learnt.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.str_]
    class_names: tuple[str, ...]
    subjects: npt.NDArray[np.str_] | None = None
    usage: npt.NDArray[np.str_] | None = None
    sequences: npt.NDArray[np.str_] | None = None
    targets: npt.NDArray[np.float32] | None = None
    objective: str = OBJECTIVES[0]

    def __len__(self) -> int:
        return len(self.labels)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of one value or row per image, besides the images, by name; ``None`` ones left out."""
        arrays = {name: getattr(self, name) for name in COLUMNS_OF_IMAGES}
        return {name: array for name, array in arrays.items() if array is not None}


COLUMNS = ("id", "label", "predicted", "subject", "twin")
"""Columns of ``predictions.parquet`` beside those of the classes."""


def check_names(samples: Samples, dataset: str) -> None:
    """Raise UserError for `impossible_name`."""
    if problem := impossible_name(samples.class_names, samples.ids):
        raise UserError(f"dataset={dataset} has {problem}")


def impossible_name(class_names: Iterable[str], ids: npt.NDArray[np.str_]) -> str | None:
    """Return a name that the files of a run cannot hold in words, with what to do; ``None`` if all are possible.

    A class must not be named as one of `COLUMNS`, and names of classes and images must be valid Unicode.
    """
    if taken := [name for name in class_names if name in COLUMNS]:
        return f"a class named {taken[0]}, which is a column of predictions.parquet: rename the folder of this class."
    for name in (*class_names, *map(str, ids)):
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode(errors="backslashreplace")
            return f"a name that is not UTF-8, {shown}: rename this file or folder (convmv renames all at once)."
    return None


def canonical(name: str) -> str:
    """Return the canonical class for the name of a class folder (``Anger`` -> ``angry``), or the name itself."""
    word = name.strip().lower()
    return word if word in (*CLASSES, CONTEMPT) else _SYNONYMS.get(word, name)


class Source(Protocol):
    """Anything that yields samples, and that the cache can identify."""

    @property
    def name(self) -> str:
        """Return the name of the dataset."""

    def fingerprint(self) -> str:
        """Return a digest of everything that `load` depends on."""

    def load(self) -> Samples:
        """Decode everything."""
