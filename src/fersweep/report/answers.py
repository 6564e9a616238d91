"""The answers of networks to single test images: labels and probabilities, added over networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd


@dataclass(frozen=True)
class Answers:
    """Answers of one or several networks to ``n`` test images.

    Attributes:
        ids: the images, sorted, ``(n,)``.
        labels: the class of each, ``(n,)``.
        probabilities: of the classes, summed over the networks, ``(n, K)``.
        twins: true for images with a twin in training or validation, ``(n,)``; ``None`` if unknown.
        networks: their number.
    """

    ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    twins: npt.NDArray[np.bool_] | None
    networks: int = 1

    @classmethod
    def read(cls, table: pd.DataFrame, class_names: Sequence[str]) -> Answers | None:
        """Return the content of ``predictions.parquet``, sorted by ``id``; ``None`` if it has no probabilities."""
        if not set(table) >= set(class_names):
            return None
        return cls(
            ids=table["id"].to_numpy(dtype=str),
            labels=pd.Index(class_names).get_indexer(table["label"]),
            probabilities=table[list(class_names)].to_numpy(dtype=np.float64),
            twins=table["twin"].to_numpy(dtype=bool) if "twin" in table else None,
        )

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """True for images whose likeliest class by mean probability is the label, ``(n,)``."""
        found: npt.NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return found


def pooled(folds: Sequence[Answers | None]) -> Answers | None:
    """Return the answers to the test images of all folds of one seed, sorted; ``None`` if those of a fold are."""
    known = [each for each in folds if each is not None]
    if len(known) < len(folds):
        return None
    ids = np.concatenate([each.ids for each in known])
    order = np.argsort(ids)
    twins = [each.twins for each in known if each.twins is not None]
    return Answers(
        ids[order],
        np.concatenate([each.labels for each in known])[order],
        np.concatenate([each.probabilities for each in known])[order],
        np.concatenate(twins)[order] if len(twins) == len(known) else None,
    )


def added(several: Sequence[Answers | None]) -> Answers | None:
    """Return answers to the same images summed; ``None`` if some are unknown, or to other images or of other labels."""
    known = [each for each in several if each is not None]
    if len(known) < len(several) or not all(same_images(known[0], each) for each in known):
        return None
    return replace(
        known[0],
        probabilities=np.sum([each.probabilities for each in known], axis=0),
        twins=known[0].twins if all(_same_twins(known[0], each) for each in known) else None,
        networks=sum(each.networks for each in known),
    )


def same_images(one: Answers, other: Answers) -> bool:
    """Return whether both are answers to the same images, with the same labels among as many classes."""
    return (
        one.probabilities.shape == other.probabilities.shape
        and np.array_equal(one.ids, other.ids)
        and np.array_equal(one.labels, other.labels)
    )


def _same_twins(one: Answers, other: Answers) -> bool:
    return one.twins is not None and other.twins is not None and np.array_equal(one.twins, other.twins)
