"""Features of a synthetic face, drawn from an identity and moved by the action units of an expression."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fersweep.data.synthetic.parameters import Appearance, Expression, Identity, Rgb, mix
from fersweep.data.synthetic.sketch import Points, Sketch, T, arc, disc

_HEAD_ANGLE = np.linspace(0, 2 * math.pi, 48, endpoint=False)
_HEAD_COS, _HEAD_SIN = np.cos(_HEAD_ANGLE), np.sin(_HEAD_ANGLE)
_DARK: Rgb = (25, 18, 18)
_WHITE: Rgb = (238, 236, 230)
_FRAME: Rgb = (40, 36, 36)
_CAVITY: Rgb = (46, 16, 20)
_TONGUE: Rgb = (150, 70, 74)


def _outline(identity: Identity, chin: float) -> Points:
    lower = np.maximum(_HEAD_SIN, 0.0)
    x = _HEAD_COS * (identity.width - identity.jaw * lower**1.5) * (1 + 0.07 * np.sin(2 * _HEAD_ANGLE) ** 2)
    return np.stack([x, _HEAD_SIN + chin * lower**2], axis=1)


def _symmetric(*right: tuple[float, float]) -> Points:
    """Return the closed symmetric outline whose right half has the given points."""
    half = np.array(right)
    return np.concatenate([half, half[::-1] * (-1, 1)])


def body(sketch: Sketch, identity: Identity) -> None:
    """Hair behind the head, shoulders, neck and ears."""
    width = identity.width
    if identity.hairstyle in ("long", "bob"):
        end = 1.5 if identity.hairstyle == "long" else 0.85
        fall = (0.45, -1.05), (width + 0.08, -0.55), (width + 0.17, 0.1), (width + 0.12, end)
        sketch.fill(_symmetric((0.0, -1.17), *fall), mix(identity.hair, _DARK, 0.25))
    sketch.fill(_symmetric((0.4, 1.1), (1.15, 1.28), (1.6, 1.9)), identity.clothes)
    sketch.fill(_symmetric((0.42, 0.6), (0.46, 1.2), (0.0, 1.35)), mix(identity.skin, _DARK, 0.22))
    for sign in (-1, 1):
        ear = disc(sign * (width + 0.02), 0.0, 0.1 * identity.ears, 0.19 * identity.ears)
        sketch.fill(ear, mix(identity.skin, _DARK, 0.1))


def head(sketch: Sketch, identity: Identity, expression: Expression) -> None:
    """Outline of the face, lengthened by AU 26, and beard."""
    outline = _outline(identity, 0.11 * expression.both[26])
    sketch.fill(outline, identity.skin)
    if identity.beard:
        jaw = outline[np.abs(_HEAD_ANGLE - math.pi / 2) < 1.5]
        cheeks = arc((jaw[-1, 0] * 0.94, 0.05), identity.mouth_height - 0.15, (jaw[0, 0] * 0.94, 0.05), 2.6)
        sketch.fill(np.concatenate([jaw, cheeks]), mix(identity.skin, identity.hair, identity.beard))


def hair(sketch: Sketch, identity: Identity) -> None:
    """Hair on the skull."""
    if identity.hairstyle == "bald":
        return
    width, line, style = identity.width, identity.hairline, identity.hairstyle
    dip = {"fringe": -0.42, "bob": -0.5}.get(style, line)
    temple = {"long": 0.05, "bob": 0.1, "fringe": 0.0}.get(style, -0.25)
    top = 1.14 if style == "curly" else 1.08
    crown = np.stack([_HEAD_COS * (width + 0.06), _HEAD_SIN * top], axis=1)[24:]
    crown = np.concatenate([[(-width - 0.04, temple)], crown, [(width + 0.04, temple)]])
    if style == "parted":
        right, left = [(width - 0.1, -0.4), (0.35, line - 0.02)], [(-0.45, line + 0.1), (-width + 0.08, -0.4)]
        lower = np.array([*right, (-0.2, line - 0.18), *left])
    else:
        lower = arc((width - 0.07, -0.35), dip, (-width + 0.07, -0.35), 3.0)
    sketch.fill(np.concatenate([crown, lower]), identity.hair)
    if style == "curly":
        for x, y in ((-0.7, -0.6), (-0.5, -0.85), (-0.2, -1.0), (0.15, -1.02), (0.45, -0.88), (0.68, -0.62)):
            sketch.fill(disc(x * width / 0.78, y, 0.2, 0.18), identity.hair)


def eye(sketch: Sketch, identity: Identity, units: dict[int, float], sign: int, gaze: tuple[float, float]) -> None:
    """One eye: AU 5 opens it, AU 7, 6 and 43 close it; AU 6 lifts the cheek below and folds the corner."""
    x, y, half = sign * identity.eye_distance, -0.13, identity.eye_width
    opening = 1 + 0.75 * units[5] - 0.5 * units[7] - 0.35 * units[6] - 0.6 * units[43]
    upper = 0.085 * identity.eye_height * max(0.12, opening)
    lower = 0.05 * identity.eye_height * max(0.1, 1 + 0.2 * units[5] - 0.6 * units[7] - 0.9 * units[6])
    skin = identity.skin
    inner, outer = (x - sign * half, y + 0.015), (x + sign * half, y - identity.eye_slant)
    top, bottom = arc(inner, y - upper, outer, 2.4), arc(inner, y + lower, outer, 2.2)
    sketch.fill(disc(x, y - 0.02, half * 1.25, 0.15), mix(skin, _DARK, 0.07))
    sketch.fill(np.concatenate([top, bottom[::-1]]), _WHITE)
    at_x, at_y = x + gaze[0], y - 0.015 + gaze[1]
    sketch.fill(disc(at_x, at_y, 0.082, 0.082), identity.iris)
    sketch.fill(disc(at_x, at_y, 0.041, 0.041), _DARK)
    sketch.fill(disc(at_x - 0.025, at_y - 0.03, 0.017, 0.017), _WHITE)
    lid = arc(inner, y - max(upper + 0.05, 0.13), outer)
    sketch.fill(np.concatenate([top, lid[::-1]]), mix(skin, _DARK, 0.14))
    pouch = arc(inner, y + max(lower + 0.045, 0.1), outer)
    sketch.fill(np.concatenate([bottom, pouch[::-1]]), mix(skin, _DARK, 0.08))
    sketch.line(top, mix(_DARK, identity.hair, 0.2), 0.032)
    sketch.line(bottom, mix(skin, _DARK, 0.45), 0.012)
    if units[6] > 0.1:
        fold = mix(skin, _DARK, 0.35 * min(1.0, units[6]))
        sketch.line(arc(inner, y + 0.16, (outer[0], y + 0.06)), fold, 0.025)
        for tilt in (-0.05, 0.0, 0.05):
            end = (outer[0] + sign * 0.12, outer[1] + 2 * tilt)
            sketch.line([(outer[0] + sign * 0.03, outer[1] + tilt), end], fold, 0.015)


def brow(sketch: Sketch, identity: Identity, units: dict[int, float], sign: int) -> None:
    """One eyebrow: AU 1 lifts its inner end, AU 2 its outer part, AU 4 lowers it and draws it inwards."""
    base, thick = identity.brow_height, identity.brow_thickness
    inner = base - 0.15 * units[1] + 0.13 * units[4] + 0.03 * units[9]
    middle = base - 0.045 - 0.08 * units[1] - 0.10 * units[2] + 0.09 * units[4] + 0.02 * units[9]
    outer = base + 0.03 - identity.brow_slant - 0.13 * units[2] + 0.03 * units[4]
    start = identity.eye_distance - 0.19 - 0.06 * units[4]
    end = identity.eye_distance + 0.23
    line = arc((sign * start, inner), middle, (sign * end, outer))
    taper = np.stack([np.zeros_like(T), thick * (0.75 - 0.25 * T - 0.4 * np.maximum(T, 0) ** 2)], axis=1)
    sketch.fill(np.concatenate([line - taper, (line + taper * 0.6)[::-1]]), mix(identity.hair, _DARK, 0.35))


def forehead(sketch: Sketch, identity: Identity, expression: Expression) -> None:
    """Wrinkles: across the forehead for AU 1 and 2, between the brows for AU 4."""
    units, base = expression.both, identity.brow_height
    raised, knit = (units[1] + units[2]) / 2, units[4]
    if raised > 0.25 and identity.hairstyle not in ("fringe", "bob"):
        colour = mix(identity.skin, _DARK, 0.22 * min(1.0, raised))
        for y in (base - 0.2, base - 0.27):
            sketch.line(arc((-0.3, y + 0.02), y, (0.3, y + 0.02)), colour, 0.016)
    if knit > 0.2:
        colour = mix(identity.skin, _DARK, 0.45 * min(1.0, knit))
        for x in (-0.045, 0.045):
            sketch.line([(x * 1.2, base - 0.04), (x, base + 0.12)], colour, 0.02)


def nose(sketch: Sketch, identity: Identity, expression: Expression) -> None:
    """Bridge, wings and nostrils; AU 9 lifts the wings and wrinkles the bridge."""
    wrinkle = expression.both[9]
    skin, half = identity.skin, identity.nose_width * (1 + 0.18 * wrinkle)
    tip = identity.nose_length - 0.05 * wrinkle
    shade = mix(skin, _DARK, 0.28)
    side = np.array([(0.02, -0.2), (half * 0.55, tip - 0.02), (half * 0.9, tip + 0.03), (0.0, tip + 0.02)])
    sketch.fill(side, mix(skin, _DARK, 0.09))
    sketch.line([(0.055, -0.18), (0.065, 0.0), (half * 0.7, tip - 0.06)], mix(skin, _DARK, 0.16), 0.02)
    wing = np.array([(half * 0.95, tip - 0.07), (half * 1.1, tip - 0.01), (half * 0.8, tip + 0.04)])
    for sign in (-1, 1):
        sketch.line(wing * (sign, 1), shade, 0.025)
        sketch.fill(disc(sign * half * 0.45, tip + 0.03, 0.035, 0.02), mix(skin, _DARK, 0.6))
    sketch.line(arc((-half * 0.4, tip + 0.045), tip + 0.065, (half * 0.4, tip + 0.045)), shade, 0.02)
    if wrinkle > 0.15:
        colour = mix(skin, _DARK, 0.45 * min(1.0, wrinkle))
        for y in (-0.18, -0.11, -0.04):
            sketch.line(arc((-0.1, y - 0.03), y + 0.02, (0.1, y - 0.03)), colour, 0.018)


class _Mouth(NamedTuple):
    """Corners of the mouth, and heights of the lips' edges from top to bottom."""

    left: tuple[float, float]
    right: tuple[float, float]
    power: float
    top: float
    inner_top: float
    inner_bottom: float
    bottom: float

    def edge(self, height: float) -> Points:
        """Return the curve from corner to corner through ``height``."""
        return arc(self.left, height, self.right, self.power)


