"""The configuration's schema, where it lies, and every check that needs no data.

`Config` gives the types; the files under ``conf/`` give the values. `validate` looks across groups, before anything
starts. Nothing here imports torch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep.errors import UserError, did_you_mean


@dataclass
class Backbone:
    """A network without its exchangeable parts; ``model`` names the class and its shape."""

    name: str = MISSING
    attention_position: str = MISSING
    model: dict[str, Any] = MISSING


@dataclass
class Activation:
    """``module`` is a factory without arguments."""

    name: str = MISSING
    module: dict[str, Any] = MISSING


@dataclass
class Fidelity:
    """Which class stands for each attention and for the norm."""

    name: str = MISSING
    attention: dict[str, Any] = MISSING
    norm: dict[str, Any] = MISSING


@dataclass
class Dataset:
    """``source`` names the class that reads ``root``; ``batch_size`` is the study's for this dataset."""

    name: str = MISSING
    source: dict[str, Any] = MISSING
    root: str | None = None
    image_size: int = 48
    channels: int = 1
    download: bool = False
    batch_size: int = 64


@dataclass
class Augmentation:
    """``transform(image_size) -> albumentations.Compose`` with its strengths bound."""

    name: str = MISSING
    transform: dict[str, Any] = MISSING


@dataclass
class Recipe:
    """Optimiser, schedule and stopping. ``batch_size`` counts all devices together; epochs are passes over train."""

    name: str = MISSING
    max_epochs: int = MISSING
    batch_size: int = MISSING
    optimizer: dict[str, Any] = MISSING
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    class_weights: str = "none"
    ema_decay: float | None = None
    gradient_clip: float | None = None
    early_stopping_patience: int | None = None
    test_crops: int = 1


@dataclass
class Trainer:
    """Where and how fast; of these only precision and the debugging limits can change a result."""

    name: str = MISSING
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "auto"
    memory_format: str = "channels_last"
    compile: bool = False
    workers: Any = "auto"
    progress_bar: bool = True
    profiler: str | None = None
    limit_batches: int | None = None
    overfit_batches: int = 0


@dataclass
class Config:
    """One run."""

    backbone: Backbone = field(default_factory=Backbone)
    attention: dict[str, Any] = MISSING
    activation: Activation = field(default_factory=Activation)
    fidelity: Fidelity = field(default_factory=Fidelity)
    dataset: Dataset = field(default_factory=Dataset)
    split: dict[str, Any] = MISSING
    augmentation: Augmentation = field(default_factory=Augmentation)
    recipe: Recipe = field(default_factory=Recipe)
    trainer: Trainer = field(default_factory=Trainer)
    logger: dict[str, Any] = MISSING
    seed: int = 1
    sweep: str = "runs"
    outputs: str = "outputs"
    cache: str | None = None
    weights: str | None = None
    force: bool = False


GROUPS = (
    "backbone",
    "attention",
    "activation",
    "fidelity",
    "dataset",
    "split",
    "augmentation",
    "recipe",
    "trainer",
    "logger",
)
"""The config groups a run chooses from, in the order of the contract."""

CHOICES: dict[str, tuple[Any, ...]] = {
    "recipe.schedule": ("constant", "cosine"),
    "recipe.class_weights": ("none", "balanced"),
    "recipe.test_crops": (1, 10),
    "dataset.channels": (1, 3),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.precision": ("auto", "bf16", "32"),
    "trainer.memory_format": ("channels_last", "contiguous"),
    "trainer.profiler": (None, "simple", "advanced"),
}


def register() -> None:
    """Make the schema known to Hydra under the name ``schema``; calling it again changes nothing."""
    ConfigStore.instance().store(name="schema", node=Config)


