"""Unscaled crops: at a random place for training, the centre, and the corners for a test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

Images = npt.NDArray[np.uint8]


def at_random(images: Images, side: int, seed: int) -> Images:
    """Crop each image of a batch at a place drawn uniformly.

    Args:
        images: uint8 ``(B, H, W)`` or ``(B, H, W, 3)``.
        side: of the crops, at most H and W.
        seed: a non-negative integer; the result is a function of the arguments alone.

    Returns:
        A new array, ``(B, side, side)`` or ``(B, side, side, 3)``.
    """
    rng = np.random.default_rng([seed, side])
    count, height, width = images.shape[:3]
    top, left = rng.integers(height - side + 1, size=count), rng.integers(width - side + 1, size=count)
    cropped = np.empty((count, side, side, *images.shape[3:]), np.uint8)
    for image, target, y, x in zip(images, cropped, top.tolist(), left.tolist(), strict=True):
        target[...] = image[y : y + side, x : x + side]
    return cropped


def centre(images: Tensor, side: int | None) -> Tensor:
    """Return the centre ``(…, side, side)`` of images ``(…, H, W)``; or the images themselves."""
    if side is None or images.shape[-2:] == (side, side):
        return images
    *_, middle = five(images, side, side)
    return middle


def five(images: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """Return the four corners and the centre, ``(…, height, width)`` each, of images ``(…, H, W)``."""
    bottom, right = images.shape[-2] - height, images.shape[-1] - width
    places = (0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)
    return tuple(images[..., top : top + height, left : left + width] for top, left in places)
