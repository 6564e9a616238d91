"""What may be done to every image once, before anything is trained on it: stretching, equalising, leaving out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.cache import Source
from fersweep.data.samples import TRAINING, Samples
from fersweep.errors import UserError


@dataclass(frozen=True)
class Preprocessed:
    """A dataset source whose images are changed after decoding, in this order; like any source, it is cached.

    Attributes:
        source: of the images, uint8, of one size.
        min_max: stretch every image to 0 … 255, rounded; an image of one brightness becomes black.
        equalize: equalise every image's histogram, as OpenCV does (``cv2.equalizeHist``).
        min_variance: leave out images whose variance is now lower, but never one of a test part.
    """

    source: Source
    min_max: bool = False
    equalize: bool = False
    min_variance: float = 0.0

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    def fingerprint(self) -> str:
        """Return a digest of the source's and of what is done to it."""
        steps = [self.source.fingerprint(), self.min_max, self.equalize, float(self.min_variance)]
        return sha256(json.dumps(steps).encode()).hexdigest()

    def load(self) -> Samples:
        """Decode and change everything.

        Raises:
            UserError: of the source, or where a colour image is to be equalised, or nothing is left.
        """
        samples = self.source.load()
        if self.equalize and samples.images.ndim == 4:
            raise UserError("dataset.preprocessing.equalize works on grey images: set dataset.channels=1.")
        images = np.stack([changed(image, self.min_max, self.equalize) for image in samples.images])
        kept = np.array([image.var() >= self.min_variance for image in images])
        may_go = np.ones(len(kept), bool) if samples.usage is None else samples.usage == TRAINING
        if may_go.any() and not kept[may_go].any():
            raise UserError(
                f"dataset.preprocessing.min_variance={self.min_variance} leaves no image of {self.name} to train on: "
                "lower it."
            )
        kept |= ~may_go
        known = {name: getattr(samples, name) for name in ("labels", "ids", "subjects", "usage", "sequences")}
        left: dict[str, Any] = {name: None if array is None else array[kept] for name, array in known.items()}
        return replace(samples, images=images[kept], **left)


def changed(image: npt.NDArray[np.uint8], min_max: bool, equalize: bool) -> npt.NDArray[np.uint8]:
    """One image, uint8, stretched and equalised as asked; only a grey one can be equalised."""
    if min_max:
        low, high = int(image.min()), int(image.max())
        image = np.round((image.astype(np.float64) - low) * 255 / max(high - low, 1)).astype(np.uint8)
    return np.asarray(cv2.equalizeHist(image), dtype=np.uint8) if equalize else image
