"""Preprocessing of a dataset, once, before training: contrast stretching, histogram equalisation, filtering."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.samples import TRAINING, Samples, Source
from fersweep.errors import UserError


@dataclass(frozen=True)
class Preprocessed:
    """A dataset source whose images are changed after decoding, in this order.

    Attributes:
        source: the source of the images, uint8, of one size.
        min_max: stretch every image to 0 … 255, rounded; an image of one brightness becomes black.
        equalize: equalise every image's histogram (``cv2.equalizeHist``).
        min_variance: leave out images whose variance is then lower, but never one of a test part.
    """

    source: Source
    min_max: bool = False
    equalize: bool = False
    min_variance: float = 0.0

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    def fingerprint(self) -> str:
        """Return a digest of the source's fingerprint and of the preprocessing."""
        steps = [self.source.fingerprint(), self.min_max, self.equalize, float(self.min_variance)]
        return sha256(json.dumps(steps).encode()).hexdigest()

    def load(self) -> Samples:
        """Decode and preprocess everything.

        Raises:
            UserError: from the source, or colour images are to be equalised, or no image is left.
        """
        samples = self.source.load()
        if self.equalize and samples.images.ndim == 4:
            raise UserError("dataset.preprocessing.equalize needs grey images: set dataset.channels=1.")
        images = np.stack([changed(image, self.min_max, self.equalize) for image in samples.images])
        kept = np.array([image.var() >= self.min_variance for image in images])
        may_go = np.ones(len(kept), bool) if samples.usage is None else samples.usage == TRAINING
        if may_go.any() and not kept[may_go].any():
            raise UserError(
                f"dataset.preprocessing.min_variance={self.min_variance} leaves no image of {self.name} to train on: "
                "lower it."
            )
        kept |= ~may_go
        return replace(samples, images=images[kept], **{name: each[kept] for name, each in samples.columns().items()})


def changed(image: npt.NDArray[np.uint8], min_max: bool, equalize: bool) -> npt.NDArray[np.uint8]:
    """Return one uint8 image, stretched and equalised as requested; only a grey one can be equalised."""
    if min_max:
        low, high = int(image.min()), int(image.max())
        image = np.round((image.astype(np.float64) - low) * 255 / max(high - low, 1)).astype(np.uint8)
    return np.asarray(cv2.equalizeHist(image), dtype=np.uint8) if equalize else image
