"""Augmentation of training images: ``none``, ``flip_zoom`` (the study's), ``standard`` and ``crop_flip``.

A pipeline is an `albumentations.Compose` from uint8 ``(H, W)`` or ``(H, W, 3)`` to the same shape and type, or a
`Batchwise`, which takes a batch; `apply` runs either over a batch. With ``recipe.crop`` it gets the crops. All
randomness comes from the seed given to `apply`, not from the global generators of NumPy and Python, so a batch is the
same in the main process and in any loader worker.

Importing this module switches OpenCV's threads off: on images of 48 to 224 pixels they cost more than they save,
parallelism is across loader workers, and a thread pool does not survive the fork that starts a worker.
"""

from __future__ import annotations

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # before the import, which else queries PyPI for its latest version

from collections.abc import Mapping, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.batchwise import Batchwise, resampled
from fersweep.errors import UserError

Images = npt.NDArray[np.uint8]

ERASE_AREA = (0.02, 0.33)
"""Default areas of erased rectangles, as fractions of the image."""

cv2.setNumThreads(0)


class RandomAffine(A.ImageOnlyTransform):
    """Zoom, shift and rotate about the image's centre in one bilinear resampling, replicating the border.

    The map goes from output to input pixels, as in Keras' ``ImageDataGenerator``: an output pixel at offset ``d`` from
    the centre ``((W - 1) / 2, (H - 1) / 2)`` takes the input at offset ``R(angle) · diag(zx, zy) · d + t``, so a factor
    below 1 magnifies. ``zx`` and ``zy`` are drawn independently.

    Args:
        zoom: each factor is uniform in ``[1 - zoom, 1 + zoom]``.
        shift: each shift is uniform in ``[-shift, shift]``, as a fraction of the image's side.
        rotate: the angle is uniform in ``[-rotate, rotate]``, in degrees.
        each: the probability of each of the three, independently.
    """

    def __init__(self, zoom: float = 0.0, shift: float = 0.0, rotate: float = 0.0, each: float = 1.0) -> None:
        super().__init__(p=1.0)
        self.zoom, self.shift, self.rotate, self.each = zoom, shift, rotate, each

    def _range(self, limit: float) -> tuple[float, float]:
        """Draw twice from ``[-limit, limit]``, or return zeros with probability ``1 - each``."""
        if self.py_random.random() >= self.each:
            return 0.0, 0.0
        return self.py_random.uniform(-limit, limit), self.py_random.uniform(-limit, limit)

    def get_params(self) -> dict[str, Any]:
        """Draw ``zoom`` (zx, zy), ``shift`` (tx, ty; fractions) and ``angle`` (degrees)."""
        zx, zy = self._range(self.zoom)
        return {"zoom": (1 + zx, 1 + zy), "shift": self._range(self.shift), "angle": self._range(self.rotate)[0]}

    def apply(
        self,
        img: Images,
        zoom: tuple[float, float] = (1.0, 1.0),
        shift: tuple[float, float] = (0.0, 0.0),
        angle: float = 0.0,
        **params: Any,
    ) -> Images:
        """Resample one image, uint8 ``(H, W)`` or ``(H, W, C)``, with the drawn parameters."""
        return resampled(img, zoom, shift, angle)


def _fraction(pipeline: str, name: str, value: float, limit: float = 1.0, strict: bool = False) -> None:
    """Refuse ``value`` outside ``[0, limit]`` (``[0, limit)`` if ``strict``)."""
    if not 0 <= value <= limit or (strict and value == limit):
        end = ")" if strict else "]"
        raise UserError(f"augmentation={pipeline}: {name} must lie in [0, {limit:g}{end}, not {value}.")


def _check(
    pipeline: str,
    values: Mapping[str, float],
    rotate: float = 0.0,
    area: Sequence[float] = ERASE_AREA,
    strict: bool = False,
) -> None:
    """Refuse values outside [0, 1] (``[0, 1)`` if ``strict``), an angle outside [0, 180] and areas not in (0, 1)."""
    for name, value in values.items():
        _fraction(pipeline, name, value, strict=strict)
    _fraction(pipeline, "rotate", rotate, limit=180)
    if len(area) != 2 or not 0 < area[0] <= area[1] < 1:
        raise UserError(f"augmentation={pipeline}: erase_area must be two rising numbers in (0, 1), not {area}.")


def none(image_size: int) -> A.Compose:  # noqa: ARG001 - every pipeline is called with the size
    """Return the identity."""
    return A.Compose([])


