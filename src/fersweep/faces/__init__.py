"""Face detection and cropping: the types that detectors (`fersweep.faces.detectors`) and crops share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""An image: ``(H, W)`` grey or ``(H, W, 3)`` RGB."""

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""The five points of a face, left and right as seen in the image."""


@dataclass(frozen=True)
class Face:
    """One face in an image.

    Attributes:
        box: left, top, right, bottom in pixels from the image's upper left corner; may reach beyond the image.
        confidence: the detector's, in [0, 1].
        landmarks: float ``(5, 2)``, x and y of `LANDMARKS` in pixels; ``None`` if the detector has none.
    """

    box: tuple[float, float, float, float]
    confidence: float
    landmarks: npt.NDArray[np.float64] | None = None

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, 0.0) * max(bottom - top, 0.0)


class Detector(Protocol):
    """Finds faces in grey or RGB images of any sizes; none is a valid result."""

    @property
    def name(self) -> str:
        """The option that selects it."""

    def fingerprint(self) -> str:
        """Return a digest of everything that `detect` depends on besides the image, for caches."""

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        """Return the faces of each image, the most confident first."""


@runtime_checkable
class Follower(Detector, Protocol):
    """Detector that also finds known faces again in the next frame of a video, much faster than by a search."""

    def follow(self, image: Pixels, faces: Sequence[Face]) -> list[Face | None]:
        """Return each face of the frame before at its place in this one; ``None`` if it is not near it."""
