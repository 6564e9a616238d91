"""Names beside points of a figure, placed to cover as little as possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from fersweep.report.figures import DPI

Box = npt.NDArray[np.float64]
"""Left, bottom, right and top in pixels, ``(4,)``."""

SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Directions in which a name may stand beside its point, the preferred one first."""


class Point(NamedTuple):
    """The cost of a row, its accuracy in percent, and the standard deviation of that (0 if unknown)."""

    x: float
    y: float
    sd: float = 0.0


def place_names(axes: Axes, named: Sequence[tuple[str, list[Point]]], hollow: Sequence[Point]) -> None:
    """Write each name beside one of its points, where it covers least of points, lines and other names."""
    pixels, frame = axes.transData.transform, np.array([axes.get_window_extent().extents])
    taken = _taken(axes, named, hollow)
    written: list[tuple[str, Any]] = []
    for name, points in named:
        if any(name == other and np.hypot(*(pixels(points[0][:2]) - pixels(at))) < 40 for other, at in written):
            continue  # its neighbour has the same name
        text = axes.annotate(name, points[0][:2], (0, 0), textcoords="offset points", fontsize=8.5)
        size = np.array(text.get_window_extent().size)
        boxes = np.array(taken)
        choices = []
        for point, offset, box in _candidates(axes, points, size):
            outside = size.prod() - _overlap(box, frame).sum()
            choices.append((_overlap(box, boxes).sum() + 9 * outside, point, offset, box))
        _, point, offset, box = min(choices, key=lambda choice: choice[0])
        text.xy = point[:2]
        text.set_position(tuple(offset * 72 / DPI))
        written.append((name, text.xy))
        taken.append(box)


def _taken(axes: Axes, named: Sequence[tuple[str, list[Point]]], hollow: Sequence[Point]) -> list[Box]:
    """Return the boxes of texts, of points with their bars, and of small steps along the lines."""
    pixels = axes.transData.transform
    taken = [np.array(text.get_window_extent().extents) for text in axes.texts]
    for x, y, sd in (*hollow, *(point for _, points in named for point in points)):
        taken.append(np.concatenate([pixels((x, y - sd)) - 9, pixels((x, y + sd)) + 9]))
    for _, points in named:
        for start, end in pairwise(pixels([point[:2] for point in sorted(points)])):
            steps = np.linspace(start, end, 2 + int(np.hypot(*(end - start)) / 6))
            taken += list(np.hstack([steps - 3, steps + 3]))
    return taken


def _candidates(
    axes: Axes, points: Sequence[Point], size: npt.NDArray[np.float64]
) -> Iterator[tuple[Point, npt.NDArray[np.float64], Box]]:
    """Yield places for a name of ``size``: its point, the offset from it in pixels, and the box it covers."""
    for point in points:
        at = axes.transData.transform(point[:2])
        for side in SIDES:
            offset = 14 * np.array(side) - size * (1 - np.array(side)) / 2
            yield point, offset, np.concatenate([at + offset, at + offset + size])


def _overlap(box: Box, others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the area that a box shares with each of the others ``(N, 4)``."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    area: npt.NDArray[np.float64] = sides.clip(min=0).prod(axis=1)
    return area
