"""The size at which a detector searches an image."""

from __future__ import annotations

import cv2
import numpy as np

from fersweep.faces import Pixels


def fitted(image: Pixels, shortest: int, longest: int) -> Pixels:
    """Return an image whose sides, in pixels, are within two bounds: resized by area if it shrinks, else bilinearly.

    An image too narrow for both is stretched across.
    """
    height, width = image.shape[:2]
    scale = min(max(1.0, shortest / min(height, width)), longest / max(height, width))
    if scale == 1.0:
        return image
    size = tuple(max(round(side * scale), shortest) for side in (width, height))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
