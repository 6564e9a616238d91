"""Faces in the frames of a video: searched for in some frames, followed from one to the next in the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from fersweep.faces import Face, Follower, Pixels

SAME = 0.3
"""Smallest intersection over union of a face's boxes in consecutive frames, and largest of those of two faces."""


class Tracker:
    """Detector for the frames of one video, in order, which searches only some of them.

    It searches at least every ``every``-th frame. It also searches a frame in which a face is lost or two of them
    merge, so a face that leaves is noticed at once, and one that appears after at most ``every - 1`` frames.

    Args:
        detector: searches and follows.
        every: frames from one search to the next, 1 or more; 1: all are searched.
    """

    def __init__(self, detector: Follower, every: int) -> None:
        self.detector, self.every = detector, every
        self.name = detector.name
        self.searched = 0
        self._faces: list[Face] = []
        self._since = every

    def fingerprint(self) -> str:
        """Return the detector's fingerprint and the interval: results depend on the order of the images as well."""
        return f"{self.detector.fingerprint()} every {self.every}"

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        """Return the faces of the next frames, the most confident first."""
        return [list(self._next(image)) for image in images]

    def _next(self, image: Pixels) -> list[Face]:
        self._since += 1
        faces = self._followed(image) if self._since < self.every else None
        if faces is None:
            [faces] = self.detector.detect([image])
            self.searched, self._since = self.searched + 1, 0
        self._faces = sorted(faces, key=lambda face: -face.confidence)
        return self._faces

    def _followed(self, image: Pixels) -> list[Face] | None:
        """Return the faces of the frame before at their new places; ``None`` if one is lost or two merge."""
        found = self.detector.follow(image, self._faces)
        faces = [
            new for old, new in zip(self._faces, found, strict=True) if new is not None and overlap(old, new) >= SAME
        ]
        merged = any(overlap(one, other) > SAME for one, other in combinations(faces, 2))
        return None if merged or len(faces) < len(found) else faces


def overlap(one: Face, other: Face) -> float:
    """Return the intersection over union of two boxes, in [0, 1]."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (one.area + other.area - shared) if shared else 0.0
