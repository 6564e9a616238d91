"""Drawing of a synthetic face: its features on a canvas, then light, blur and noise of the picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.synthetic import features
from fersweep.data.synthetic.parameters import Appearance, Expression, Identity
from fersweep.data.synthetic.sketch import Sketch

DRAWING_VERSION = 1
"""Part of the source's fingerprint and thus of the cache's key: increase it with every change to the pixels."""

_SUPERSAMPLING = 2
_SMALLEST_CANVAS = 96  # below it, lines of one pixel would be too thick


def draw_face(
    identity: Identity, expression: Expression, appearance: Appearance, rng: np.random.Generator, size: int
) -> npt.NDArray[np.uint8]:
    """Draw one picture: uint8 RGB ``(size, size, 3)``."""
    side = size * max(_SUPERSAMPLING, -(-_SMALLEST_CANVAS // size))
    canvas = np.empty((side, side, 3), dtype=np.uint8)
    canvas[:] = appearance.background[0]
    sketch = Sketch()
    features.body(sketch, identity)
    features.head(sketch, identity, expression)
    halves = ((-1, expression.left), (1, expression.right))
    for sign, units in halves:
        features.eye(sketch, identity, units, sign, expression.gaze)
    features.nose(sketch, identity, expression)
    features.mouth(sketch, identity, expression)
    features.hair(sketch, identity)
    for sign, units in halves:
        features.brow(sketch, identity, units, sign)
    features.forehead(sketch, identity, expression)
    features.glasses(sketch, identity)
    features.occlusion(sketch, identity, appearance)
    sketch.draw(canvas, appearance)
    small = np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return _photograph(small, appearance, rng)


def _photograph(
    image: npt.NDArray[np.uint8], appearance: Appearance, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Apply directional light, contrast, gamma, blur (relative to 48 pixels) and sensor noise."""
    size = len(image)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + appearance.light[0] * ramp[None, :] + appearance.light[1] * ramp[:, None]
    level = np.arange(256) / 255
    curve = ((level**appearance.gamma - 0.5) * appearance.contrast + 0.5) * 255 + appearance.brightness
    pixels = np.clip(curve, 0, 255).astype(np.float32)[image] * light[..., None]
    sigma = appearance.blur * size / 48
    if sigma > 0.3:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.float32)
    pixels += rng.standard_normal((size, size, 1), dtype=np.float32) * appearance.noise
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
