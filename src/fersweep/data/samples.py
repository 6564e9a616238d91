"""What every dataset source yields and every split works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The canonical classes in their canonical order; ``contempt`` comes last where a source is asked for it."""

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

TRAINING, PUBLIC, PRIVATE = "Training", "PublicTest", "PrivateTest"
"""Values of `Samples.usage`, in FER2013's own words."""

TEST = "Test"
"""The usage of a test part where a source does not tell FER2013's two apart."""


@dataclass(frozen=True)
class Samples:
    """A labelled set of images, all of one size, decoded.

    Attributes:
        images: uint8, ``(N, H, W)`` for grey or ``(N, H, W, 3)`` for RGB; may be a read-only memory map.
        labels: int64, ``(N,)``; an index into ``class_names``.
        ids: str, ``(N,)``; unique and stable: the image's path inside its source, with forward slashes.
        class_names: the names of the classes, in canonical order.
        subjects: str, ``(N,)``, who is shown; ``None`` where the source does not know.
        usage: str, ``(N,)``, one of ``Training``, ``PublicTest``, ``PrivateTest``, or ``Test`` where a source has a
            test part but not FER2013's two; ``None`` where the source has no parts of its own.
        sequences: str, ``(N,)``, of which sequence of frames an image is; ``None`` where images stand alone.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.str_]
    class_names: tuple[str, ...]
    subjects: npt.NDArray[np.str_] | None = None
    usage: npt.NDArray[np.str_] | None = None
    sequences: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def canonical(name: str) -> str:
    """Return the canonical class for the name of a class folder (``Anger`` -> ``angry``), or the name itself."""
    word = name.strip().lower()
    return word if word in (*CLASSES, CONTEMPT) else _SYNONYMS.get(word, name)
