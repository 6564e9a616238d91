"""MTCNN (Zhang et al., 2016, arXiv:1604.02878) of facenet-pytorch, weights included."""

from __future__ import annotations

import json
import types
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import facenet_pytorch
import numpy as np
import numpy.typing as npt
import torch
from facenet_pytorch.models.utils import detect_face as library

from fersweep.data.images import to_channels
from fersweep.faces import Face, Pixels
from fersweep.faces.device import choose_device
from fersweep.faces.scale import fitted

MIN_FACE = 20  # pixels of the smallest face that is searched for, after scaling the image
LONGEST = 1280  # greatest longer side of an image in pixels; a larger image is shrunk
SHORTEST = 2 * MIN_FACE  # least shorter side of an image in pixels; a smaller image is enlarged
THRESHOLDS = (0.6, 0.7)  # score thresholds of the first and the second of the three networks
CONFIDENCE = 0.9  # default score threshold of the third network
BATCH_PIXELS = 2_000_000  # pixels per batch: larger ones need more memory and are not faster on a CPU


class Mtcnn:
    """Finds faces and their landmarks in grey and RGB images of any sizes; images of equal size are batched.

    Args:
        confidence: threshold of the faces' confidence, in [0, 1); ``None``: `CONFIDENCE`.
        device: ``cpu``, ``gpu``, or ``auto``.

    Raises:
        UserError: the device is not available.
    """

    name = "mtcnn"

    def __init__(self, confidence: float | None = None, device: str = "auto") -> None:
        self.confidence = CONFIDENCE if confidence is None else confidence
        self.device = choose_device(device)
        with torch.random.fork_rng(devices=[]):  # leaves the random state of a run unchanged
            networks = facenet_pytorch.MTCNN(keep_all=True, select_largest=False, device=self.device)
        self.networks = networks.train(False).requires_grad_(False)

    def fingerprint(self) -> str:
        settings = [MIN_FACE, LONGEST, SHORTEST, THRESHOLDS, self.confidence]
        return sha256(json.dumps([self.name, version("facenet-pytorch"), *settings]).encode()).hexdigest()

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        found: list[list[Face]] = [[] for _ in images]
        sized = [fitted(image, SHORTEST, LONGEST) for image in images]
        for indices in _batches(sized):
            boxes, points = self._detect(np.stack([to_channels(sized[index], 3) for index in indices]))
            for index, its, landmarks in zip(indices, boxes, points, strict=True):
                scale = np.divide(images[index].shape[1::-1], sized[index].shape[1::-1])
                found[index] = _faces(np.array(its, np.float64), np.array(landmarks, np.float64), scale)
        return found

    @torch.inference_mode()
    def follow(self, image: Pixels, faces: Sequence[Face]) -> list[Face | None]:
        """Find each face of the frame before with the third network alone, at its squared box."""
        if not faces:
            return []
        boxes = library.rerec(torch.tensor([face.box for face in faces], dtype=torch.float32))
        y, end_y, x, end_x = _pad(boxes.clone(), image.shape[1], image.shape[0])
        windows = zip(y - 1, end_y, x - 1, end_x, strict=True)
        inputs = torch.cat([_resampled(image[top:bottom, left:right]) for top, bottom, left, right in windows])
        moves, points, scores = (each.cpu() for each in self.networks.onet(inputs.to(self.device)))
        landmarks = points.view(-1, 2, 5).transpose(1, 2) * (boxes[:, None, 2:] - boxes[:, None, :2] + 1)
        landmarks = (landmarks + boxes[:, None, :2] - 1).double().numpy()
        moved = torch.cat((library.bbreg(boxes, moves), scores[:, 1:]), dim=1).double().numpy()
        found = [_faces(moved[k : k + 1], landmarks[k : k + 1], np.ones(2))[0] for k in range(len(faces))]
        return [face if face.confidence > self.confidence else None for face in found]

    @torch.inference_mode()
    def _detect(self, batch: Pixels) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return boxes with scores ``(n, 5)`` and landmarks ``(n, 5, 2)`` for each image of ``(B, H, W, 3)``."""
        of, thresholds = self.networks, [*THRESHOLDS, self.confidence]
        boxes, points = _detect_face(batch, MIN_FACE, of.pnet, of.rnet, of.onet, thresholds, of.factor, self.device)
        return boxes, points


def _resampled(window: Pixels) -> torch.Tensor:
    """Return part of an image as an input of the third network, float32 ``(1, 3, 48, 48)``."""
    pixels = torch.from_numpy(to_channels(window, 3).copy()).permute(2, 0, 1)[None].float()
    return (library.imresample(pixels, (48, 48)) - 127.5) * 0.0078125


def _batches(images: Sequence[Pixels]) -> Iterator[list[int]]:
    """Yield indices of images of equal size, at most `BATCH_PIXELS` or one image at a time."""
    alike: Mapping[tuple[int, ...], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        alike[image.shape[:2]].append(index)
    for (height, width), indices in alike.items():
        count = max(BATCH_PIXELS // (height * width), 1)
        yield from (indices[start : start + count] for start in range(0, len(indices), count))


def _faces(
    boxes: npt.NDArray[np.float64], landmarks: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]
) -> list[Face]:
    """Return faces from boxes with scores ``(n, 5)`` and landmarks ``(n, 5, 2)``, x and y multiplied by ``scale``."""
    boxes = boxes * (*scale, *scale, 1.0)
    faces = [
        Face((left, top, right, bottom), min(score, 1.0), points * scale)
        for (left, top, right, bottom, score), points in zip(boxes.tolist(), landmarks, strict=True)
    ]
    return sorted(faces, key=lambda face: -face.confidence)


def _pad(boxes: torch.Tensor, width: int, height: int) -> tuple[npt.NDArray[np.int32], ...]:
    """Return the rows and columns of boxes inside the image, counted from 1, at least one of each.

    The library's own function drops a box that lies outside the image, and then fails because scores are missing.
    """
    y, end_y, x, end_x = library.pad(boxes, width, height)
    y, x = np.clip(y, 1, height), np.clip(x, 1, width)
    return y, np.clip(end_y, y, height), x, np.clip(end_x, x, width)


_detect_face = types.FunctionType(library.detect_face.__code__, {**vars(library), "pad": _pad}, "detect_face")
"""The library's function with `_pad` in place of its own."""