def flip_zoom(image_size: int, flip: float = 0.5, zoom: float = 0.3) -> A.Compose:  # noqa: ARG001 - as above
    """The study's augmentation: horizontal flip and Keras' ``zoom_range``.

    Independent factors in x and y, uniform in ``[1 - zoom, 1 + zoom]``, about the centre, bilinear, nearest fill.

    Args:
        image_size: pixels per side, without effect.
        flip: probability of the flip.
        zoom: half-width of the range of the factors.
    """
    _fraction("flip_zoom", "flip", flip)
    _fraction("flip_zoom", "zoom", zoom, strict=True)
    return A.Compose([RandomAffine(zoom=zoom), A.HorizontalFlip(p=flip)])


def standard(
    image_size: int,  # noqa: ARG001 - as above
    flip: float = 0.5,
    zoom: float = 0.2,
    shift: float = 0.2,
    rotate: float = 10.0,
    brightness: float = 0.2,
    contrast: float = 0.2,
    erase: float = 0.5,
    erase_area: tuple[float, float] = ERASE_AREA,
    each: float = 0.5,
) -> A.Compose:
    """Augmentation for training from scratch at 48 pixels: zoom, shift, rotation, flip, light and erasing.

    Zoom ±20 %, shift ±20 % and rotation ±10°, each with probability one half, and erasing with probability one half
    follow Khaireddin and Chen (2021, arXiv:2105.03588) on FER2013; zooming in and shifting replace their crops. Erasing
    draws area and aspect ratio as Zhong et al. (2020, "Random Erasing Data Augmentation") and fills with black.
    Brightness and contrast are additions of this project.

    Args:
        image_size: pixels per side, without effect.
        flip: probability of a horizontal flip.
        zoom, shift, rotate: ranges, as in `RandomAffine`.
        brightness: added brightness is uniform in ``[-brightness, brightness]`` of the full range.
        contrast: the contrast factor is uniform in ``[1 - contrast, 1 + contrast]``.
        erase: probability of erasing one rectangle.
        erase_area: least and greatest area of the rectangle, as fractions of the image.
        each: probability of each of zoom, shift, rotation and light.
    """
    _check("standard", {"flip": flip, "erase": erase, "each": each}, rotate, erase_area)
    _check("standard", {"zoom": zoom, "contrast": contrast, "brightness": brightness, "shift": shift}, strict=True)
    least, most = erase_area
    return A.Compose(
        [
            RandomAffine(zoom=zoom, shift=shift, rotate=rotate, each=each),
            A.HorizontalFlip(p=flip),
            A.RandomBrightnessContrast((-brightness, brightness), (-contrast, contrast), p=each),
            A.Erasing(scale=(least, most), ratio=(0.3, 3.3), fill=0, p=erase),
        ]
    )


def crop_flip(
    image_size: int,  # noqa: ARG001 - as above
    flip: float = 0.5,
    zoom: float = 0.0,
    shift: float = 0.0,
    rotate: float = 0.0,
    brightness: float = 0.0,
    contrast: float = 0.0,
    erase: float = 0.0,
    erase_area: tuple[float, float] = ERASE_AREA,
    each: float = 0.5,
) -> Batchwise:
    """Horizontal flip of the crops at random places that ``recipe.crop`` asks for; without it, of whole images.

    Everything of `standard` can be switched on, with its meaning, except that rectangles to erase are cut off at the
    sides of the image and not drawn again.

    Args:
        image_size: pixels per side of the crops, without effect.
        flip, zoom, shift, rotate, brightness, contrast, erase, erase_area, each: as in `standard`; 0 is off.
    """
    _check("crop_flip", {"flip": flip, "erase": erase, "each": each}, rotate, erase_area)
    _check("crop_flip", {"zoom": zoom, "contrast": contrast, "brightness": brightness, "shift": shift}, strict=True)
    least, most = erase_area
    if not erase and (least, most) != ERASE_AREA:
        raise UserError("augmentation=crop_flip: erase_area has no effect with erase=0: set erase, or leave it alone.")
    return Batchwise(flip, zoom, shift, rotate, brightness, contrast, erase, (least, most), each)


def apply(transform: A.Compose | Batchwise, images: Images, seed: int) -> Images:
    """Augment a batch; the result is a function of the arguments alone.

    The pipeline is seeded once per batch, so image ``i`` depends on the images before it only through their number.

    Args:
        transform: a pipeline of this module.
        images: uint8 ``(B, H, W)`` or ``(B, H, W, 3)``; not modified, may be a read-only memory map.
        seed: a non-negative integer, a new one for every batch.

    Returns:
        A new array of the same shape and type.
    """
    if isinstance(transform, Batchwise):
        return transform(images, seed)
    transform.set_random_seed(seed)
    augmented = np.empty_like(images)
    for source, target in zip(images, augmented, strict=True):
        target[...] = transform(image=source)["image"]
    return augmented