def config_dir() -> Path:
    """The folder ``conf``: inside an installed package, or beside ``src`` in a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "conf"


@cache
def options(group: str) -> tuple[str, ...]:
    """The choices of a config group, sorted; empty where there is no such group."""
    return tuple(sorted(file.stem for file in (config_dir() / group).glob("*.yaml")))


def compose_config(overrides: list[str]) -> DictConfig:
    """Compose the configuration of one run, as `train.py` would, with one sentence for what cannot be composed."""
    register()
    check_choices(overrides)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose("train", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_sentence(error, overrides)) from error


def check_command_line(arguments: list[str]) -> list[str]:
    """Say in one sentence what is wrong with ``train.py``'s arguments, and exit with code 2.

    Of a sweep the first run is composed; its launcher composes every one.

    Returns:
        The arguments for Hydra. It sets what is not swept before it has chosen what is, so in a sweep over backbones
        ``backbone.model.batch_norm=true`` becomes ``choice(true)``, a sweep of one value.
    """
    parsed = get_args_parser().parse_args(arguments)
    try:
        check_choices(parsed.overrides)
        if not (parsed.help or parsed.hydra_help or parsed.info or parsed.shell_completion):
            compose_config(first_of_sweep(parsed.overrides) if parsed.multirun else parsed.overrides)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    if not parsed.multirun:
        return arguments
    overrides = dict(zip(parsed.overrides, _parse(parsed.overrides), strict=True))
    swept = {override.key_or_group for override in overrides.values() if override.is_sweep_override()}
    depends = {
        text
        for text, override in overrides.items()
        if override.key_or_group.partition(".")[0] in swept and not override.is_sweep_override()
    }
    return [re.sub(r"=(.*)", r"=choice(\1)", each, count=1) if each in depends else each for each in arguments]


def check_choices(overrides: list[str]) -> None:
    """Refuse a choice that its group does not have, or a group that does not exist, naming what is there.

    Args:
        overrides: Hydra's, as on the command line; sweeps such as ``attention=se,eca`` are looked into.

    Raises:
        UserError: with the closest name and all choices.
    """
    top = (*GROUPS, "experiment", "hydra", *(key for key in Config.__dataclass_fields__ if key not in GROUPS))
    for override in _parse(overrides):
        key = override.key_or_group
        first, _, rest = key.replace("/", ".").partition(".")
        if first not in top and not override.is_add():
            raise UserError(f"There is no setting {key!r}{did_you_mean(first, top)}; settings: {', '.join(top)}.")
        if first in GROUPS and rest == "name":
            raise UserError(f"{key} follows from the choice: set {first}={', '.join(options(first))} instead.")
        if key in (*GROUPS, "experiment") and not override.is_delete():
            _check_values(key, override, options(key))


def first_of_sweep(overrides: list[str]) -> list[str]:
    """The overrides of a sweep's first run, without those whose values only Hydra can list (``glob``, ``interval``)."""
    first = []
    for text, override in zip(overrides, _parse(overrides), strict=True):
        if not override.is_sweep_override():
            first.append(text)
        elif values := _sweep_values(override):
            first.append(f"{text.partition('=')[0]}={values[0]}")
    return first


def _parse(overrides: list[str]) -> list[Override]:
    """Hydra's reading of each override; UserError names the one that has no meaning."""
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            key = text.partition("=")[0]
            raise UserError(
                f"{text!r} cannot be read: write key=value, and quote values with special characters twice, "
                f"as in \"{key}='VALUE'\"."
            ) from error
    return parsed


def _sweep_values(override: Override) -> list[str]:
    try:
        return list(override.sweep_string_iterator())
    except HydraException:  # a glob or an interval
        return []


def _check_values(key: str, override: Override, choices: tuple[str, ...]) -> None:
    values = _sweep_values(override) if override.is_sweep_override() else [override.value()]
    for value in values:
        if str(value) not in choices and (value is not None or key != "experiment"):
            value = "null" if value is None else value
            hint = did_you_mean(str(value), choices)
            raise UserError(f"{key}={value} is no choice of {key}{hint}; choices: {', '.join(choices)}.")


def _one_sentence(error: Exception, overrides: list[str]) -> str:
    """Hydra's message and its cause in one line, with the name that was probably meant, and without other advice."""
    texts = [str(error)] + ([str(error.__cause__)] if error.__cause__ else [])
    lines = [line.strip() for text in texts for line in text.splitlines()]
    noise = ("To append", "full_key", "object_type", "reference_type", "Config search path", "provider=")
    sentence = " ".join(line for line in lines if line and not line.startswith(noise))
    unknown = re.search(r"Could not override '(?P<path>[\w.]+)\.(?P<key>\w+)'", sentence)
    if unknown is None:
        return sentence
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        choices = [each for each in overrides if "." not in each.partition("=")[0]]
        node = OmegaConf.select(compose("train", choices), unknown["path"])
    keys = [str(key) for key in node] if OmegaConf.is_dict(node) else []
    there = f"settings of {unknown['path']}: {', '.join(keys)}"
    return f"There is no setting {unknown['path']}.{unknown['key']}{did_you_mean(unknown['key'], keys)}; {there}."


