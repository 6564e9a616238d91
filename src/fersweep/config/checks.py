"""Every check of a configuration, alone and across groups, that needs no data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep.config.compose import refuse_unknown
from fersweep.config.nodes import source_takes
from fersweep.config.options import option_file
from fersweep.config.schema import DETECTORS, FaceCrop, dotted, one_line, to_dict
from fersweep.errors import UserError
from fersweep.text import did_you_mean

CHOICES: dict[str, tuple[Any, ...]] = {
    "recipe.schedule": ("constant", "cosine"),
    "recipe.class_weights": ("none", "balanced"),
    "recipe.test_crops": (1, 10),
    "dataset.channels": (1, 3),
    "dataset.faces": DETECTORS,
    "dataset.twins": ("keep", "drop_from_training"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.strategy": ("single", "ddp"),
    "trainer.precision": ("auto", "bf16", "32"),
    "trainer.memory_format": ("channels_last", "contiguous"),
    "trainer.profiler": (None, "simple", "advanced"),
}


def validate(cfg: DictConfig) -> None:
    """Refuse what cannot work or would have no effect, before anything starts.

    Raises:
        UserError: one sentence naming the setting, its value and what to do.
    """
    try:
        _validate_schedule(cfg)
        if missing := OmegaConf.missing_keys(cfg):
            raise UserError(f"Settings without a value: {', '.join(sorted(missing))}.")
        refuse_unknown(cfg)
        to_dict(cfg)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    for key, choices in CHOICES.items():
        value = OmegaConf.select(cfg, key)
        if value not in choices:
            hint = did_you_mean(str(value), [str(choice) for choice in choices])
            named = ", ".join("null" if choice is None else str(choice) for choice in choices)
            raise UserError(f"{key}={value} is not known{hint}; choices: {named}.")
    _validate_numbers(cfg)
    for key, value in dotted(to_dict(cfg)).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key}={value} is out of range: a finite number.")
    _validate_dataset(cfg)
    _validate_combinations(cfg)


def _validate_schedule(cfg: DictConfig) -> None:
    """Refuse a recipe that takes rate and epochs from a network which has none, and such settings without effect."""
    if OmegaConf.is_missing(cfg.backbone, "name"):
        return
    recipe: Any = OmegaConf.to_container(cfg.recipe, resolve=False)
    optimizer = recipe["optimizer"]  # a string where it is missing
    asked = {"epochs": recipe["max_epochs"], "lr": optimizer.get("lr") if isinstance(optimizer, Mapping) else None}
    for key, value in asked.items():
        if value == f"${{backbone.{key}}}" and cfg.backbone[key] is None:
            raise UserError(
                f"recipe={cfg.recipe.name} has no schedule for backbone={cfg.backbone.name}: choose a backbone "
                "that has one, such as aer_cnn, or set recipe.max_epochs and recipe.optimizer.lr."
            )
        given = option_file("backbone", cfg.backbone.name).get(key)
        if value != f"${{backbone.{key}}}" and cfg.backbone[key] != given:
            raise UserError(f"backbone.{key} has no effect with recipe={cfg.recipe.name}: leave it as it is.")


def _validate_numbers(cfg: DictConfig) -> None:
    recipe, trainer, dataset = cfg.recipe, cfg.trainer, cfg.dataset
    rate = recipe.optimizer.get("lr")
    folder = Path(cfg.sweep)
    inside = bool(folder.parts) and not folder.is_absolute() and ".." not in folder.parts
    rules = {
        "sweep": (inside, "the name of a folder under outputs"),
        "seed": (0 <= cfg.seed < 2**32, "0 to 4294967295"),
        "dataset.image_size": (32 <= cfg.dataset.image_size <= 512, "32 to 512 pixels"),
        "dataset.preprocessing.min_variance": (
            0 <= dataset.preprocessing.min_variance <= 127.5**2,
            "0 (off) to 16256.25, the largest variance an image can have",
        ),
        "dataset.face_crop.margin": (0 <= dataset.face_crop.margin <= 2, "0 to 2 times the box, on each side"),
        "dataset.face_crop.confidence": (
            dataset.face_crop.confidence is None or 0 <= dataset.face_crop.confidence < 1,
            "null (the detector's own) or 0 to below 1",
        ),
        "dataset.face_crop.size": (
            dataset.face_crop.size is None or 16 <= dataset.face_crop.size <= 1024,
            "null (at once to dataset.image_size) or 16 to 1024 pixels",
        ),
        **{
            f"dataset.face_crop.{key}": (
                dataset.face_crop[key] is None or 1 <= dataset.face_crop[key] <= 100,
                "null (no JPEG file) or a quality from 1 to 100",
            )
            for key in ("jpeg_image", "jpeg_face")
        },
        "recipe.max_epochs": (recipe.max_epochs >= 1, "1 or more"),
        "recipe.batch_size": (recipe.batch_size >= 2, "2 or more"),
        "recipe.optimizer.lr": (isinstance(rate, int | float) and 0 < rate < float("inf"), "a positive number"),
        "recipe.warmup_epochs": (0 <= recipe.warmup_epochs <= recipe.max_epochs, "0 to recipe.max_epochs"),
        "recipe.label_smoothing": (0 <= recipe.label_smoothing < 1, "0 to below 1"),
        "recipe.mixup": (recipe.mixup >= 0, "0 (off) or a positive alpha"),
        "recipe.ema_decay": (recipe.ema_decay is None or 0 < recipe.ema_decay < 1, "null (off) or between 0 and 1"),
        "recipe.convolution_l2": (0 <= recipe.convolution_l2 < float("inf"), "0 (off) or positive"),
        "recipe.gradient_clip": (recipe.gradient_clip is None or recipe.gradient_clip > 0, "null (off) or positive"),
        "recipe.early_stopping_patience": (
            recipe.early_stopping_patience is None or recipe.early_stopping_patience >= 1,
            "null (off) or 1 or more epochs",
        ),
        "trainer.devices": (trainer.devices >= 1, "1 or more"),
        "trainer.num_nodes": (trainer.num_nodes >= 1, "1 or more"),
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
    reads, downloads = source_takes(cfg, "root"), source_takes(cfg, "download")
    if dataset.root is not None and not reads:
        raise UserError(f"dataset={dataset.name} is drawn, not read: leave dataset.root out, or name another dataset.")
    if reads and dataset.root is None and not dataset.download:
        extra = " or dataset.download=true" if downloads else ""
        raise UserError(f"dataset={dataset.name} needs dataset.root=PATH (its archive or folder){extra}.")
    if dataset.splits is not None and cfg.split.name not in dataset.splits:
        raise UserError(
            f"split={cfg.split.name} is not possible with dataset={dataset.name}: "
            f"choose split={', '.join(dataset.splits)}."
        )
    for key in ("fold", "folds"):
        if cfg.split[key] is not None and key not in cfg.split.function:
            raise UserError(f"split.{key} has no effect with split={cfg.split.name}: choose split=subjects.")
    if dataset.download and not downloads:
        raise UserError(f"dataset.download=true is not possible with dataset={dataset.name}: set dataset.root=PATH.")
    if dataset.preprocessing.equalize and dataset.channels == 3:
        raise UserError("dataset.preprocessing.equalize works on grey images: set dataset.channels=1.")
    if dataset.download and dataset.root is not None:
        raise UserError("Give dataset.root or dataset.download=true, not both.")
    _validate_faces(dataset, reads)


RESIZING = ("size", "nearest", "jpeg_image", "jpeg_face")
"""What ``dataset.face_crop`` does to whole images too."""


def _validate_faces(dataset: DictConfig, reads: bool) -> None:
    faces, weights = dataset.faces, dataset.face_crop.weights
    if faces != "none" and not reads:
        raise UserError(f"dataset.faces={faces} has no effect with dataset={dataset.name}, whose images are faces.")
    changed = {key: value for key, value in vars(FaceCrop()).items() if dataset.face_crop[key] != value}
    if changed and not reads:
        raise UserError(f"dataset.face_crop has no effect with dataset={dataset.name}, whose images are faces.")
    if idle := [key for key in changed if faces == "none" and key not in RESIZING]:
        default = "null" if changed[idle[0]] is None else str(changed[idle[0]]).lower()
        raise UserError(
            f"dataset.face_crop.{idle[0]} has no effect with dataset.faces=none: choose dataset.faces=mtcnn or "
            f"yolo5face, or set dataset.face_crop.{idle[0]}={default}."
        )
    if weights is not None and faces != "yolo5face":
        raise UserError(f"dataset.face_crop.weights has no effect with dataset.faces={faces}: they are yolo5face's.")
    if weights is None and faces == "yolo5face":
        raise UserError("dataset.faces=yolo5face needs dataset.face_crop.weights=FILE.onnx, which is not shipped.")
    if weights is not None and not Path(weights).expanduser().is_file():
        raise UserError(f"dataset.face_crop.weights={weights} is not there: name yolo5face's ONNX file.")


def _validate_combinations(cfg: DictConfig) -> None:
    backbone, recipe, trainer = cfg.backbone, cfg.recipe, cfg.trainer
    own_position = option_file("backbone", backbone.name).get("attention_position")
    if cfg.attention.name == "none" and backbone.attention_position != own_position:
        raise UserError(
            f"backbone.attention_position={backbone.attention_position} has no effect with attention=none: "
            "choose an attention, or leave the position out."
        )
    processes = trainer.devices * trainer.num_nodes
    if processes > 1 and trainer.strategy != "ddp":
        raise UserError(
            f"trainer={trainer.name} uses one device, not {processes}: choose trainer=ddp (GPUs) or trainer=ddp_cpu."
        )
    if processes > recipe.batch_size:
        raise UserError(
            f"recipe.batch_size={recipe.batch_size} counts all devices together and is smaller than their number "
            f"({processes}): raise it, or lower trainer.devices."
        )
    if processes > 1 and trainer.accelerator == "auto":
        raise UserError("trainer.strategy=ddp needs to know the device: choose trainer=ddp (GPUs) or trainer=ddp_cpu.")
    if recipe.augment_validation and cfg.augmentation.name == "none":
        raise UserError("recipe.augment_validation=true has no effect with augmentation=none: set one of them.")
    if cfg.attention.get("kernel_size") and (cfg.attention.get("gamma", 2), cfg.attention.get("beta", 1)) != (2, 1):
        raise UserError("attention.gamma and attention.beta have no effect where attention.kernel_size is given.")
    if isinstance(cfg.logger.get("tags"), str):
        raise UserError(f"logger.tags={cfg.logger.tags} is no list: write logger.tags=[{cfg.logger.tags}].")
    if trainer.auto_microbatch and processes > 1:
        raise UserError("trainer.auto_microbatch works on one device: leave it out with trainer=ddp.")
    if trainer.overfit_batches and cfg.augmentation.name != "none":
        raise UserError("trainer.overfit_batches needs augmentation=none: moving images cannot be learned by heart.")
    if trainer.overfit_batches and trainer.limit_batches:
        raise UserError("Give trainer.overfit_batches or trainer.limit_batches, not both.")
    if recipe.mixup > 0 and recipe.class_weights != "none":
        raise UserError("recipe.mixup and recipe.class_weights cannot be combined: set one of them off.")
