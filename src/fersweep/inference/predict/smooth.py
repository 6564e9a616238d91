"""Probabilities over time: who is who from frame to frame, and an average that forgets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from torch import from_numpy
from torchvision.ops import box_iou

SAME = 0.3
"""Two boxes of frames that follow each other are of one face where their intersection over union is at least this."""

FORGET = 1.0
"""Seconds after which a face that is not seen is another one when it comes back; or one and a half frames."""


@dataclass
class _Track:
    number: int
    box: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float32]
    seconds: float


class Smoother:
    """Follows faces through a video by overlap, and averages the probabilities of each over time.

    The average is exponential: what was seen ``t`` seconds ago counts ``exp(-t / constant)``. With 0, nothing is
    averaged and faces are only followed. Frames come every ``interval`` seconds or so.
    """

    def __init__(self, constant: float, interval: float = 0.0) -> None:
        self.constant = constant
        self.forget = max(FORGET, 1.5 * interval)
        self._tracks: list[_Track] = []
        self._made = 0

    def __call__(
        self, boxes: npt.NDArray[np.float64], probabilities: npt.NDArray[np.float32], seconds: float
    ) -> tuple[list[int], npt.NDArray[np.float32]]:
        """Take one frame's boxes ``(n, 4)`` and probabilities ``(n, K)``; return who they are, and the averages."""
        self._tracks = [track for track in self._tracks if seconds - track.seconds <= self.forget]
        known = self._matches(boxes)
        numbers, averages = [], probabilities.copy()
        for row, box in enumerate(boxes):
            track = known.get(row)
            if track is None:
                track = _Track(self._made, box, probabilities[row], seconds)
                self._made += 1
                self._tracks.append(track)
            elif self.constant > 0:
                kept = math.exp(-max(seconds - track.seconds, 0.0) / self.constant)
                averages[row] = kept * track.probabilities + (1 - kept) * probabilities[row]
            track.box, track.probabilities, track.seconds = box, averages[row], seconds
            numbers.append(track.number)
        return numbers, averages

    def _matches(self, boxes: npt.NDArray[np.float64]) -> dict[int, _Track]:
        """The track of each row of ``boxes`` that has one: the assignment of largest overlap in all."""
        if not len(boxes) or not self._tracks:
            return {}
        tracked = np.stack([track.box for track in self._tracks])
        overlap = box_iou(from_numpy(boxes), from_numpy(tracked)).numpy()
        pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
        return {int(row): self._tracks[column] for row, column in pairs if overlap[row, column] >= SAME}
