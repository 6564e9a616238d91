"""Boxes and words on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fersweep.data.images import to_channels
from fersweep.faces import Face, Pixels

LINE, INK = (255, 200, 0), (0, 0, 0)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The letters that matplotlib brings: they have accents and other alphabets."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def faces(
    image: Pixels, found: Sequence[Face], probabilities: npt.NDArray[np.floating], class_names: Sequence[str]
) -> Pixels:
    """`annotate` for faces ``n`` and their probabilities ``(n, K)``."""
    labels = [class_names[int(row.argmax())] for row in probabilities]
    return annotate(image, labels, probabilities, np.array([face.box for face in found], np.float64).reshape(-1, 4))


def annotate(
    image: Pixels,
    labels: Sequence[str],
    probabilities: npt.NDArray[np.floating],
    boxes: npt.NDArray[np.floating],
) -> Pixels:
    """Draw a box and ``label 87 %`` for each face; the picture given stays as it is.

    Args:
        image: ``(H, W)`` or ``(H, W, 3)`` RGB.
        labels: ``n`` names.
        probabilities: ``(n, K)``; the largest of each row is written.
        boxes: ``(n, 4)`` left, top, right, bottom in pixels.

    Returns:
        uint8 ``(H, W, 3)`` RGB.
    """
    picture = Image.fromarray(to_channels(image, 3))
    canvas = ImageDraw.Draw(picture)
    width = max(1, round(min(picture.size) / 200))
    for label, row, box in zip(labels, probabilities, boxes, strict=True):
        left, top, right, bottom = (round(float(each)) for each in box)
        left, top = max(0, left), max(0, top)
        right, bottom = max(left, min(picture.width - 1, right)), max(top, min(picture.height - 1, bottom))
        canvas.rectangle((left, top, right, bottom), outline=LINE, width=width)
        words, font = f"{label} {float(row.max()):.0%}", _font(max(9, min(48, (right - left) // 8)))
        x0, y0, x1, y1 = canvas.textbbox((0, 0), words, font=font)
        tall, pad = y1 - y0, 2 + width
        y = top - tall - 2 * pad if top >= tall + 2 * pad else top
        x = max(0, min(left, picture.width - (x1 - x0) - 2 * pad))
        canvas.rectangle((x, y, x + x1 - x0 + 2 * pad, y + tall + 2 * pad), fill=LINE)
        canvas.text((x + pad - x0, y + pad - y0), words, fill=INK, font=font)
    return np.asarray(picture)
