"""Which of the faces found count, and how one is cut out of its image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from fersweep.faces import LANDMARKS, Face, Pixels

CHOICES = ("all", "largest", "confident")


def choose(faces: Sequence[Face], which: str) -> list[Face]:
    """Return all faces, or the largest or most confident one; of equals the first. None stays none."""
    assert which in CHOICES, which
    if which == "all" or not faces:
        return list(faces)
    return [max(faces, key=lambda face: face.area if which == "largest" else face.confidence)]


def cut(image: Pixels, face: Face, margin: float = 0.0, align: bool = False) -> Pixels:
    """Cut a face out of its image, grey or RGB as that is.

    Args:
        image: what the face was found in.
        face: its box, rounded to pixels, gives the size of the result: one pixel a side at least.
        margin: added on each side of the box, as a fraction of its width and height; beyond the image its border is
            repeated.
        align: turn the image about the middle of the box so that the eyes are level; a face without landmarks is cut
            out as it is.
    """
    left, top, right, bottom = face.box
    wide, high = margin * max(right - left, 0.0), margin * max(bottom - top, 0.0)
    x, width = _side(left - wide, right + wide, image.shape[1])
    y, height = _side(top - high, bottom + high, image.shape[0])
    tilt = _tilt(face) if align else 0.0
    if tilt == 0.0:
        return _window(image, x, y, width, height)
    radius = math.ceil(math.hypot(width, height) / 2) + 1  # no corner of the turned box is farther from its middle
    around = _window(image, x + width // 2 - radius, y + height // 2 - radius, 2 * radius, 2 * radius)
    middle = (radius - width // 2 + (width - 1) / 2, radius - height // 2 + (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, tilt, 1.0)
    matrix[:, 2] -= radius - width // 2, radius - height // 2
    turned = cv2.warpAffine(around, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, dtype=np.uint8)


def _side(low: float, high: float, size: int) -> tuple[int, int]:
    """The first pixel and the number of pixels, at least one, between two edges; at most ``size`` beyond the image."""
    first, end = (round(min(max(each, -size), 2 * size)) for each in (low, high))
    return first, max(end - first, 1)


def _window(image: Pixels, x: int, y: int, width: int, height: int) -> Pixels:
    """The pixels from ``(x, y)`` on; beyond the image the nearest of its border."""
    rows = np.clip(np.arange(y, y + height), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x, x + width), 0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def _tilt(face: Face) -> float:
    """Degrees by which the line from the left to the right eye falls; 0 without landmarks."""
    if face.landmarks is None:
        return 0.0
    across, down = face.landmarks[LANDMARKS.index("right_eye")] - face.landmarks[LANDMARKS.index("left_eye")]
    return math.degrees(math.atan2(down, across))
