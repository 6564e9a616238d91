"""Oddities of a dataset's pixels that tell a changed copy: equalised, clipped, narrow, enlarged, framed, compressed.

Each measure is of one image; the dataset is odd where it holds for a `TOLD` of the images examined.
`docs/how-to/data.md` has the measurements behind the thresholds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fersweep.data.images import Pixels, Records, UnreadableImageError, parallel, to_channels

SAMPLE = 2_000  # images examined, evenly spaced in the order of ids
TOLD = 0.25  # least share of images that makes a dataset odd
FLAT = 0.02  # greatest mean distance of an image's cumulative histogram from that of equally frequent values
CLIPPED = 0.1  # least share of pixels at 0 or 255
NARROW = 64  # grey levels from the darkest to the brightest pixel, exclusive
SMOOTH = 0.38  # greatest ratio of second differences over one pixel and over two
REPEATED = 0.3  # least share of rows that are equal to the row above
SMALL = 128  # pixels of the shorter side above which detail of single pixels does not matter
BORDER, EVEN = 2, 8  # pixels of a border, and grey levels within it
BLOCKS = 1.25  # least ratio of the steps at 8-pixel boundaries and within the blocks
MIDDLE = 512  # pixels per side in which JPEG's blocks are measured
LEAST = 16  # pixels per side of an image that can be examined

TEXTS = {
    "flat": "have a flat histogram, as equalised pictures do",
    "clipped": "have a tenth of their pixels or more at 0 or 255 (clipped)",
    "narrow": "use less than a quarter of the range 0 to 255 (dataset.preprocessing.min_max=true stretches them)",
    "enlarged": "have no detail of single pixels (enlarged or blurred)",
    "border": "have a border of one brightness on two sides or more",
}


def examine(records: Records, sample: int = SAMPLE) -> dict[str, Any]:
    """Examine the pixels of at most ``sample`` images at their original size; unreadable and tiny ones are left out.

    Returns:
        ``examined`` (images); ``shares``: measure -> share of them; ``blockiness`` (1 without JPEG's blocks, ``None``
        if unknown); ``odd``: a phrase on each measure that is odd.
    """
    chosen = np.unique(np.linspace(0, max(0, len(records) - 1), min(sample, len(records))).astype(int))

    def one(position: int) -> tuple[dict[str, bool], tuple[float, float] | None] | None:
        try:
            image = to_channels(records.read(int(chosen[position])), 1)
        except UnreadableImageError:
            return None
        return measure(image) if min(image.shape) >= LEAST else None

    found = [each for each in parallel(len(chosen), one) if each is not None]
    shares = {name: sum(flags[name] for flags, _ in found) / max(1, len(found)) for name in TEXTS}
    steps = np.array([each for _, each in found if each is not None]).reshape(-1, 2).sum(axis=0)
    blockiness = float(steps[0] / steps[1]) if steps[1] else None
    odd = [f"{share:.0%} {TEXTS[name]}" for name, share in shares.items() if share >= TOLD]
    if blockiness is not None and blockiness >= BLOCKS and max(shares["enlarged"], shares["border"]) < TOLD:
        odd.append(f"JPEG blocks are visible (steps between them {blockiness:.2f} times those within)")
    return {"examined": len(found), "shares": shares, "blockiness": blockiness, "odd": odd}


def line(found: dict[str, Any]) -> str:
    """Return the result of `examine` in one line."""
    return f"Pixels of {found['examined']:,} images: {'; '.join(found['odd']) or 'nothing odd'}."


def measure(image: Pixels) -> tuple[dict[str, bool], tuple[float, float] | None]:
    """Return which of `TEXTS` hold for a grey image ``(H, W)``, and its mean steps at and within JPEG's blocks.

    A border is cut off before the others are measured; an image with one is neither clipped nor has steps.
    """
    spread = int(np.ptp(image))
    narrow = spread < NARROW
    sides = [] if narrow else _sides(image)
    border = len(sides) >= 2
    inner = _without_border(image) if border else image
    histogram = np.bincount(inner.ravel(), minlength=256) / inner.size
    flags = {
        "flat": not narrow and _distance_from_flat(histogram) <= FLAT,
        "clipped": not (narrow or border) and bool(histogram[0] + histogram[255] >= CLIPPED),
        "narrow": narrow,
        "enlarged": not narrow and min(inner.shape) <= SMALL and _is_enlarged(inner),
        "border": border,
    }
    return flags, None if border else _steps(image)


def _distance_from_flat(histogram: npt.NDArray[np.float64]) -> float:
    middle = histogram.cumsum() - histogram / 2
    return float((np.abs(middle - (np.arange(256) + 0.5) / 256) * histogram).sum())


def _sides(image: Pixels) -> list[int]:
    edges = (image[:BORDER], image[-BORDER:], image[:, :BORDER], image[:, -BORDER:])
    return [number for number, edge in enumerate(edges) if int(np.ptp(edge)) <= EVEN]


def _without_border(image: Pixels) -> Pixels:
    """Cut off all outer rows and columns of one brightness, as long as `LEAST` pixels per side remain."""
    rows, columns = (np.flatnonzero(np.ptp(image, axis=axis) > EVEN) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return image
    inner = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inner if min(inner.shape) >= LEAST else image


def _is_enlarged(image: Pixels) -> bool:
    """Return whether an image is smooth from pixel to pixel, or repeats its rows."""
    values = image.astype(np.int16)
    fine, coarse = (sum(np.abs(_second(each, step)).mean() for each in (values, values.T)) for step in (1, 2))
    repeated = (image[1:] == image[:-1]).all(axis=1).mean()
    return bool(repeated >= REPEATED or (coarse > 0 and fine / coarse <= SMOOTH))


def _second(values: npt.NDArray[np.int16], step: int) -> npt.NDArray[np.int16]:
    return values[2 * step :] - 2 * values[step:-step] + values[: -2 * step]


def _steps(image: Pixels) -> tuple[float, float]:
    """Return the mean absolute difference of neighbours across 8-pixel boundaries, and in the middle of the blocks.

    Of a large image, the middle of `MIDDLE` pixels per side is measured.
    """
    top, left = (max(0, length - MIDDLE) // 16 * 8 for length in image.shape)
    values = image[top : top + MIDDLE, left : left + MIDDLE].astype(np.int16)
    rows, columns = (np.abs(np.diff(each, axis=0)).mean(axis=1) for each in (values, values.T))
    at = np.concatenate((rows[7::8], columns[7::8])).mean()
    within = np.concatenate([each[start::8] for each in (rows, columns) for start in (2, 3, 4)]).mean()
    return float(at), float(within)
