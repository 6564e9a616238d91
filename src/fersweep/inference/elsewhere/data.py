"""The images of a test: the part tested, the classes that dataset and network share, and the training's images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from omegaconf import DictConfig

from fersweep import build
from fersweep.config.schema import to_dict
from fersweep.data import twins
from fersweep.data.samples import PRIVATE, PUBLIC, TEST, TRAINING, Indices, Samples
from fersweep.data.splits import Split, possible
from fersweep.errors import UserError
from fersweep.text import listed
from fersweep.training.results import data_digest

PREDEFINED = {"test": (PRIVATE, TEST), "val": (PUBLIC,), "train": (TRAINING,)}
"""Usages of a dataset's predefined parts."""

NOTHING = np.array([], np.int64)


@dataclass(frozen=True)
class Trained:
    """The images that a network was trained with.

    Attributes:
        samples: its dataset.
        split: the parts of it.
        digest: of the samples.
    """

    samples: Samples
    split: Split
    digest: str


@dataclass(frozen=True)
class Chosen:
    """The images to test.

    Attributes:
        samples: the dataset.
        digest: of the samples.
        rows: the images, ``(n,)``.
        part: ``test``, ``val``, ``train`` or ``all``.
        split: the name of the split that has this part; ``None`` for a predefined part, and for all images.
    """

    samples: Samples
    digest: str
    rows: Indices
    part: str
    split: str | None


@dataclass(frozen=True)
class Classes:
    """The classes of a test.

    Attributes:
        names: those that can be answered, in the network's order.
        columns: their positions among the network's outputs.
        labels: of all samples as positions among ``names``, ``-1`` for a class that the network lacks.
        shared: names that both have.
        not_in_dataset: names that the network has alone.
        images_left_out: number of images that would be tested, by classes that the network lacks.
    """

    names: tuple[str, ...]
    columns: tuple[int, ...]
    labels: Indices
    shared: tuple[str, ...]
    not_in_dataset: tuple[str, ...]
    images_left_out: dict[str, int]


class Shelf:
    """Datasets that several tests use, each read once."""

    def __init__(self) -> None:
        self._samples: dict[str, tuple[Samples, str]] = {}
        self._trained: dict[str, Trained] = {}
        self._twins: dict[str, twins.Twins] = {}

    def samples(self, cfg: DictConfig) -> tuple[Samples, str]:
        """Return a dataset and its digest (`fersweep.training.results.data_digest`); UserError if it cannot be read."""
        config = to_dict(cfg)
        key = json.dumps([config["dataset"], config["cache"], config["trainer"]["accelerator"]], sort_keys=True)
        if key not in self._samples:
            found = build.samples(cfg)
            self._samples[key] = found, data_digest(found)
        return self._samples[key]

    def trained(self, cfg: DictConfig, digest: str | None) -> tuple[Trained | None, str]:
        """Return the images of a training, or ``None`` and why they are unknown.

        Args:
            cfg: of the run.
            digest: of its data, as its checkpoint has it; ``None`` if it does not say.
        """
        config = to_dict(cfg)
        parts = {key: config[key] for key in ("dataset", "split", "seed", "augmentation", "recipe", "trainer", "cache")}
        key = json.dumps([digest, parts], sort_keys=True)
        try:
            if key not in self._trained:
                known = [each for each in self._samples.values() if each[1] == digest]
                samples, found = known[0] if known else self.samples(cfg)  # they may have been moved since
                if digest is not None and found != digest:
                    raise UserError(f"dataset={cfg.dataset.name} has other images now than it was trained on")
                self._trained[key] = Trained(samples, build.datamodule(cfg, samples).split, found)
            return self._trained[key], ""
        except UserError as error:
            return None, str(error).rstrip(".")

    def twins(self, chosen: Chosen, trained: Trained) -> twins.Twins:
        """Find the images tested that have a twin among those of the training."""
        parts = (chosen.rows, trained.split.train, trained.split.val)
        key = json.dumps([chosen.digest, trained.digest, *map(rows_digest, parts)])
        if key not in self._twins:
            if chosen.digest == trained.digest:
                found = twins.find(trained.samples, replace(trained.split, test=chosen.rows))
            else:
                found = twins.across(chosen.samples, chosen.rows, trained.samples, trained.split)
            self._twins[key] = found
        return self._twins[key]


