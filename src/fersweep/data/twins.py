"""Twins: test images with a duplicate or near-duplicate in training or validation.

*Identical* images have equal decoded pixels, as the network is given them. *Near-identical* ones have a normalised
correlation of at least `NEAR`, in grey and at `SIDE` × `SIDE` pixels: copies that were re-saved, rescaled, shifted by a
pixel or watermarked, or differ in brightness or contrast. Mirrored copies are not searched for.

`docs/how-to/data.md` has the measurements behind the threshold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.images import Pixels, to_channels
from fersweep.data.samples import Indices, Samples
from fersweep.data.splits import Split
from fersweep.errors import UserError

Mask = npt.NDArray[np.bool_]

NEAR = 0.98  # least normalised correlation of near-identical images
SIDE = 48  # pixels per side at which images are correlated; larger ones are reduced to it by area
_COARSE, _MARGIN = 8, 0.02
"""Pixels per side at which pairs are pre-screened, and by how much less than `NEAR` they may correlate there.

Of FER2013's pairs that reach `NEAR`, none has less than 0.987 at this size.
"""

_ROWS, _COLUMNS = 512, 8192  # pairs that are pre-screened at once: 16 MiB


@dataclass(frozen=True)
class Masks:
    """Masks of the test images with a twin in one part, bool ``(N,)`` over all samples.

    Attributes:
        identical: they have an identical image there.
        near: they have a near-identical image there, and no identical one.
        same_label: a twin there has their label; of an image with identical twins, one of these.
    """

    identical: Mask
    near: Mask
    same_label: Mask

    def counts(self) -> dict[str, int]:
        """Return the numbers of ``identical`` and ``near`` images, and of those whose twins all have another label."""
        other = ~self.same_label
        return {
            "identical": int(self.identical.sum()),
            "identical_other_label": int((self.identical & other).sum()),
            "near": int(self.near.sum()),
            "near_other_label": int((self.near & other).sum()),
        }


@dataclass(frozen=True)
class Twins:
    """Masks of the test images with a twin in the training part, and in the validation part."""

    train: Masks
    val: Masks

    @property
    def either(self) -> Masks:
        """Masks of the test images with a twin in either part."""
        identical = self.train.identical | self.val.identical
        near = (self.train.near | self.val.near) & ~identical
        same = [masks.same_label & (masks.identical | near) for masks in (self.train, self.val)]
        return Masks(identical, near, same[0] | same[1])

    @property
    def any(self) -> Mask:
        """Mask of the test images with a twin of either kind in either part, bool ``(N,)`` over all samples."""
        return self.either.identical | self.either.near

    def counts(self) -> dict[str, dict[str, int]]:
        """Return `Masks.counts` of ``train``, ``val`` and ``either``."""
        return {"train": self.train.counts(), "val": self.val.counts(), "either": self.either.counts()}


def find(samples: Samples, split: Split) -> Twins:
    """Find the test images that have a twin in training or validation.

    The result is a function of the pixels alone, equal on every machine. FER2013 takes about two seconds.
    """
    digests, small = _digests(samples.images), reduced(samples.images)
    return Twins(*(_masks(samples.labels, digests, small, split.test, part) for part in (split.train, split.val)))


def across(samples: Samples, tested: Indices, seen: Samples, split: Split) -> Twins:
    """Find the images of one dataset that have a twin in the training or validation part of another.

    Args:
        samples: the dataset tested.
        tested: the images of it, ``(n,)``.
        seen: the dataset of the training, with images of the same size and channels.
        split: of it.

    Returns:
        Masks over ``samples``. Labels are equal if the names of their classes are.
    """
    known = np.concatenate((split.train, split.val))
    pieces = ((samples, tested), (seen, known))
    digests = _digests(each.images[index] for each, rows in pieces for index in rows)
    small = np.concatenate([reduced(each.images)[rows] for each, rows in pieces])
    names = list(dict.fromkeys((*samples.class_names, *seen.class_names)))
    numbers = [np.array([names.index(name) for name in each.class_names], np.int64) for each, _ in pieces]
    labels = np.concatenate([own[each.labels[rows]] for own, (each, rows) in zip(numbers, pieces, strict=True)])
    ends = (len(tested), len(tested) + len(split.train))
    first, second, third = np.split(np.arange(len(labels)), ends)
    return Twins(*(_spread(_masks(labels, digests, small, first, part), samples, tested) for part in (second, third)))


def _spread(masks: Masks, samples: Samples, tested: Indices) -> Masks:
    """Turn masks whose first elements are the images ``tested`` into masks over all samples."""
    spread = np.zeros((3, len(samples)), bool)
    for mask, found in zip(spread, (masks.identical, masks.near, masks.same_label), strict=True):
        mask[tested] = found[: len(tested)]
    return Masks(*spread)


def drop(samples: Samples, split: Split) -> Split:
    """Return ``split`` without the training and validation images that have a twin in the test part.

    Raises:
        UserError: no validation image is left, or no training image of a class in validation or test.
    """
    digests, small = _digests(samples.images), reduced(samples.images)
    twin = np.isin(digests, digests[split.test])
    others = np.concatenate((split.train, split.val))
    for _, near in near_pairs(small, split.test, others):
        twin[near] = True
    train, val = (part[~twin[part]] for part in (split.train, split.val))
    lost = np.setdiff1d(samples.labels[np.concatenate((val, split.test))], samples.labels[train])
    if not len(val) or len(lost):
        where = f"of {samples.class_names[lost[0]]} to train on" if len(val) else "to validate on"
        raise UserError(
            f"dataset.twins=drop_from_training leaves no image {where}: choose dataset.twins=keep or another split."
        )
    return replace(split, train=train, val=val, dropped=len(others) - len(train) - len(val))


def digest(image: Pixels) -> bytes:
    """Return a digest of 16 bytes of an image's shape and pixels."""
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()


