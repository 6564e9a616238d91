"""Augmentation of a whole batch by NumPy, several times as fast as a pipeline that takes one image after another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Factors = npt.NDArray[np.float64]


def resampled(img: Images, zoom: tuple[float, float], shift: tuple[float, float], angle: float) -> Images:
    """Zoom, shift and rotate an image about its centre in one bilinear resampling, replicating the border.

    Args:
        img: uint8 ``(H, W)`` or ``(H, W, C)``.
        zoom: factors in x and y from output to input pixels: below 1 magnifies.
        shift: in x and y, as fractions of the side.
        angle: degrees.
    """
    height, width = img.shape[:2]
    (zx, zy), (tx, ty) = zoom, shift
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cx, cy = (width - 1) / 2, (height - 1) / 2
    a, b, c, d = cos * zx, -sin * zy, sin * zx, cos * zy
    matrix = np.array([[a, b, cx + tx * width - a * cx - b * cy], [c, d, cy + ty * height - c * cx - d * cy]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(img, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


@dataclass(frozen=True)
class Batchwise:
    """Flip, zoom, shift, rotation, light and erasing; the arguments are those of `fersweep.data.augment.crop_flip`."""

    flip: float
    zoom: float
    shift: float
    rotate: float
    brightness: float
    contrast: float
    erase: float
    erase_area: tuple[float, float]
    each: float

    def __call__(self, images: Images, seed: int) -> Images:
        """Return a new batch, uint8 ``(B, H, W)`` or ``(B, H, W, 3)``: a function of the arguments alone."""
        rng, changed = np.random.default_rng(seed), images.copy()
        mirrored = rng.random(len(images)) < self.flip
        changed[mirrored] = changed[mirrored, :, ::-1]
        if self.zoom or self.shift or self.rotate:
            self._move(changed, rng)
        if self.brightness or self.contrast:
            changed = self._lit(changed, rng)
        if self.erase:
            self._erase(changed, rng)
        return changed

    def _drawn(self, rng: np.random.Generator, limit: float, count: int, number: int = 1) -> Factors:
        """Draw ``(number, count)`` from ``[-limit, limit]``, zeros for an image with probability ``1 - each``."""
        return rng.uniform(-limit, limit, (number, count)) * (rng.random(count) < self.each)

    def _move(self, images: Images, rng: np.random.Generator) -> None:
        count = len(images)
        zooms, shifts = 1 + self._drawn(rng, self.zoom, count, 2), self._drawn(rng, self.shift, count, 2)
        [angles] = self._drawn(rng, self.rotate, count)
        for image, zoom, shift, angle in zip(images, zooms.T, shifts.T, angles, strict=True):
            image[...] = resampled(image, tuple(zoom), tuple(shift), angle)

    def _lit(self, images: Images, rng: np.random.Generator) -> Images:
        chosen = rng.random(len(images)) < self.each
        contrast = 1 + chosen * rng.uniform(-self.contrast, self.contrast, len(images))
        brightness = 255 * chosen * rng.uniform(-self.brightness, self.brightness, len(images))
        shape = (-1,) + (1,) * (images.ndim - 1)
        lit = images * contrast.astype(np.float32).reshape(shape) + brightness.astype(np.float32).reshape(shape)
        return np.asarray(lit.round().clip(0, 255), dtype=np.uint8)

    def _erase(self, images: Images, rng: np.random.Generator) -> None:
        """Fill a rectangle of some images with black (Zhong et al. 2020, algorithm 1), cut off at the image's sides."""
        height, width = images.shape[1:3]
        for index in np.flatnonzero(rng.random(len(images)) < self.erase):
            area, ratio = rng.uniform(*self.erase_area) * height * width, rng.uniform(0.3, 1 / 0.3)
            rows, columns = (max(1, round(math.sqrt(each))) for each in (area * ratio, area / ratio))
            rows, columns = min(rows, height), min(columns, width)
            top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
            images[index, top : top + rows, left : left + columns] = 0
