"""Comparison of a dataset with known copies, image by image, so that a part of one or a renamed one is recognised.

`known.npz` holds two tables of 4 bytes per different image of FER2013's Kaggle archive (35,887 images), and no pixels:

- *identical*: a digest of the 48×48 decoded pixels;
- *close*: a digest of the mean brightness of 4×4 blocks of 12×12 pixels, in steps of `STEP`.
  A mean within `MARGIN` of the next step is tried on both sides.
  Compression and resizing leave it; equalisation, another contrast and another photograph do not.

An image that is none of the archive's is taken for an identical one with a probability of 8e-6, and for a close one,
tried about `PROBES` times, of 4e-5: of another 35,887 images, 0.3 and 1.4.
`docs/how-to/data.md` has the measurements.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fersweep.data import twins

Hashes = npt.NDArray[np.uint32]

TABLES = Path(__file__).with_name("known.npz")  # sorted, as differences; `benchmarks.checks.copies` writes it
NAME = "Kaggle archive of FER2013"
STEP, MARGIN = 12.0, 0.6  # grey levels
PROBES = 5  # mean number of digests tried for one image
WORTH_TELLING = 0.01  # least share of another dataset's images that are in the archive
_GRID, _MOST = 4, 10  # blocks per side, and how many of an image's block means are tried on both sides
_FACTORS = np.frombuffer(hashlib.shake_256(b"block means").digest(8 * _GRID**2), "<u8").astype(np.uint64)


def compare(dataset: str, small: npt.NDArray[np.uint8], sizes: list[str]) -> dict[str, Any] | None:
    """Count the images that are those of the archive.

    Args:
        dataset: its name; those of another than fer2013 are compared, too.
        small: all images as `twins.reduced` returns them, uint8 ``(N, 48, 48)``.
        sizes: their sizes before that, such as ``48x48``; empty for an unreadable one, which is not compared.

    Returns:
        ``known`` (name of the copy), ``images`` (compared), ``identical``, ``close`` (not identical, but so after
        compression or resizing) and ``other`` images; ``None`` for another dataset without images of the archive.
    """
    readable = np.array([bool(size) for size in sizes], bool)
    own = np.array([size == f"{twins.SIDE}x{twins.SIDE}" for size in sizes], bool)
    identical_table, close_table = tables()
    identical = np.zeros(len(small), bool)
    identical[own] = np.isin(digests(small[own]), identical_table)
    rest = np.flatnonzero(readable & ~identical)
    close = int(_close(small[rest], close_table).sum())
    found = int(identical.sum())
    if dataset != "fer2013" and found + close < max(1, WORTH_TELLING * readable.sum()):
        return None
    images = int(readable.sum())
    return {"known": NAME, "images": images, "identical": found, "close": close, "other": images - found - close}


def sentence(found: dict[str, Any]) -> str:
    """Return one sentence on the result of `compare`."""
    text = f"The {found['known']} has {found['identical']:,} of {found['images']:,} images"
    if found["close"]:
        text += f", and {found['close']:,} more up to compression or resizing"
    if not found["other"]:
        return f"{text}."
    text += f"; it lacks {found['other']:,}: changed pixels, or other pictures"
    return f"{text}." if found["other"] < found["images"] / 2 else f"{text}. Get another copy to compare results."


@cache
def tables() -> tuple[Hashes, Hashes]:
    """Return the sorted digests of the archive's identical and close images, uint32 ``(N,)`` each."""
    with np.load(TABLES, allow_pickle=False) as stored:
        return np.cumsum(stored["identical"], dtype=np.uint32), np.cumsum(stored["close"], dtype=np.uint32)


def digests(images: npt.NDArray[np.uint8]) -> Hashes:
    """Return a digest of every image of ``(N, 48, 48)``: uint32 ``(N,)``."""
    joined = b"".join(twins.digest(image)[:4] for image in images)
    return np.frombuffer(joined, "<u4").astype(np.uint32)


def block_digests(images: npt.NDArray[np.uint8]) -> Hashes:
    """Return a digest of the block means of every image of ``(N, 48, 48)``: uint32 ``(N,)``."""
    return _folded(_sums(np.floor(_means(images))))


def textured(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which images ``(N, 48, 48)`` have more than one block mean; the others are close to any blank image."""
    return np.asarray(np.ptp(_means(images), axis=1) >= 1)


def _close(images: npt.NDArray[np.uint8], table: Hashes) -> npt.NDArray[np.bool_]:
    """Return which images ``(N, 48, 48)`` have a digest in ``table``, of all combinations of steps in reach."""
    means = _means(images)
    steps = np.floor(means)
    above = means - steps  # 0 to 1
    distance = np.minimum(above, 1 - above) * STEP
    rank = distance.argsort(axis=1).argsort(axis=1)
    doubtful = (distance < MARGIN) & (rank < _MOST)
    owner, sums = np.arange(len(images)), _sums(steps)
    for block in range(means.shape[1]):
        also = doubtful[owner, block]
        change = np.where(above[owner[also], block] < 0.5, np.negative(_FACTORS)[block], _FACTORS[block])
        owner, sums = np.concatenate((owner, owner[also])), np.concatenate((sums, sums[also] + change))
    found = np.zeros(len(images), bool)
    found[owner[np.isin(_folded(sums), table)]] = True
    return found & textured(images)


def _means(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the block means in steps: float64 ``(N, 16)``, exact sums divided once."""
    side = twins.SIDE // _GRID
    blocks = images.reshape(len(images), _GRID, side, _GRID, side).sum(axis=(2, 4), dtype=np.int64)
    return blocks.reshape(len(images), _GRID**2) / (side * side * STEP)


def _sums(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    return np.asarray((steps.astype(np.uint64) * _FACTORS).sum(axis=1, dtype=np.uint64))


def _folded(sums: npt.NDArray[np.uint64]) -> Hashes:
    return np.asarray(sums >> np.uint64(32), np.uint32)
