"""Annotation of pictures with boxes and labels."""

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
    """Load the font that matplotlib ships; it covers accents and other alphabets."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def faces(
    image: Pixels,
    found: Sequence[Face],
    probabilities: npt.NDArray[np.floating],
    class_names: Sequence[str],
    numbers: Sequence[int] = (),
) -> Pixels:
    """Draw a box and ``label 87%``, or ``2: label 87%``, for each face into a copy of a picture.

    The label stands above the box, or below it, and inside only where there is no room.

    Args:
        image: ``(H, W)`` or ``(H, W, 3)`` RGB.
        found: ``n`` faces.
        probabilities: ``(n, K)``; the largest of each row is written.
        class_names: ``K`` names.
        numbers: of the faces, ``n`` or none.

    Returns:
        uint8 ``(H, W, 3)`` RGB.
    """
    picture = Image.fromarray(to_channels(image, 3))
    canvas = ImageDraw.Draw(picture)
    width = max(1, round(min(picture.size) / 200))
    prefixes = [f"{number}: " for number in numbers] or [""] * len(found)
    for face, row, prefix in zip(found, probabilities, prefixes, strict=True):
        left, top, right, bottom = (round(float(each)) for each in face.box)
        left, top = max(0, left), max(0, top)
        right, bottom = max(left, min(picture.width - 1, right)), max(top, min(picture.height - 1, bottom))
        canvas.rectangle((left, top, right, bottom), outline=LINE, width=width)
        text = f"{prefix}{class_names[int(row.argmax())]} {float(row.max()):.0%}"
        font = _font(max(9, min(48, (right - left) // 8)))
        x0, y0, x1, y1 = canvas.textbbox((0, 0), text, font=font)
        pad = 2 + width
        wide, high = x1 - x0 + 2 * pad, y1 - y0 + 2 * pad
        x, y = max(0, min(left, picture.width - wide)), top - high
        if y < 0:  # below the box, or in it where there is no other place
            y = bottom + 1 if bottom + 1 + high <= picture.height else top
        canvas.rectangle((x, y, x + wide, y + high), fill=LINE)
        canvas.text((x + pad - x0, y + pad - y0), text, fill=INK, font=font)
    return np.asarray(picture)