def reduced(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return images ``(N, H, W)`` or ``(N, H, W, 3)`` in grey, at most `SIDE` pixels per side: uint8 ``(N, h, w)``."""
    height, width = (min(each, SIDE) for each in images.shape[1:3])
    if images.shape[1:] == (height, width):
        return images
    return np.stack([reduced_image(image, height, width) for image in images])


def reduced_image(image: Pixels, height: int = SIDE, width: int = SIDE) -> npt.NDArray[np.uint8]:
    """Return one image, ``(H, W)`` or ``(H, W, 3)``, in grey and resized by area: uint8 ``(height, width)``."""
    return np.asarray(cv2.resize(to_channels(image, 1), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def near_pairs(small: npt.NDArray[np.uint8], one: Indices, other: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield pairs of indices, from ``one`` and ``other``, of images that correlate by `NEAR` or more.

    An image of a single brightness correlates with no other. ``small`` are all images, as `reduced` returns them.
    """
    coarse = _standardised(small)
    for rows in _blocks(one, _ROWS):
        for columns in _blocks(other, _COLUMNS):
            alike = coarse[rows] @ coarse[columns].T >= NEAR - _MARGIN
            if alike.any():
                left, right = rows[alike.any(axis=1)], columns[alike.any(axis=0)]
                i, j = np.nonzero(_correlations(small[left], small[right]) >= NEAR)
                yield left[i], right[j]


def _blocks(indices: Indices, size: int) -> Iterator[Indices]:
    return (indices[start : start + size] for start in range(0, len(indices), size))


def _digests(images: Iterable[Pixels]) -> Indices:
    """Return numbers ``(N,)`` that are equal for identical images."""
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(digest(image), len(known)) for image in images], np.int64)


def _masks(labels: Indices, digests: Indices, small: npt.NDArray[np.uint8], test: Indices, part: Indices) -> Masks:
    identical, near, same = (np.zeros(len(labels), bool) for _ in range(3))
    identical[test] = np.isin(digests[test], digests[part])
    classes = int(labels.max()) + 1
    same[test] = np.isin((digests * classes + labels)[test], (digests * classes + labels)[part])
    for tested, other in near_pairs(small, test, part):
        near[tested] = True
        agree = tested[labels[tested] == labels[other]]
        same[agree] |= ~identical[agree]
    return Masks(identical, near & ~identical, same)


def _standardised(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return images ``(N, h, w)``, reduced to `_COARSE` pixels per side, as ``(N, D)`` of mean 0 and norm 1."""
    side = (_COARSE, _COARSE)
    coarse = np.stack([cv2.resize(image, side, interpolation=cv2.INTER_AREA).ravel() for image in small])
    vectors = coarse.astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _correlations(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the correlation of each of ``one`` ``(A, h, w)`` with each of ``other`` ``(B, h, w)``: ``(A, B)``.

    All sums are of integers below 2^53, and thus exact in any order.
    """
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (one, other))
    size = a.shape[1]
    covariance = size * (a @ b.T) - np.outer(a.sum(axis=1), b.sum(axis=1))
    spread_a, spread_b = (size * np.square(each).sum(axis=1) - each.sum(axis=1) ** 2 for each in (a, b))
    product = np.outer(spread_a, spread_b)
    return np.divide(covariance, np.sqrt(product), out=np.zeros_like(product), where=product > 0)
