"""The data that a command line names, with the pictures made as the network was trained to see them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep.config.checks import check_dataset
from fersweep.config.compose import check_choices, compose_config, refuse_unknown, sweep_values
from fersweep.config.nodes import source_takes
from fersweep.config.options import extended, parse
from fersweep.config.schema import dotted, one_line
from fersweep.config.typed import readable
from fersweep.errors import UserError

PARTS = ("test", "val", "train", "all")
"""Choices of ``--part``."""

OUTPUTS = ("shared", "all")
"""Choices of ``--outputs``."""

KEPT = ("image_size", "channels", "preprocessing.min_max", "preprocessing.equalize")
"""Settings below ``dataset`` that belong to the network, which was trained on such pictures."""

IDLE = ("dataset.twins", "dataset.batch_size", "dataset.study_crop")
"""Settings of the dataset that nothing but a training uses."""

ALONE = ("cache", "force", "recipe.test_crops", "hydra.searchpath")
"""Settings beside those of ``dataset`` and ``split``."""


@dataclass(frozen=True)
class Words:
    """The settings on a command line.

    Attributes:
        datasets: names of options; ``None`` alone for the dataset of the training.
        texts: the other overrides as typed, in Hydra's grammar.
        typed: the same, with their keys and values.
    """

    datasets: tuple[str | None, ...]
    texts: tuple[str, ...]
    typed: tuple[Override, ...]

    def value(self, key: str, default: Any = None) -> Any:
        """Return the last value that was typed for a setting."""
        return ([default] + [each.value() for each in self.typed if each.key_or_group == key])[-1]

    @property
    def split(self) -> bool:
        """True if a split, or a setting of one, is named."""
        return any(each.key_or_group.partition(".")[0] == "split" for each in self.typed)


def words(overrides: Sequence[str]) -> Words:
    """Sort the settings of a command line; UserError for one that a test does not have, or that has several values."""
    texts = [readable(each, multirun=False) for each in overrides]
    extended(texts)  # adds the folders of options that are named
    check_choices(texts)
    datasets: tuple[str | None, ...] = (None,)
    kept = []
    for text, each in zip(texts, parse(texts), strict=True):
        if each.key_or_group == "dataset":
            values = sweep_values(each) if each.is_sweep_override() else [each.value()]
            datasets = tuple(dict.fromkeys(map(str, values)))
            continue
        _refuse(text, each)
        kept.append((text, each))
    _check_alone(kept)
    return Words(datasets, tuple(text for text, _ in kept), tuple(each for _, each in kept))


def for_dataset(given: Words, dataset: str | None) -> Words:
    """Return the settings for one dataset: of several, a setting of a source is for those that have it.

    A setting that none of them has stays, and is refused with each.
    """
    pairs = list(zip(given.texts, given.typed, strict=True))
    keys = {key for _, each in pairs if (key := _source_key(each)) is not None}
    if len(given.datasets) == 1 or not keys:
        return given
    search = tuple(text for text, each in pairs if each.key_or_group == "hydra.searchpath")
    sources = {name: _composed((f"dataset={name}", *search)).dataset.source for name in given.datasets}
    others = {key for key in keys - set(sources[dataset]) if any(key in source for source in sources.values())}
    kept = [(text, each) for text, each in pairs if _source_key(each) not in others]
    return Words(given.datasets, tuple(text for text, _ in kept), tuple(each for _, each in kept))


def _source_key(override: Override) -> str | None:
    """Return ``X`` of a setting ``dataset.source.X``."""
    top, _, below = override.key_or_group.partition("dataset.source.")
    return below.partition(".")[0] if below and not top else None


def _refuse(text: str, override: Override) -> None:
    key = override.key_or_group
    top, _, below = key.partition(".")
    if top == "dataset" and any(_within(below, each) or _within(each, below) for each in KEPT):
        raise UserError(
            f"{text} would change the pictures that the network takes: it keeps the image size, the channels and the "
            "preprocessing of its training; omit it."
        )
    if any(_within(key, each) for each in IDLE):
        raise UserError(f"{text} has no effect: nothing is trained here; omit it.")
    if top not in ("dataset", "split") and key not in ALONE:
        raise UserError(
            f"{text} belongs to the network and its training, which is over: "
            "a test takes dataset, dataset.*, split, split.*, recipe.test_crops, cache and force."
        )
    if override.is_sweep_override():
        raise UserError(f"{text} has several values: of a test, only dataset can have some; name one at a time.")
    if override.is_delete():
        raise UserError(f"{text} cannot be deleted: give it a value.")


def _check_alone(typed: Sequence[tuple[str, Override]]) -> None:
    """Raise UserError for a setting beside those of the data whose value is of another kind."""
    alone = tuple(text for text, each in typed if each.key_or_group in ALONE and "hydra" not in text)
    if alone and (crops := _composed(("dataset=synthetic", *alone)).recipe.test_crops) not in (1, 10):
        raise UserError(f"recipe.test_crops={crops} is not known; choices: 1, 10.")


def _within(key: str, above: str) -> bool:
    """Return whether a dotted key is ``above`` or below it."""
    return f"{key}.".startswith(f"{above}.")


def tested(cfg: DictConfig, dataset: str | None, given: Words) -> DictConfig:
    """Return the configuration of a run with the data that are to be tested.

    Its own dataset, named or not, keeps all settings of the training that are not typed. Another one has those of its
    option. The pictures have the size, channels and preprocessing of the training in any case.

    Args:
        cfg: of the run, resolved.
        dataset: the name of an option, or ``None``: the run's own.
        given: the command line.

    Raises:
        UserError: a setting is wrong, or impossible with this dataset.
    """
    own = dataset is None or dataset == cfg.dataset.name
    merged = copy.deepcopy(cfg)
    OmegaConf.set_readonly(merged, False)
    ours = [text for text, each in zip(given.texts, given.typed, strict=True) if _of_data(each)]
    try:
        if not own:
            _take_other(merged, str(dataset), ours, given)
        elif ours:
            _change_own(merged, ours, given)
        several = len(given.datasets) > 1
        if not source_takes(merged, "root") and (several or given.value("dataset.root") is None):
            merged.dataset.root = None  # that of the others, or of this machine
        merged.cache = given.value("cache", merged.cache)
        merged.recipe.test_crops = given.value("recipe.test_crops", merged.recipe.test_crops)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    check_dataset(merged, split=own or given.split)
    return merged


def _of_data(override: Override) -> bool:
    return override.key_or_group.partition(".")[0] in ("dataset", "split", "hydra")


def _take_other(merged: DictConfig, dataset: str, ours: list[str], given: Words) -> None:
    """Put another dataset into a configuration and, if one is named, a split."""
    kept = [f"dataset.{key}={str(OmegaConf.select(merged.dataset, key)).lower()}" for key in KEPT]
    found = _composed((f"dataset={dataset}", *kept, *ours))
    merged.dataset = found.dataset
    if given.split:
        merged.split = found.split


def _change_own(merged: DictConfig, ours: list[str], given: Words) -> None:
    """Change those settings of the run's own dataset and split that are typed, and those that follow from them."""
    own = [f"dataset={merged.dataset.name}"]
    if any(each.key_or_group == "split" for each in given.typed):
        merged.split = _composed((*own, *ours)).split
    else:
        own.append(f"split={merged.split.name}")
    before, after = _composed(tuple(own)), _composed((*own, *ours))
    typed = {each.key_or_group for each in given.typed}
    for group in ("dataset", "split"):
        usual = dotted({group: before[group]})
        for key, value in dotted({group: after[group]}).items():
            if key in typed or key not in usual or usual[key] != value:
                OmegaConf.update(merged, key, value)


def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """Compose a configuration, or copy one that was composed before."""
    return copy.deepcopy(_cached(overrides))


@functools.lru_cache(maxsize=256)
def _cached(overrides: tuple[str, ...]) -> DictConfig:
    found = compose_config(overrides)
    refuse_unknown(found, overrides)
    OmegaConf.resolve(found)
    return found
