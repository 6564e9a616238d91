"""Random parameters of a synthetic face: identity, expression and appearance.

An emotion is a set of facial action units (Ekman and Friesen's FACS) as listed in EMFACS; each image draws its own
intensities, asymmetry and, sometimes, a blend with a commonly confused emotion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Rgb = tuple[float, float, float]

EMFACS: dict[str, dict[int, float]] = {
    "angry": {4: 1.0, 5: 0.5, 7: 0.9, 23: 1.0},
    "disgust": {9: 1.0, 10: 0.6, 15: 0.6, 16: 0.5},
    "fear": {1: 1.0, 2: 0.7, 4: 0.7, 5: 1.0, 20: 1.0, 26: 0.45},
    "happy": {6: 1.0, 12: 1.0, 25: 0.5},
    "neutral": {},
    "sad": {1: 1.0, 4: 0.6, 15: 1.0, 43: 0.4},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.8, 26: 1.0},
}
"""Emotion -> action unit -> mean intensity at a full display.

1 inner brow raiser, 2 outer brow raiser, 4 brow lowerer, 5 upper lid raiser, 6 cheek raiser, 7 lid tightener, 9 nose
wrinkler, 10 upper lip raiser, 12 lip corner puller, 15 lip corner depressor, 16 lower lip depressor, 20 lip stretcher,
23 lip tightener, 25 lips part, 26 jaw drop, 43 eye closure.
"""

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 16, 20, 23, 25, 26, 43)

CONFUSED_WITH = {
    "angry": ("disgust", "sad", "neutral"),
    "disgust": ("angry", "sad"),
    "fear": ("surprise", "sad"),
    "happy": ("neutral", "surprise"),
    "neutral": ("sad", "angry", "happy"),
    "sad": ("neutral", "angry", "fear"),
    "surprise": ("fear", "happy"),
}
"""The blends of ambiguous images: the confusions of people and networks on FER2013."""

AMBIGUOUS = 0.16  # share of images blended with an emotion of CONFUSED_WITH
SPURIOUS = 0.5  # share of images with one small movement that belongs to no emotion

_SKIN: tuple[Rgb, ...] = ((246, 214, 190), (232, 190, 160), (205, 155, 120), (160, 112, 82), (112, 76, 56))
_HAIR: tuple[Rgb, ...] = ((28, 22, 20), (58, 38, 28), (96, 62, 40), (150, 108, 62), (198, 166, 112), (136, 134, 132))
_CLOTHES: tuple[Rgb, ...] = ((60, 70, 110), (120, 50, 50), (70, 100, 80), (190, 190, 185), (40, 40, 45), (170, 140, 90))


def mix(one: Rgb, other: Rgb, share: float) -> Rgb:
    """Return the colour ``share`` of the way from ``one`` to ``other``."""
    return tuple(a + (b - a) * share for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def _between(rng: np.random.Generator, colours: tuple[Rgb, ...]) -> Rgb:
    """Draw a colour along the polyline through ``colours``."""
    position = rng.uniform(0, len(colours) - 1)
    index = int(position)
    return mix(colours[index], colours[min(index + 1, len(colours) - 1)], position - index)


class Identity:
    """A subject, drawn at random. Lengths are in units of half the head's height."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.skin = _between(rng, _SKIN)
        female = rng.random() < 0.5
        self.hairstyle = rng.choice(
            ["long", "bob", "fringe", "short"] if female else ["short", "parted", "bald", "curly"]
        )
        self.hair = _between(rng, _HAIR)
        self.lips = mix(self.skin, (170, 50, 60), rng.uniform(0.45, 0.75) if female else rng.uniform(0.25, 0.4))
        self.clothes = _CLOTHES[rng.integers(len(_CLOTHES))]
        self.width = rng.uniform(0.70, 0.84)
        self.jaw = rng.uniform(0.06, 0.2) if female else rng.uniform(-0.04, 0.12)
        self.hairline = rng.uniform(-0.74, -0.6)
        self.brow_height = rng.uniform(-0.38, -0.31)
        self.brow_thickness = rng.uniform(0.03, 0.05) if female else rng.uniform(0.045, 0.075)
        self.brow_slant = rng.uniform(-0.02, 0.03)
        self.eye_distance = rng.uniform(0.31, 0.37)
        self.eye_width = rng.uniform(0.14, 0.175)
        self.eye_height = rng.uniform(0.9, 1.15)
        self.eye_slant = rng.uniform(-0.015, 0.03)
        self.iris = _between(rng, ((60, 38, 24), (90, 62, 36), (70, 96, 80), (84, 120, 150)))
        self.nose_length = rng.uniform(0.16, 0.26)
        self.nose_width = rng.uniform(0.11, 0.17)
        self.mouth_width = rng.uniform(0.24, 0.31)
        self.mouth_height = rng.uniform(0.48, 0.55)
        self.lip = rng.uniform(0.04, 0.07) if female else rng.uniform(0.028, 0.05)
        self.mouth_bias = rng.normal(0, 0.012)
        self.beard = 0.0 if female or rng.random() < 0.6 else rng.uniform(0.15, 0.55)
        self.glasses = bool(rng.random() < 0.15)
        self.ears = rng.uniform(0.8, 1.2)


