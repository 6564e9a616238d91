"""Test images that a tracker shows with their predictions: mistakes first, then a random sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fersweep.data.samples import Indices, Samples

MISTAKE, RANDOM = "mistake", "random"
"""Reasons why an image is shown."""


class Picture(NamedTuple):
    """A test image: uint8 ``(H, W)`` or ``(H, W, 3)``, its labels, and why it is shown.

    ``p_label`` is the probability of the true class, ``p_predicted`` that of the predicted one.
    """

    image: npt.NDArray[np.uint8]
    id: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float
    why: str


def choose(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], count: int, seed: int
) -> tuple[Indices, Indices]:
    """Return the hardest mistakes, hardest first, and a random sample of the other images, in their order.

    Half of the images are mistakes if there are as many: those whose true class has the lowest probability, the first
    of equals. Equal arguments give equal images.

    Args:
        labels: true classes, ``(N,)``.
        probabilities: ``(N, K)``.
        count: the number of images, all ``N`` if it is larger.
        seed: of the random sample.
    """
    every = np.arange(len(labels))
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    hardest = wrong[np.argsort(probabilities[wrong, labels[wrong]], kind="stable")][: (count + 1) // 2]
    others = np.setdiff1d(every, hardest)
    size = min(count - len(hardest), len(others))
    return hardest, np.sort(np.random.default_rng(seed).choice(others, size=size, replace=False))


def pictures(
    samples: Samples, rows: Indices, probabilities: npt.NDArray[np.float32], count: int, seed: int
) -> Iterator[Picture]:
    """Yield the images that `choose` chooses, read one by one.

    Args:
        samples: the dataset.
        rows: its test images, ``(N,)``; ``probabilities``: theirs, ``(N, K)``.
        count: the number of images.
        seed: of the random part.
    """
    names = samples.class_names
    mistakes, sample = choose(samples.labels[rows], probabilities, count, seed)
    for why, chosen in ((MISTAKE, mistakes), (RANDOM, sample)):
        for place in chosen:
            row, shares = rows[place], probabilities[place]
            label, predicted = int(samples.labels[row]), int(shares.argmax())
            yield Picture(
                image=np.array(samples.images[row]),
                id=str(samples.ids[row]),
                label=names[label],
                predicted=names[predicted],
                p_label=round(float(shares[label]), 6),
                p_predicted=round(float(shares[predicted]), 6),
                why=why,
            )
