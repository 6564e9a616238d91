"""MTCNN (Zhang et al., 2016, arXiv:1604.02878) as facenet-pytorch has it, weights included."""

from __future__ import annotations

import json
import types
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import cv2
import facenet_pytorch
import numpy as np
import numpy.typing as npt
import torch
from facenet_pytorch.models.utils import detect_face as library

from fersweep.data.images import to_channels
from fersweep.faces import Face, Pixels
from fersweep.faces.device import choose_device

MIN_FACE = 20
"""Pixels of the smallest face that is looked for, after an image has been scaled."""

LONGEST = 1280
"""Pixels of the longer side of an image in which faces are looked for; a larger one is shrunk."""

SHORTEST = 2 * MIN_FACE
"""Pixels of the shorter side likewise; a smaller image is enlarged."""

THRESHOLDS = (0.6, 0.7)
"""Scores above which the first and the second network of the three pass a candidate on."""

CONFIDENCE = 0.9
"""Score of the third above which a candidate is a face, where no other is asked for."""

BATCH_PIXELS = 2_000_000
"""Pixels of all images that are given to the networks at once: more need memory and are no faster on a CPU."""


class Mtcnn:
    """Finds faces and their landmarks in grey and RGB images of any sizes; images of equal size are batched.

    Args:
        confidence: faces above it are found, in [0, 1); ``None``: `CONFIDENCE`.
        device: ``cpu``, ``gpu``, or ``auto``.

    Raises:
        UserError: there is no such device.
    """

    name = "mtcnn"

    def __init__(self, confidence: float | None = None, device: str = "auto") -> None:
        self.confidence = CONFIDENCE if confidence is None else confidence
        self.device = choose_device(device)
        with torch.random.fork_rng(devices=[]):  # a run that looks for faces draws what it draws without
            networks = facenet_pytorch.MTCNN(keep_all=True, select_largest=False, device=self.device)
        self.networks = networks.train(False).requires_grad_(False)

    def fingerprint(self) -> str:
        """Return a digest of everything that `detect` depends on beside the image."""
        settings = [MIN_FACE, LONGEST, SHORTEST, THRESHOLDS, self.confidence]
        return sha256(json.dumps([self.name, version("facenet-pytorch"), *settings]).encode()).hexdigest()

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        """Return the faces of each image, the most confident first."""
        found: list[list[Face]] = [[] for _ in images]
        fitted = [_fitted(image) for image in images]
        for indices in _batches(fitted):
            boxes, points = self._detect(np.stack([to_channels(fitted[index], 3) for index in indices]))
            for index, its, landmarks in zip(indices, boxes, points, strict=True):
                scale = np.divide(images[index].shape[1::-1], fitted[index].shape[1::-1])
                found[index] = _faces(np.array(its, np.float64), np.array(landmarks, np.float64), scale)
        return found

    @torch.inference_mode()
    def _detect(self, batch: Pixels) -> tuple[Sequence[Any], Sequence[Any]]:
        """Boxes with scores ``(n, 5)`` and landmarks ``(n, 5, 2)`` of each image of ``(B, H, W, 3)``."""
        of, thresholds = self.networks, [*THRESHOLDS, self.confidence]
        boxes, points = _detect_face(batch, MIN_FACE, of.pnet, of.rnet, of.onet, thresholds, of.factor, self.device)
        return boxes, points


def _fitted(image: Pixels) -> Pixels:
    """The image in the size in which faces are looked for: averaged where it shrinks, bilinear where it grows."""
    height, width = image.shape[:2]
    scale = min(max(1.0, SHORTEST / min(height, width)), LONGEST / max(height, width))
    if scale == 1.0:
        return image
    size = tuple(max(round(side * scale), SHORTEST) for side in (width, height))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)


def _batches(images: Sequence[Pixels]) -> Iterator[list[int]]:
    """Indices of images of equal size, `BATCH_PIXELS` or one image at a time."""
    alike: Mapping[tuple[int, ...], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        alike[image.shape[:2]].append(index)
    for (height, width), indices in alike.items():
        count = max(BATCH_PIXELS // (height * width), 1)
        yield from (indices[start : start + count] for start in range(0, len(indices), count))


def _faces(
    boxes: npt.NDArray[np.float64], landmarks: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]
) -> list[Face]:
    """Faces of boxes with scores ``(n, 5)`` and landmarks ``(n, 5, 2)``, x and y times ``scale``."""
    boxes = boxes * (*scale, *scale, 1.0)
    faces = [
        Face((left, top, right, bottom), min(score, 1.0), points * scale)
        for (left, top, right, bottom, score), points in zip(boxes.tolist(), landmarks, strict=True)
    ]
    return sorted(faces, key=lambda face: -face.confidence)


def _pad(boxes: torch.Tensor, width: int, height: int) -> tuple[npt.NDArray[np.int32], ...]:
    """As the library's: the rows and columns of boxes inside the image, counted from 1; here at least one of each.

    The library leaves a box out that lies wholly beyond the image, and fails because its scores are then fewer.
    """
    y, end_y, x, end_x = library.pad(boxes, width, height)
    y, x = np.clip(y, 1, height), np.clip(x, 1, width)
    return y, np.clip(end_y, y, height), x, np.clip(end_x, x, width)


_detect_face = types.FunctionType(library.detect_face.__code__, {**vars(library), "pad": _pad}, "detect_face")
"""The library's function, unchanged but for `_pad`."""
