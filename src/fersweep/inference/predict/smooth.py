"""Tracking of faces through a video, and exponential averages of their probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from torch import from_numpy
from torchvision.ops import box_iou

SAME = 0.3
"""Smallest intersection over union of one face's boxes in consecutive frames."""

FORGET = 1.0
"""Seconds, but at least one and a half frames, after which a lost face gets a new number."""


@dataclass
class _Track:
    number: int
    box: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float32]
    seconds: float


class Smoother:
    """Tracks faces by the overlap of their boxes and averages the probabilities of each over time.

    A frame ``t`` seconds ago has the weight ``exp(-t / constant)``; a ``constant`` of 0 turns averaging off.
    ``interval`` is the time between frames in seconds.
    """

    def __init__(self, constant: float, interval: float = 0.0) -> None:
        self.constant = constant
        self.forget = max(FORGET, 1.5 * interval)
        self._tracks: list[_Track] = []
        self._count = 0

    def __call__(
        self, boxes: npt.NDArray[np.float64], probabilities: npt.NDArray[np.float32], seconds: float
    ) -> tuple[list[int], npt.NDArray[np.float32]]:
        """Map boxes ``(n, 4)`` and probabilities ``(n, K)`` of one frame to track numbers, which begin
        at 1, and averages ``(n, K)``.
        """
        self._tracks = [track for track in self._tracks if seconds - track.seconds <= self.forget]
        matches = self._matches(boxes)
        numbers, averages = [], probabilities.copy()
        for row, box in enumerate(boxes):
            track = matches.get(row)
            if track is None:
                self._count += 1
                track = _Track(self._count, box, probabilities[row], seconds)
                self._tracks.append(track)
            elif self.constant > 0:
                weight = math.exp(-max(seconds - track.seconds, 0.0) / self.constant)
                averages[row] = weight * track.probabilities + (1 - weight) * probabilities[row]
            track.box, track.probabilities, track.seconds = box, averages[row], seconds
            numbers.append(track.number)
        return numbers, averages

    def _matches(self, boxes: npt.NDArray[np.float64]) -> dict[int, _Track]:
        """Assign tracks to rows of ``boxes`` such that the total overlap is largest."""
        if not len(boxes) or not self._tracks:
            return {}
        tracked = np.stack([track.box for track in self._tracks])
        overlap = box_iou(from_numpy(boxes), from_numpy(tracked)).numpy()
        pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
        return {int(row): self._tracks[column] for row, column in pairs if overlap[row, column] >= SAME}
