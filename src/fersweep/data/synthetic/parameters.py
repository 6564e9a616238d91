"""What a synthetic face is drawn from: who it is, what it feels, and how the picture was taken.

An emotion is a set of facial action units (Ekman and Friesen's FACS) as EMFACS lists them; each image draws its own
intensities, asymmetry and, now and then, a blend with an emotion that people confuse it with.
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


@dataclass(frozen=True)
class Identity:
    """What stays the same about one subject. Lengths are in units of half the head's height."""

    skin: Rgb
    hair: Rgb
    lips: Rgb
    clothes: Rgb
    width: float
    jaw: float
    hairstyle: str
    hairline: float
    brow_height: float
    brow_thickness: float
    brow_slant: float
    eye_distance: float
    eye_width: float
    eye_height: float
    eye_slant: float
    iris: Rgb
    nose_length: float
    nose_width: float
    mouth_width: float
    mouth_height: float
    lip: float
    mouth_bias: float
    beard: float
    glasses: bool
    ears: float


@dataclass(frozen=True)
class Expression:
    """Intensities of the action units in ``[0, 1.2]`` on the image's left and right half, and where the eyes look."""

    left: dict[int, float]
    right: dict[int, float]
    gaze: tuple[float, float]

    @cached_property
    def both(self) -> dict[int, float]:
        """The mean of the two halves."""
        return {unit: (value + self.right[unit]) / 2 for unit, value in self.left.items()}


@dataclass(frozen=True)
class Appearance:
    """How the picture was taken: pose (radians, units), light, occlusion, sharpness."""

    roll: float
    yaw: float
    pitch: float
    scale: float
    shift: tuple[float, float]
    background: tuple[Rgb, Rgb]
    light: tuple[float, float]
    contrast: float
    brightness: float
    gamma: float
    occlusion: str
    occlusion_at: tuple[float, float, float]
    blur: float
    noise: float


def mix(one: Rgb, other: Rgb, share: float) -> Rgb:
    """The colour ``share`` of the way from ``one`` to ``other``."""
    return tuple(a + (b - a) * share for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def _between(rng: np.random.Generator, colours: tuple[Rgb, ...]) -> Rgb:
    """A colour somewhere along the polyline through ``colours``."""
    position = rng.uniform(0, len(colours) - 1)
    index = int(position)
    return mix(colours[index], colours[min(index + 1, len(colours) - 1)], position - index)


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw one subject."""
    skin = _between(rng, _SKIN)
    female = rng.random() < 0.5
    hairstyle = rng.choice(["long", "bob", "fringe", "short"] if female else ["short", "parted", "bald", "curly"])
    return Identity(
        skin=skin,
        hair=_between(rng, _HAIR),
        lips=mix(skin, (170, 50, 60), rng.uniform(0.45, 0.75) if female else rng.uniform(0.25, 0.4)),
        clothes=_CLOTHES[rng.integers(len(_CLOTHES))],
        width=rng.uniform(0.70, 0.84),
        jaw=rng.uniform(0.06, 0.2) if female else rng.uniform(-0.04, 0.12),
        hairstyle=str(hairstyle),
        hairline=rng.uniform(-0.74, -0.6),
        brow_height=rng.uniform(-0.38, -0.31),
        brow_thickness=rng.uniform(0.03, 0.05) if female else rng.uniform(0.045, 0.075),
        brow_slant=rng.uniform(-0.02, 0.03),
        eye_distance=rng.uniform(0.31, 0.37),
        eye_width=rng.uniform(0.14, 0.175),
        eye_height=rng.uniform(0.9, 1.15),
        eye_slant=rng.uniform(-0.015, 0.03),
        iris=_between(rng, ((60, 38, 24), (90, 62, 36), (70, 96, 80), (84, 120, 150))),
        nose_length=rng.uniform(0.16, 0.26),
        nose_width=rng.uniform(0.11, 0.17),
        mouth_width=rng.uniform(0.24, 0.31),
        mouth_height=rng.uniform(0.48, 0.55),
        lip=rng.uniform(0.04, 0.07) if female else rng.uniform(0.028, 0.05),
        mouth_bias=rng.normal(0, 0.012),
        beard=0.0 if female or rng.random() < 0.6 else rng.uniform(0.15, 0.55),
        glasses=bool(rng.random() < 0.15),
        ears=rng.uniform(0.8, 1.2),
    )


def sample_expression(rng: np.random.Generator, emotion: str) -> Expression:
    """Draw one display of an emotion: intensities around EMFACS, blends, asymmetry and stray movements."""
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


def sample_appearance(rng: np.random.Generator) -> Appearance:
    """Draw pose, light, occlusion and sharpness of one picture."""
    wall = rng.uniform(40, 220)
    first: Rgb = (wall, wall * rng.uniform(0.9, 1.05), wall * rng.uniform(0.85, 1.1))
    occluded = rng.random() < 0.14
    return Appearance(
        roll=rng.normal(0, 0.09),
        yaw=rng.normal(0, 0.075),
        pitch=rng.normal(0, 0.05),
        scale=rng.uniform(0.9, 1.08),
        shift=(rng.normal(0, 0.03), rng.normal(0, 0.03)),
        background=(first, mix(first, (128, 128, 128), rng.uniform(0, 0.5))),
        light=(rng.normal(0, 0.18), rng.normal(-0.05, 0.12)),
        contrast=rng.uniform(0.65, 1.1),
        brightness=rng.normal(0, 12),
        gamma=rng.uniform(0.75, 1.35),
        occlusion=("hand", "bar", "strands")[rng.integers(3)] if occluded else "none",
        occlusion_at=(rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, 1)),
        blur=max(0.0, rng.normal(0.0, 0.4)),
        noise=rng.uniform(0.0, 6.0),
    )
