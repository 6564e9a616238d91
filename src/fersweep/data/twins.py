"""Twins: test images that training or validation shows too, pixel for pixel or nearly so.

*Identical* images have equal decoded pixels, as the network is given them. *Near-identical* ones have a normalised
correlation of at least `NEAR`, in grey and at `SIDE` pixels a side: copies that were saved or scaled again, have
another brightness or contrast or a watermark, or are moved by a pixel. Mirrored copies are not looked for.

Why 0.98: on FER2013 every pair above it that was looked at is one photograph twice, and so are those down to 0.93;
pairs of different people begin at 0.92. But photographs of one person in front of one camera are alike, too: in AT&T's
Database of Faces (40 people, ten photographs each) 25 of the 1,800 pairs of one person reach 0.95, and one reaches
0.98. Frames of one video sequence do reach it. `docs/how-to/data.md` has the figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.images import Pixels, to_channels
from fersweep.data.samples import Samples
from fersweep.data.splits import Split
from fersweep.errors import UserError

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NEAR = 0.98
"""The normalised correlation from which on two images are near-identical."""

SIDE = 48
"""Pixels a side at which images are correlated; larger ones are reduced to it by area."""

_COARSE, _MARGIN = 8, 0.02
"""Pixels a side at which pairs are sifted first, and by how much less they may correlate there.

Of FER2013's pairs that reach `NEAR`, none has less than 0.987 at this size.
"""

_ROWS, _COLUMNS = 512, 8192
"""Pairs that are sifted at once: 16 MiB."""


@dataclass(frozen=True)
class Kin:
    """Which test images have a twin in one part, bool ``(N,)`` over all samples; false for what does not test.

    Attributes:
        identical: an identical one there.
        near: a near-identical one there, and no identical one.
        same_label: a twin there, of either kind, of their own label; an identical one where there is one.
    """

    identical: Mask
    near: Mask
    same_label: Mask

    def counts(self) -> dict[str, int]:
        """Images: ``identical`` and ``near``, and of these those whose twins all carry another label."""
        other = ~self.same_label
        return {
            "identical": int(self.identical.sum()),
            "identical_other_label": int((self.identical & other).sum()),
            "near": int(self.near.sum()),
            "near_other_label": int((self.near & other).sum()),
        }


@dataclass(frozen=True)
class Twins:
    """Test images with a twin in the training part and in the validation part."""

    train: Kin
    val: Kin

    @property
    def either(self) -> Kin:
        """Those with a twin in one of the two parts."""
        identical = self.train.identical | self.val.identical
        near = (self.train.near | self.val.near) & ~identical
        same = [kin.same_label & (kin.identical | near) for kin in (self.train, self.val)]
        return Kin(identical, near, same[0] | same[1])

    @property
    def any(self) -> Mask:
        """Test images with a twin of either kind in either part, bool ``(N,)`` over all samples."""
        return self.either.identical | self.either.near

    def counts(self) -> dict[str, dict[str, int]]:
        """`Kin.counts` of ``train``, of ``val`` and of ``either`` of the two."""
        return {"train": self.train.counts(), "val": self.val.counts(), "either": self.either.counts()}


def find(samples: Samples, split: Split) -> Twins:
    """Find the test images that have a twin in training or validation.

    FER2013 takes about two seconds; what is computed is a function of the pixels alone, equal on every machine.
    """
    digests, small = _digests(samples.images), reduced(samples.images)
    return Twins(*(_kin(samples.labels, digests, small, split.test, part) for part in (split.train, split.val)))


def drop(samples: Samples, split: Split) -> Split:
    """Return ``split`` without the training and validation images that have a twin in the test part.

    Its ``dropped`` says how many those are.

    Raises:
        UserError: nothing is left to validate on, or no image to train on of a class that is validated or tested.
    """
    digests, small = _digests(samples.images), reduced(samples.images)
    twin = np.isin(digests, digests[split.test])
    seen = np.concatenate((split.train, split.val))
    for _, theirs in near_pairs(small, split.test, seen):
        twin[theirs] = True
    train, val = (part[~twin[part]] for part in (split.train, split.val))
    asked = "dataset.twins=drop_from_training leaves no image"
    if not len(val):
        raise UserError(f"{asked} to validate on: choose dataset.twins=keep or another split.")
    lost = np.setdiff1d(samples.labels[np.concatenate((val, split.test))], samples.labels[train])
    if len(lost):
        raise UserError(
            f"{asked} of {samples.class_names[lost[0]]} to train on: choose dataset.twins=keep or another split."
        )
    return replace(split, train=train, val=val, dropped=len(seen) - len(train) - len(val))


def digest(image: Pixels) -> bytes:
    """Sixteen bytes that are equal for images of equal shape and pixels."""
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()


def reduced(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey images of at most `SIDE` pixels a side, uint8 ``(N, h, w)``, of such ``(N, H, W)`` or ``(N, H, W, 3)``."""
    height, width = (min(each, SIDE) for each in images.shape[1:3])
    if images.shape[1:] == (height, width):
        return images
    small = np.empty((len(images), height, width), np.uint8)
    for index, image in enumerate(images):
        small[index] = reduced_image(image, height, width)
    return small


def reduced_image(image: Pixels, height: int = SIDE, width: int = SIDE) -> npt.NDArray[np.uint8]:
    """One image, ``(H, W)`` or ``(H, W, 3)``, in grey and resized by area, uint8 ``(height, width)``."""
    return np.asarray(cv2.resize(to_channels(image, 1), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def near_pairs(small: npt.NDArray[np.uint8], one: Indices, other: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield the pairs ``(of one, of other)`` of images that correlate by `NEAR` or more, identical ones among them.

    An image of a single brightness correlates with nothing.

    Args:
        small: as `reduced` gives them.
        one, other: indices into them.
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


def _digests(images: npt.NDArray[np.uint8]) -> Indices:
    """Numbers ``(N,)`` that are equal for identical images."""
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(digest(image), len(known)) for image in images], np.int64)


def _kin(labels: Indices, digests: Indices, small: npt.NDArray[np.uint8], test: Indices, part: Indices) -> Kin:
    identical, near, same = (np.zeros(len(labels), bool) for _ in range(3))
    identical[test] = np.isin(digests[test], digests[part])
    classes = int(labels.max()) + 1
    same[test] = np.isin((digests * classes + labels)[test], (digests * classes + labels)[part])
    for ours, theirs in near_pairs(small, test, part):
        near[ours] = True
        alike = ours[labels[ours] == labels[theirs]]
        same[alike] |= ~identical[alike]
    return Kin(identical, near & ~identical, same)


def _standardised(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Images ``(N, h, w)`` at `_COARSE` pixels a side as vectors ``(N, D)`` of mean 0 and length 1."""
    side = (_COARSE, _COARSE)
    coarse = np.stack([cv2.resize(image, side, interpolation=cv2.INTER_AREA).ravel() for image in small])
    vectors = coarse.astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _correlations(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The correlation of each of ``one`` ``(A, h, w)`` with each of ``other`` ``(B, h, w)``: ``(A, B)``.

    All sums are of whole numbers below 2^53, and so exact in whichever order they are taken.
    """
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (one, other))
    size = a.shape[1]
    covariance = size * (a @ b.T) - np.outer(a.sum(axis=1), b.sum(axis=1))
    spread_a, spread_b = (size * np.square(each).sum(axis=1) - each.sum(axis=1) ** 2 for each in (a, b))
    product = np.outer(spread_a, spread_b)
    return np.divide(covariance, np.sqrt(product), out=np.zeros_like(product), where=product > 0)
