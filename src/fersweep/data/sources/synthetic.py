"""Synthetic faces: seven emotions drawn from their facial action units, so that everything runs offline."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Samples
from fersweep.data.synthetic.drawing import DRAWING_VERSION, draw_face
from fersweep.data.synthetic.parameters import Appearance, Identity, sample_expression
from fersweep.errors import UserError

_IMAGE, _SUBJECT, _ORDER, _ROUND = range(4)  # spawn keys of independent random streams
_USAGE = (TRAINING, PUBLIC, PRIVATE, *[TRAINING] * 7)  # of ten consecutive blocks of one image per class
_SMALLEST = 3 * len(CLASSES)


@dataclass
class Synthetic:
    """Parametric faces, deterministic by seed, with subjects and FER2013's usages.

    Images come in blocks of one subject showing each class once, in random order. Of ten blocks eight are
    ``Training``, one ``PublicTest`` and one ``PrivateTest``; a subject's blocks fall into all of them, as in FER2013.
    Image ``i`` is a function of ``seed``, ``subjects`` and ``i`` alone: a larger ``size`` only adds images.

    Args:
        image_size: side of the images, 16 to 256 pixels.
        channels: 1 (grey) or 3 (RGB).
        size: number of images, at least 21: one of each class in each usage.
        seed: a non-negative integer.
        subjects: number of people, at least 2.
    """

    name: ClassVar = "synthetic"

    image_size: int
    channels: int = 1
    size: int = 3000
    seed: int = 0
    subjects: int = 60

    def __post_init__(self) -> None:
        limits = {"image_size": (16, 256), "size": (_SMALLEST, None), "seed": (0, None), "subjects": (2, 999_999)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < low or (high is not None and value > high):
                allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
                raise UserError(f"dataset=synthetic: {name} must be a whole number {allowed}, not {value}.")
        if self.channels not in (1, 3):
            raise UserError(f"dataset=synthetic: channels must be 1 (grey) or 3 (RGB), not {self.channels}.")

    def fingerprint(self) -> str:
        """Return a hex digest of everything the images depend on, the version of the drawing included."""
        settings = vars(self) | {"drawing": DRAWING_VERSION}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def load(self) -> Samples:
        """Draw all images: uint8 ``(N, H, W)``, or ``(N, H, W, 3)`` for three channels."""
        identities = [Identity(self._rng(_SUBJECT, subject)) for subject in range(self.subjects)]
        shape = (self.size, self.image_size, self.image_size) + ((3,) if self.channels == 3 else ())
        images = np.empty(shape, dtype=np.uint8)
        labels, subjects = self._labels(), self._subjects()
        for index in range(self.size):
            rng = self._rng(_IMAGE, index)
            expression = sample_expression(rng, CLASSES[labels[index]])
            face = draw_face(identities[subjects[index]], expression, Appearance(rng), rng, self.image_size)
            images[index] = face if self.channels == 3 else cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
        usage = np.array(_USAGE)[np.arange(self.size) // len(CLASSES) % len(_USAGE)]
        people = np.array([f"P{subject:03d}" for subject in subjects])
        ids = [f"{u}/{CLASSES[k]}/{p}_{i:06d}" for i, (u, k, p) in enumerate(zip(usage, labels, people, strict=True))]
        return Samples(images, labels, np.array(ids), CLASSES, people, usage)

    def _rng(self, stream: int, index: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(stream, index))))

    def _labels(self) -> npt.NDArray[np.int64]:
        blocks = -(-self.size // len(CLASSES))
        labels = np.concatenate([self._rng(_ORDER, block).permutation(len(CLASSES)) for block in range(blocks)])
        return labels[: self.size].astype(np.int64)

    def _subjects(self) -> npt.NDArray[np.int64]:
        """Return the subject of each image: one per block, and everybody once before anybody twice."""
        blocks = -(-self.size // len(CLASSES))
        rounds = -(-blocks // self.subjects)
        order = np.concatenate([self._rng(_ROUND, number).permutation(self.subjects) for number in range(rounds)])
        return np.repeat(order[:blocks], len(CLASSES))[: self.size].astype(np.int64)


def contact_sheet(samples: Samples, per_class: int = 10) -> npt.NDArray[np.uint8]:
    """Return the first ``per_class`` images of every class, one row per class: uint8 RGB ``(H, W, 3)``."""
    side = samples.images.shape[1]
    scale, margin = side / 150, 4
    label_width = round(side * 0.95)
    height, width = len(samples.class_names) * (side + margin) + margin, label_width + per_class * (side + margin)
    sheet = np.full((height, width, 3), 255, dtype=np.uint8)
    for row, name in enumerate(samples.class_names):
        top = margin + row * (side + margin)
        at = (margin, top + side // 2 + margin)
        cv2.putText(sheet, name, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)
        for column, index in enumerate(np.flatnonzero(samples.labels == row)[:per_class]):
            left = label_width + column * (side + margin)
            sheet[top : top + side, left : left + side] = samples.images[index].reshape(side, side, -1)
    return sheet