def _mouth_shape(identity: Identity, expression: Expression) -> _Mouth:
    """Return the mouth as shaped by AU 9, 10, 12, 15, 16, 20, 23, 25 and 26."""
    units, base = expression.both, identity.mouth_height
    opening = 0.36 * units[26] + 0.13 * units[25] + 0.06 * units[20]
    rise = 0.06 * units[10] + 0.04 * units[9]
    sag = (0.26 * opening + 0.5 * rise) * max(0.0, 1 - 1.2 * units[12])  # an open mouth's corners sink unless it smiles

    def corner(sign: int, side: dict[int, float]) -> tuple[float, float]:
        half = identity.mouth_width + 0.10 * side[12] + 0.11 * side[20] - 0.06 * side[23] - 0.12 * side[26]
        lift = 0.13 * side[12] - 0.12 * side[15] - 0.05 * side[20] - 0.02 * side[16] + identity.mouth_bias - sag
        return sign * half, base - lift

    inner_top = base + 0.035 * units[12] - 0.035 * units[15] - 0.28 * opening - rise
    inner_bottom = inner_top + opening + 0.6 * rise + 0.07 * units[16]
    lip = identity.lip * (1 - 0.6 * min(1.0, units[23]))
    power = 2 + min(1.0, units[26] + units[20])
    left, right = corner(-1, expression.left), corner(1, expression.right)
    return _Mouth(left, right, power, inner_top - lip, inner_top, inner_bottom, inner_bottom + 1.25 * lip)


