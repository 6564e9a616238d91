"""Samples of the protocols' sizes, and figures of splits."""

from __future__ import annotations

import numpy as np
from fakes import samples

from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Samples
from fersweep.data.sources.fer2013 import COUNTS
from fersweep.data.splits import Split


def fer2013() -> Samples:
    parts = [(usage, COUNTS[usage][label]) for label in range(7) for usage in (TRAINING, PUBLIC, PRIVATE)]
    per_class = [sum(COUNTS[usage][label] for usage in (TRAINING, PUBLIC, PRIVATE)) for label in range(7)]
    return samples(per_class, usage=np.repeat([p[0] for p in parts], [p[1] for p in parts]).tolist())


def people(count: int) -> Samples:
    """``count`` people who each show every class twice."""
    names = [f"P{index:03d}" for _ in CLASSES for index in range(count) for _ in range(2)]
    return samples([2 * count] * 7, subjects=names)


def per_class(data: Samples, part: np.ndarray) -> list[int]:
    return np.bincount(data.labels[part], minlength=len(data.class_names)).tolist()


def lengths(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.val), len(split.test)