def validate(cfg: DictConfig) -> None:
    """Refuse what cannot work or would have no effect, before anything starts.

    Raises:
        UserError: one sentence naming the setting, its value and what to do.
    """
    try:
        missing = OmegaConf.missing_keys(cfg)
        to_dict(cfg)
    except OmegaConfBaseException as error:
        raise UserError(_one_sentence(error, [])) from error
    if missing:
        raise UserError(f"Settings without a value: {', '.join(sorted(missing))}.")
    for key, choices in CHOICES.items():
        value = OmegaConf.select(cfg, key)
        if value not in choices:
            hint = did_you_mean(str(value), [str(choice) for choice in choices])
            named = ", ".join("null" if choice is None else str(choice) for choice in choices)
            raise UserError(f"{key}={value} is not known{hint}; choices: {named}.")
    _validate_numbers(cfg)
    _validate_dataset(cfg)
    _validate_combinations(cfg)


def _validate_numbers(cfg: DictConfig) -> None:
    recipe, trainer = cfg.recipe, cfg.trainer
    rate = recipe.optimizer.get("lr")
    rules = {
        "seed": (0 <= cfg.seed < 2**32, "0 to 4294967295"),
        "dataset.image_size": (32 <= cfg.dataset.image_size <= 512, "32 to 512 pixels"),
        "recipe.max_epochs": (recipe.max_epochs >= 1, "1 or more"),
        "recipe.batch_size": (recipe.batch_size >= 2, "2 or more"),
        "recipe.optimizer.lr": (isinstance(rate, int | float) and 0 < rate < float("inf"), "a positive number"),
        "recipe.warmup_epochs": (0 <= recipe.warmup_epochs <= recipe.max_epochs, "0 to recipe.max_epochs"),
        "recipe.label_smoothing": (0 <= recipe.label_smoothing < 1, "0 to below 1"),
        "recipe.mixup": (recipe.mixup >= 0, "0 (off) or a positive alpha"),
        "recipe.ema_decay": (recipe.ema_decay is None or 0 < recipe.ema_decay < 1, "null (off) or between 0 and 1"),
        "recipe.gradient_clip": (recipe.gradient_clip is None or recipe.gradient_clip > 0, "null (off) or positive"),
        "recipe.early_stopping_patience": (
            recipe.early_stopping_patience is None or recipe.early_stopping_patience >= 1,
            "null (off) or 1 or more epochs",
        ),
        "trainer.devices": (trainer.devices == 1, "1 (a run uses one device)"),
        "trainer.workers": (
            trainer.workers == "auto" or (isinstance(trainer.workers, int) and trainer.workers >= 0),
            "auto or a number of processes",
        ),
        "trainer.limit_batches": (trainer.limit_batches is None or trainer.limit_batches >= 1, "null or 1 or more"),
        "trainer.overfit_batches": (trainer.overfit_batches >= 0, "0 (off) or more"),
    }
    for key, (good, allowed) in rules.items():
        if not good:
            raise UserError(f"{key}={OmegaConf.select(cfg, key)} is out of range: {allowed}.")


def _validate_dataset(cfg: DictConfig) -> None:
    dataset = cfg.dataset
    if dataset.name == "synthetic" and dataset.root is not None:
        raise UserError("dataset=synthetic is drawn, not read: leave dataset.root out, or name another dataset.")
    if dataset.name != "synthetic" and dataset.root is None and not dataset.download:
        extra = " or dataset.download=true" if dataset.name == "fer2013" else ""
        raise UserError(f"dataset={dataset.name} needs dataset.root=PATH (its archive or folder){extra}.")
    if dataset.download and dataset.name != "fer2013":
        raise UserError(f"dataset.download=true works for fer2013 only, not for dataset={dataset.name}.")
    if dataset.download and dataset.root is not None:
        raise UserError("Give dataset.root or dataset.download=true, not both.")


def _validate_combinations(cfg: DictConfig) -> None:
    backbone, recipe, trainer = cfg.backbone, cfg.recipe, cfg.trainer
    if cfg.attention.name == "none" and backbone.attention_position not in ("before_addition", "before_classifier"):
        raise UserError(
            f"backbone.attention_position={backbone.attention_position} has no effect with attention=none: "
            "choose an attention, or leave the position out."
        )
    if trainer.overfit_batches and cfg.augmentation.name != "none":
        raise UserError("trainer.overfit_batches needs augmentation=none: moving images cannot be learned by heart.")
    if trainer.overfit_batches and trainer.limit_batches:
        raise UserError("Give trainer.overfit_batches or trainer.limit_batches, not both.")
    if recipe.mixup > 0 and recipe.class_weights != "none":
        raise UserError("recipe.mixup and recipe.class_weights cannot be combined: set one of them off.")


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dicts, lists and scalars, in the schema's order."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): plain[key] for key in Config.__dataclass_fields__}


def choices_of(config: Mapping[str, Any]) -> dict[str, str]:
    """``{group: option}`` of a resolved configuration."""
    return {group: str(config[group]["name"]) for group in GROUPS}