def mouth(sketch: Sketch, identity: Identity, expression: Expression) -> None:
    """Lips, teeth and tongue, and the folds from nose to mouth."""
    shape, units, skin = _mouth_shape(identity, expression), expression.both, identity.skin
    depth = 0.5 * units[12] + 0.6 * units[9] + 0.3 * units[10]
    if depth > 0.1:
        nostril = identity.nose_width * 1.25, identity.nose_length
        for sign, (x, y) in ((-1, shape.left), (1, shape.right)):
            cheek = (x + sign * 0.05, (y + identity.nose_length) / 2)
            fold = np.array([(sign * nostril[0], nostril[1]), cheek, (x + sign * 0.07, y + 0.03)])
            sketch.line(fold, mix(skin, _DARK, 0.4 * min(1.0, depth)), 0.022)
    top = shape.edge(shape.top)
    top[:, 1] += 0.25 * (shape.inner_top - shape.top) * np.exp(-((T / 0.12) ** 2))  # Cupid's bow
    sketch.fill(np.concatenate([top, shape.edge(shape.bottom)[::-1]]), identity.lips)
    upper, lower = shape.edge(shape.inner_top), shape.edge(shape.inner_bottom)
    gap = shape.inner_bottom - shape.inner_top
    if gap > 0.025:
        inset = slice(2, -2)
        sketch.fill(np.concatenate([upper, lower[::-1]]), _CAVITY)
        if gap > 0.2:
            sketch.fill(disc(0.0, shape.inner_bottom - 0.06, 0.13, 0.06), _TONGUE)
        teeth = shape.edge(shape.inner_top + min(0.085, 0.75 * gap))
        sketch.fill(np.concatenate([upper[inset], teeth[inset][::-1]]), _WHITE)
        if units[16] > 0.25:
            teeth = shape.edge(shape.inner_bottom - min(0.05, 0.3 * gap))
            sketch.fill(np.concatenate([lower[inset], teeth[inset][::-1]]), mix(_WHITE, _DARK, 0.1))
    sketch.line(upper, mix(identity.lips, _DARK, 0.55), 0.022)
    chin = shape.bottom + 0.05
    sketch.line(arc((-0.12, chin), chin + 0.015, (0.12, chin)), mix(skin, _DARK, 0.16), 0.025)


