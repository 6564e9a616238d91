"""Shapes of a synthetic face: curves and discs in face coordinates, drawn anti-aliased with OpenCV.

Coordinates are in units of half the head's height, the origin between eyes and nose, x to the image's right, y down.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from fersweep.data.synthetic.parameters import Appearance, Rgb

Points = npt.NDArray[np.float64]

T = np.linspace(-1, 1, 15)  # positions of the points of `arc`, from the left end to the right
_ABS_T = np.abs(T)
_ANGLE = np.linspace(0, 2 * math.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)
_FRACTION_BITS = 6  # OpenCV draws at fixed-point positions


def arc(left: tuple[float, float], middle: float, right: tuple[float, float], power: float = 2.0) -> Points:
    """Return 15 points of a curve from ``left`` to ``right`` through height ``middle``; a larger power is fuller."""
    (x0, y0), (x1, y1) = left, right
    centre = (y0 + y1) / 2
    points = np.empty((len(T), 2))
    points[:, 0] = (x0 + x1) / 2 + (x1 - x0) / 2 * T
    points[:, 1] = centre + (y1 - y0) / 2 * T + (middle - centre) * (1 - _ABS_T**power)
    return points


def disc(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    """Return an ellipse of 28 points."""
    return _CIRCLE * (radius_x, radius_y) + (x, y)


class Sketch:
    """Shapes in face coordinates, in drawing order."""

    def __init__(self) -> None:
        self._shapes: list[tuple[Points, Rgb, float]] = []

    def fill(self, points: ArrayLike, colour: Rgb) -> None:
        """Add a filled polygon."""
        self.line(points, colour, 0.0)

    def line(self, points: ArrayLike, colour: Rgb, width: float) -> None:
        """Add an open line ``width`` units wide, at least a pixel of the canvas."""
        self._shapes.append((np.asarray(points), colour, width))

    def draw(self, canvas: npt.NDArray[np.uint8], appearance: Appearance) -> None:
        """Rotate the head by its pose and draw all shapes on ``canvas`` (uint8, RGB)."""
        points = np.concatenate([shape for shape, _, _ in self._shapes])
        near = np.maximum(0.0, 1 - (points**2).sum(axis=1, keepdims=True) / 1.6)
        points = points + near * (2.2 * appearance.yaw, 2.2 * appearance.pitch)
        side = canvas.shape[0]
        unit = side / 2 / 1.1 * appearance.scale
        cos, sin = math.cos(appearance.roll) * unit, math.sin(appearance.roll) * unit
        centre = side * (0.5 + appearance.shift[0]), side * (0.51 + appearance.shift[1])
        mapped = points @ np.array([[cos, sin], [-sin, cos]]) + centre - 0.5
        fixed = np.rint(mapped * (1 << _FRACTION_BITS)).astype(np.int32)
        for shape, colour, width in self._shapes:
            part, fixed = fixed[: len(shape)], fixed[len(shape) :]
            if width:
                cv2.polylines(canvas, [part], False, colour, max(1, round(width * unit)), cv2.LINE_AA, _FRACTION_BITS)
            else:
                cv2.fillPoly(canvas, [part], colour, cv2.LINE_AA, _FRACTION_BITS)