class Appearance:
    """Pose (radians, units), light, occlusion and sharpness of a picture, drawn at random."""

    def __init__(self, rng: np.random.Generator) -> None:
        wall = rng.uniform(40, 220)
        first: Rgb = (wall, wall * rng.uniform(0.9, 1.05), wall * rng.uniform(0.85, 1.1))
        occluded = rng.random() < 0.14
        self.roll = rng.normal(0, 0.09)
        self.yaw = rng.normal(0, 0.075)
        self.pitch = rng.normal(0, 0.05)
        self.scale = rng.uniform(0.9, 1.08)
        self.shift = (rng.normal(0, 0.03), rng.normal(0, 0.03))
        self.background = (first, mix(first, (128, 128, 128), rng.uniform(0, 0.5)))
        self.light = (rng.normal(0, 0.18), rng.normal(-0.05, 0.12))
        self.contrast = rng.uniform(0.65, 1.1)
        self.brightness = rng.normal(0, 12)
        self.gamma = rng.uniform(0.75, 1.35)
        self.occlusion = ("hand", "bar", "strands")[rng.integers(3)] if occluded else "none"
        self.occlusion_at = (rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, 1))
        self.blur = max(0.0, rng.normal(0.0, 0.4))
        self.noise = rng.uniform(0.0, 6.0)


@dataclass(frozen=True)
class Expression:
    """Intensities of the action units in ``[0, 1.2]`` in the image's left and right half, and the gaze."""

    left: dict[int, float]
    right: dict[int, float]
    gaze: tuple[float, float]

    @cached_property
    def both(self) -> dict[int, float]:
        """Mean of the two halves."""
        return {unit: (value + self.right[unit]) / 2 for unit, value in self.left.items()}


def sample_expression(rng: np.random.Generator, emotion: str) -> Expression:
    """Draw a display of an emotion: intensities around EMFACS, blends, asymmetry and stray movements."""
    level = 0.35 + 0.65 * rng.beta(2.2, 1.3)
    units = {unit: level * weight for unit, weight in EMFACS[emotion].items()}
    if rng.random() < AMBIGUOUS:
        others = CONFUSED_WITH[emotion]
        share = rng.uniform(0.25, 0.5)
        units = {unit: value * (1 - share) for unit, value in units.items()}
        for unit, weight in EMFACS[others[rng.integers(len(others))]].items():
            units[unit] = units.get(unit, 0.0) + share * weight * level
    units = {unit: value * rng.uniform(0.65, 1.2) for unit, value in units.items()}
    if rng.random() < SPURIOUS:
        stray = UNITS[rng.integers(len(UNITS))]
        units[stray] = units.get(stray, 0.0) + rng.uniform(0.05, 0.3)
    if emotion in ("happy", "angry", "disgust") and rng.random() < 0.45:
        units[25] = units.get(25, 0.0) + level * rng.uniform(0.3, 0.7)
    lean = rng.normal(0, 0.1)
    left = {unit: max(0.0, units.get(unit, 0.0) * (1 + lean)) for unit in UNITS}
    right = {unit: max(0.0, units.get(unit, 0.0) * (1 - lean)) for unit in UNITS}
    return Expression(left, right, (rng.normal(0, 0.02), rng.normal(0, 0.01)))