def glasses(sketch: Sketch, identity: Identity) -> None:
    """Round frames, bridge and temples, if the subject wears glasses."""
    if not identity.glasses:
        return
    for sign in (-1, 1):
        ring = disc(sign * (identity.eye_distance + 0.01), -0.12, 0.245, 0.2)
        sketch.line(np.concatenate([ring, ring[:1]]), _FRAME, 0.03)
        temple = np.array([(sign * (identity.eye_distance + 0.25), -0.15), (sign * identity.width, -0.18)])
        sketch.line(temple, _FRAME, 0.03)
    inner = identity.eye_distance - 0.24
    sketch.line(arc((-inner, -0.14), -0.18, (inner, -0.14)), _FRAME, 0.03)


def occlusion(sketch: Sketch, identity: Identity, appearance: Appearance) -> None:
    """A hand, a bar or strands of hair in front of part of the face."""
    a, b, c = appearance.occlusion_at
    if appearance.occlusion == "hand":
        sign = 1 if a > 0 else -1
        skin = mix(identity.skin, _DARK, 0.12)
        for finger in range(4):
            x, y = sign * (0.3 + 0.15 * finger + 0.15 * abs(a)), 0.25 + 0.3 * c + 0.05 * abs(finger - 1.5)
            points = np.array([(x, y), (x + sign * 0.12, y + 1.2)])
            sketch.line(points, mix(skin, _DARK, 0.3), 0.17)
            sketch.line(points, skin, 0.14)
    elif appearance.occlusion == "bar":
        along, across, grey = np.array([0.5, 0.3 * a]), np.array([-0.03, 0.08 + 0.06 * c]), 40 + 180 * c
        corners = np.array([-along - across, along - across, along + across, across - along])
        sketch.fill(corners + np.array((0.6 * a, 0.5 * b)), (grey, grey, grey))
    elif appearance.occlusion == "strands":
        for strand in range(4):
            x = 0.6 * a + 0.08 * strand
            fall = np.array([(x * 0.7, -0.95), (x + 0.1 * b, -0.45), (x + 0.25 * b, -0.05 + 0.3 * c)])
            sketch.line(fall, identity.hair, 0.035)
