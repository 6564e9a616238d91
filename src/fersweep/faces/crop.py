"""Selecting faces, cutting them out of their image, and resizing them to images of a dataset (`Crop`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from PIL import Image

from fersweep.data import images
from fersweep.faces import LANDMARKS, Face, Pixels

CHOICES = ("all", "largest", "confident")

FACE, PICTURE = "face", "picture"
"""Framing of the images of a dataset: a tightly cropped face, or a picture with its surroundings."""

AS_FACE = 2  # a picture is taken for a cropped face if its longer side is at most this multiple of the network's input


def choose(faces: Sequence[Face], which: str) -> list[Face]:
    """Return all faces, or only the largest or most confident one (the first of equals)."""
    assert which in CHOICES, which
    if which == "all" or not faces:
        return list(faces)
    return [max(faces, key=lambda face: face.area if which == "largest" else face.confidence)]


@dataclass(frozen=True)
class Crop:
    """Steps that turn a face in a picture into an image of a dataset; by default its box is cut out and resized once.

    Attributes:
        margin, align, clip: as in `cut`.
        size: pixels per side to which a face is first resized by area (OpenCV's ``INTER_AREA``); ``None``: it is
            resized to the dataset's size directly.
        nearest: resize to the dataset's size by nearest neighbour as Pillow, and thus Keras' loader, does.
        jpeg_image, jpeg_face: JPEG quality, 1 to 100, with which the picture is compressed before detection, and the
            face after ``size``; ``None``: no compression.
    """

    margin: float = 0.0
    align: bool = False
    clip: bool = False
    size: int | None = None
    nearest: bool = False
    jpeg_image: int | None = None
    jpeg_face: int | None = None

    @classmethod
    def of(cls, face_crop: Mapping[str, Any]) -> Crop:
        """Return the crop that the config section ``dataset.face_crop`` describes, ignoring the detector's settings."""
        return cls(**{each.name: face_crop[each.name] for each in fields(cls)})

    def picture(self, image: Pixels) -> Pixels:
        """Return a picture as it is given to the detector and to `cut`."""
        return image if self.jpeg_image is None else _jpeg(image, self.jpeg_image)

    def cut(self, image: Pixels, face: Face) -> Pixels:
        """Cut a face out of the result of `picture`, at its original size."""
        return cut(image, face, self.margin, self.align, self.clip)

    def image(self, face: Pixels, image_size: int, channels: int) -> Pixels:
        """Return a face of any size as an image of the dataset: uint8 ``(H, W)``, or ``(H, W, 3)`` for 3 channels."""
        if self.size is not None:
            face = np.asarray(cv2.resize(face, (self.size, self.size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        if self.jpeg_face is not None:
            face = _jpeg(face, self.jpeg_face)
        face = images.to_channels(face, channels)
        if self.nearest:
            return np.asarray(Image.fromarray(face).resize((image_size, image_size), Image.Resampling.NEAREST))
        return images.resize(face, image_size)


def _jpeg(image: Pixels, quality: int) -> Pixels:
    """Return an image after a round trip through OpenCV's JPEG encoder."""
    colour = image.ndim == 3
    done, data = cv2.imencode(".jpg", image[..., ::-1] if colour else image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return images.decode(data.tobytes())


def cut(image: Pixels, face: Face, margin: float = 0.0, align: bool = False, clip: bool = False) -> Pixels:
    """Cut a face out of its image, grey or RGB.

    Args:
        image: the image in which the face was found.
        face: its box, rounded to pixels, is the size of the result, at least one pixel per side.
        margin: added on each side of the box, as a fraction of its width and height; outside the image its border is
            replicated.
        align: rotate the image about the centre of the box so that the eyes are level; without effect on a face without
            landmarks.
        clip: clip the box, with its margin, to the image instead of replicating the border.
    """
    left, top, right, bottom = face.box
    wide, high = margin * max(right - left, 0.0), margin * max(bottom - top, 0.0)
    x, width = _side(left - wide, right + wide, image.shape[1], clip)
    y, height = _side(top - high, bottom + high, image.shape[0], clip)
    tilt = _tilt(face) if align else 0.0
    if tilt == 0.0:
        return _window(image, x, y, width, height)
    radius = math.ceil(math.hypot(width, height) / 2) + 1  # no corner of the rotated box is farther from its centre
    around = _window(image, x + width // 2 - radius, y + height // 2 - radius, 2 * radius, 2 * radius)
    centre = (radius - width // 2 + (width - 1) / 2, radius - height // 2 + (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, tilt, 1.0)
    matrix[:, 2] -= radius - width // 2, radius - height // 2
    aligned = cv2.warpAffine(around, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(aligned, dtype=np.uint8)


def _side(low: float, high: float, size: int, clip: bool) -> tuple[int, int]:
    """Return the first pixel and the number of pixels, at least one, between two edges.

    Edges are limited to ``size`` pixels beyond the image, with ``clip`` to the image.
    """
    least, most = (0, size) if clip else (-size, 2 * size)
    first, end = (round(min(max(edge, least), most)) for edge in (low, high))
    return first, max(end - first, 1)


def _window(image: Pixels, x: int, y: int, width: int, height: int) -> Pixels:
    """Return the window at ``(x, y)``, replicating the border outside the image."""
    rows = np.clip(np.arange(y, y + height), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x, x + width), 0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def _tilt(face: Face) -> float:
    """Return the angle in degrees by which the line from the left to the right eye falls; 0 without landmarks."""
    if face.landmarks is None:
        return 0.0
    across, down = face.landmarks[LANDMARKS.index("right_eye")] - face.landmarks[LANDMARKS.index("left_eye")]
    return math.degrees(math.atan2(down, across))