def rows_digest(rows: Indices) -> str:
    """Return a digest of indices, 16 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()[:16]


def images_digest(chosen: Chosen) -> str:
    """Return a digest of ids and classes of the images tested, equal for images of any size."""
    names = np.asarray(chosen.samples.class_names)[chosen.samples.labels[chosen.rows]]
    text = "\n".join([*chosen.samples.ids[chosen.rows].tolist(), *names.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def choose(
    cfg: DictConfig, samples: Samples, digest: str, part: str | None, own: Trained | None, named: bool
) -> Chosen:
    """Return the images to test.

    Args:
        cfg: with the dataset tested, and a split.
        samples: that dataset; ``digest``: of it.
        part: asked for; ``None``: the test part of the split that is named or, in the training's own data, was trained
            with; else the dataset's predefined test part or, if it has none, all images.
        own: the training's images if these are the same data, else ``None``.
        named: whether a split is named on the command line.

    Raises:
        UserError: the dataset has no such part.
    """
    everything = np.arange(len(samples))
    if part == "all":
        if named:
            raise UserError(f"split={cfg.split.name} has no effect on all images: omit it, or --part all.")
        return Chosen(samples, digest, everything, "all", None)
    if named or own is not None:
        split = build.parts(cfg, samples) if named or own is None else own.split
        return Chosen(samples, digest, getattr(split, part or "test"), part or "test", str(cfg.split.name))
    usages = PREDEFINED[part or "test"]
    rows = NOTHING if samples.usage is None else np.flatnonzero(np.isin(samples.usage, usages))
    if len(rows):
        return Chosen(samples, digest, rows, part or "test", None)
    if part is not None:
        splits = [f"split={name}" for name in possible(samples)]
        raise UserError(
            f"dataset={cfg.dataset.name} has no predefined {part} part: name a split ({listed(splits, 'or')}), "
            "or test all images with --part all."
        )
    return Chosen(samples, digest, everything, "all", None)


def shared(network: Sequence[str], chosen: Chosen, dataset: str, outputs: str) -> tuple[Chosen, Classes]:
    """Match the classes of a network and a dataset by name, and leave out images of classes that the network lacks.

    Args:
        network: names of its outputs, in order.
        chosen: the images to test.
        dataset: its name, for messages.
        outputs: ``shared``: answers are chosen from the classes that both have; ``all``: from all of the network's.

    Raises:
        UserError: fewer than two classes are shared, or no image of them is tested.
    """
    theirs = chosen.samples.class_names
    both = tuple(name for name in network if name in theirs)
    if len(both) < 2:
        have = "share no class" if not both else f"share one class only, {both[0]}"
        raise UserError(
            f"the network knows {', '.join(network)}, dataset={dataset} has {', '.join(theirs)}: they {have}, "
            "so there is nothing to test; classes are matched by name."
        )
    names = both if outputs == "shared" else tuple(network)
    position = np.array([names.index(name) if name in both else -1 for name in theirs], np.int64)
    labels = position[chosen.samples.labels]
    lost = chosen.rows[labels[chosen.rows] < 0]
    counts = np.bincount(chosen.samples.labels[lost], minlength=len(theirs))
    rows = chosen.rows[labels[chosen.rows] >= 0]
    if not len(rows):
        raise UserError(
            f"no image of dataset={dataset} to test is of a class that the network knows: {', '.join(both)}."
        )
    return replace(chosen, rows=rows), Classes(
        names=names,
        columns=tuple(list(network).index(name) for name in names),
        labels=labels,
        shared=both,
        not_in_dataset=tuple(name for name in network if name not in theirs),
        images_left_out={name: int(count) for name, count in zip(theirs, counts, strict=True) if count},
    )
