"""Checks of a configuration that need no data: single settings, and combinations of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep import files
from fersweep.config.combinations import plain_value
from fersweep.config.compose import refuse_unknown
from fersweep.config.nodes import source_takes
from fersweep.config.options import option_file
from fersweep.config.schema import DETECTORS, FaceCrop, Recipe, dotted, one_line, to_dict
from fersweep.errors import UserError
from fersweep.text import did_you_mean

CHOICES: dict[str, tuple[Any, ...]] = {
    "recipe.schedule": ("constant", "cosine", "step"),
    "recipe.class_weights": ("none", "balanced"),
    "recipe.test_crops": (1, 10),
    "recipe.gradient_clip_mode": ("norm", "value"),
    "dataset.channels": (1, 3),
    "dataset.faces": DETECTORS,
    "dataset.twins": ("keep", "drop_from_training"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.strategy": ("single", "ddp"),
    "trainer.precision": ("auto", "bf16", "32"),
    "trainer.memory_format": ("channels_last", "contiguous"),
    "trainer.profiler": (None, "simple", "advanced"),
}


Test = Callable[[Any], bool]


def _null_or(valid: Test) -> Test:
    return lambda value: value is None or valid(value)


def _is_subfolder(name: str) -> bool:
    folder = Path(name)
    return bool(folder.parts) and not folder.is_absolute() and ".." not in folder.parts


RANGES: tuple[tuple[str, Test, str], ...] = (
    ("sweep", _is_subfolder, "the name of a folder under outputs"),
    ("seed", lambda value: 0 <= value < 2**32, "0 to 4294967295"),
    ("dataset.image_size", lambda value: 32 <= value <= 512, "32 to 512 pixels"),
    (
        "dataset.preprocessing.min_variance",
        lambda value: 0 <= value <= 127.5**2,
        "0 (off) to 16256.25, the largest variance an image can have",
    ),
    ("dataset.face_crop.margin", lambda value: 0 <= value <= 2, "0 to 2 times the box, on each side"),
    (
        "dataset.face_crop.confidence",
        _null_or(lambda value: 0 <= value < 1),
        "null (the detector's default) or 0 to below 1",
    ),
    (
        "dataset.face_crop.size",
        _null_or(lambda value: 16 <= value <= 1024),
        "null (resize straight to dataset.image_size) or 16 to 1024 pixels",
    ),
    *(
        (
            f"dataset.face_crop.{key}",
            _null_or(lambda value: 1 <= value <= 100),
            "null (no JPEG) or a quality of 1 to 100",
        )
        for key in ("jpeg_image", "jpeg_face")
    ),
    ("recipe.max_epochs", lambda value: value >= 1, "1 or more"),
    ("recipe.batch_size", lambda value: value >= 2, "2 or more"),
    (
        "recipe.optimizer.lr",
        lambda value: isinstance(value, int | float) and 0 < value < math.inf,
        "a positive number",
    ),
    ("recipe.warmup_epochs", lambda value: value >= 0, "0 to recipe.max_epochs"),
    ("recipe.label_smoothing", lambda value: 0 <= value < 1, "0 to below 1"),
    ("recipe.mixup", lambda value: value >= 0, "0 (off) or a positive alpha"),
    ("recipe.cutmix", lambda value: value >= 0, "0 (off) or a positive alpha"),
    ("recipe.step_start", lambda value: 0 <= value < math.inf, "0 or more epochs"),
    ("recipe.step_epochs", lambda value: 0 < value < math.inf, "a positive number of epochs"),
    ("recipe.step_factor", lambda value: 0 < value <= 1, "above 0 to 1"),
    ("recipe.layer_decay", lambda value: 0 < value <= 1, "above 0 to 1 (off)"),
    ("recipe.teacher_weight", lambda value: 0 < value <= 1, "above 0 to 1"),
    ("recipe.teacher_temperature", lambda value: 0 < value < math.inf, "a positive number"),
    ("recipe.ema_decay", _null_or(lambda value: 0 < value < 1), "null (off) or between 0 and 1"),
    ("recipe.convolution_l2", lambda value: 0 <= value < math.inf, "0 (off) or positive"),
    ("recipe.gradient_clip", _null_or(lambda value: value > 0), "null (off) or positive"),
    (
        "recipe.crop",
        _null_or(lambda value: 32 <= value <= 512),
        "null (whole images) or 32 pixels to dataset.image_size",
    ),
    ("recipe.early_stopping_patience", _null_or(lambda value: value >= 1), "null (off) or 1 or more epochs"),
    ("trainer.devices", lambda value: value >= 1, "1 or more"),
    ("trainer.num_nodes", lambda value: value >= 1, "1 or more"),
    (
        "trainer.workers",
        lambda value: value == "auto" or (isinstance(value, int) and value >= 0),
        "auto or a number of processes",
    ),
    ("trainer.limit_batches", _null_or(lambda value: value >= 1), "null or 1 or more"),
    ("trainer.overfit_batches", lambda value: value >= 0, "0 (off) or more"),
)
"""Setting, test of its value, and the allowed values in words."""


def validate(cfg: DictConfig) -> None:
    """Raise UserError for settings that cannot work or would have no effect, naming setting, value and remedy."""
    try:
        _validate_schedule(cfg)
        if missing := OmegaConf.missing_keys(cfg):
            raise UserError(f"Settings without a value: {', '.join(sorted(missing))}.")
        refuse_unknown(cfg)
        to_dict(cfg)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    _check_values(cfg)
    if cfg.recipe.warmup_epochs > cfg.recipe.max_epochs:
        raise UserError(f"recipe.warmup_epochs={cfg.recipe.warmup_epochs} is out of range: 0 to recipe.max_epochs.")
    for key, value in dotted(to_dict(cfg)).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key}={value} is out of range: a finite number.")
    if problem := next(chain(_dataset_problems(cfg), _combination_problems(cfg)), None):
        raise UserError(problem)


def check_images(cfg: DictConfig) -> None:
    """Raise UserError for sizes or a number of channels of the images that no run has."""
    _check_values(cfg, "dataset.image_size", "dataset.channels", "recipe.crop")
    if problem := next(_crop_problems(cfg), None):
        raise UserError(problem)


def check_dataset(cfg: DictConfig, split: bool) -> None:
    """Raise UserError for settings of the dataset, and of the ``split`` if it is used, that cannot work."""
    try:
        to_dict(cfg)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    names = [key for key in (*CHOICES, *(each[0] for each in RANGES)) if key.startswith("dataset.")]
    _check_values(cfg, *names)
    if not split:
        cfg = copy.deepcopy(cfg)
        cfg.dataset.splits = None
    if problem := next(_dataset_problems(cfg), None):
        raise UserError(problem)


def _check_values(cfg: DictConfig, *only: str) -> None:
    """Check single settings against `CHOICES` and `RANGES`; ``only`` these, by default all."""
    for key, choices in CHOICES.items():
        value = OmegaConf.select(cfg, key)
        if value not in choices and (not only or key in only):
            hint = did_you_mean(str(value), [str(choice) for choice in choices])
            named = ", ".join("null" if choice is None else str(choice) for choice in choices)
            raise UserError(f"{key}={'null' if value is None else value} is not known{hint}; choices: {named}.")
    for key, valid, allowed in RANGES:
        value = OmegaConf.select(cfg, key)
        if (not only or key in only) and not valid(value):
            raise UserError(f"{key}={'null' if value is None else value} is out of range: {allowed}.")


def _validate_schedule(cfg: DictConfig) -> None:
    """Check the learning rate and epochs that ``recipe=notebook`` takes from the backbone."""
    if OmegaConf.is_missing(cfg.backbone, "name"):
        return
    recipe: Any = OmegaConf.to_container(cfg.recipe, resolve=False)
    optimizer = recipe["optimizer"]  # a string if missing
    asked = {"epochs": recipe["max_epochs"], "lr": optimizer.get("lr") if isinstance(optimizer, Mapping) else None}
    for key, value in asked.items():
        if value == f"${{backbone.{key}}}" and cfg.backbone[key] is None:
            raise UserError(
                f"recipe={cfg.recipe.name} has no schedule for backbone={cfg.backbone.name}: choose a backbone "
                "with one, such as aer_cnn, or set recipe.max_epochs and recipe.optimizer.lr."
            )
        given = option_file("backbone", cfg.backbone.name).get(key)
        if value != f"${{backbone.{key}}}" and cfg.backbone[key] != given:
            raise UserError(f"backbone.{key} has no effect with recipe={cfg.recipe.name}: leave it as it is.")


def _list_problems(cfg: DictConfig, *keys: str) -> Iterator[str]:
    """Yield lists of names that hold another list, or a mapping."""
    for key in keys:
        value = plain_value(OmegaConf.select(cfg, key))
        if isinstance(value, list) and (wrong := [each for each in value if isinstance(each, list | dict)]):
            yield f"{key} holds {wrong[0]}, which is not a name: write names alone, as in {key}=[one,two]."


def _dataset_problems(cfg: DictConfig) -> Iterator[str]:
    dataset = cfg.dataset
    yield from _list_problems(cfg, "dataset.splits")
    reads, downloads = source_takes(cfg, "root"), source_takes(cfg, "download")
    if dataset.root is not None and not reads:
        yield f"dataset={dataset.name} is generated, not read: omit dataset.root, or choose another dataset."
    if reads and dataset.root is None and not dataset.download:
        extra = " or dataset.download=true" if downloads else ""
        yield f"dataset={dataset.name} needs dataset.root=PATH (its archive or folder){extra}."
    if dataset.splits is not None and cfg.split.name not in dataset.splits:
        yield (
            f"split={cfg.split.name} is not possible with dataset={dataset.name}: "
            f"choose split={', '.join(dataset.splits)}."
        )
    for key in ("fold", "folds"):
        if cfg.split[key] is not None and key not in cfg.split.function:
            yield f"split.{key} has no effect with split={cfg.split.name}: choose split=subjects."
    if dataset.download and not downloads:
        yield f"dataset.download=true is not possible with dataset={dataset.name}: set dataset.root=PATH."
    if dataset.preprocessing.equalize and dataset.channels == 3:
        yield "dataset.preprocessing.equalize needs grey images: set dataset.channels=1."
    if dataset.download and dataset.root is not None:
        yield "Set dataset.root or dataset.download=true, not both."
    yield from _face_problems(dataset, reads)


RESIZING = ("size", "nearest", "jpeg_image", "jpeg_face")
"""Settings of ``dataset.face_crop`` that also apply without a detector."""


def _face_problems(dataset: DictConfig, reads: bool) -> Iterator[str]:
    faces, weights = dataset.faces, dataset.face_crop.weights
    if faces != "none" and not reads:
        yield f"dataset.faces={faces} has no effect with dataset={dataset.name}, whose images are faces already."
    changed = {key: value for key, value in vars(FaceCrop()).items() if dataset.face_crop[key] != value}
    if changed and not reads:
        yield f"dataset.face_crop has no effect with dataset={dataset.name}, whose images are faces already."
    if idle := [key for key in changed if faces == "none" and key not in RESIZING]:
        default = "null" if changed[idle[0]] is None else str(changed[idle[0]]).lower()
        yield (
            f"dataset.face_crop.{idle[0]} has no effect with dataset.faces=none: choose dataset.faces=mtcnn, "
            f"libfacedetection or yolo5face, or set dataset.face_crop.{idle[0]}={default}."
        )
    if dataset.face_crop.align and faces == "libfacedetection":
        yield "dataset.face_crop.align has no effect with dataset.faces=libfacedetection, which finds no eyes."
    if weights is not None and faces != "yolo5face":
        yield f"dataset.face_crop.weights has no effect with dataset.faces={faces}: it is for yolo5face."
    if weights is None and faces == "yolo5face":
        yield "dataset.faces=yolo5face needs dataset.face_crop.weights=FILE.onnx, which is not shipped."
    if weights is not None and not files.given(Path(weights)).is_file():
        yield f"dataset.face_crop.weights={weights} does not exist: name the ONNX file of yolo5face."


def _combination_problems(cfg: DictConfig) -> Iterator[str]:
    backbone, recipe, trainer = cfg.backbone, cfg.recipe, cfg.trainer
    default_position = option_file("backbone", backbone.name).get("attention_position")
    if cfg.attention.name == "none" and backbone.attention_position != default_position:
        yield (
            f"backbone.attention_position={backbone.attention_position} has no effect with attention=none: "
            "choose an attention, or omit the position."
        )
    yield from _device_problems(trainer, recipe.batch_size)
    yield from _crop_problems(cfg)
    if recipe.augment_validation and cfg.augmentation.name == "none":
        yield "recipe.augment_validation=true has no effect with augmentation=none: set one of them."
    if cfg.attention.get("kernel_size") and (cfg.attention.get("gamma", 2), cfg.attention.get("beta", 1)) != (2, 1):
        yield "attention.gamma and attention.beta have no effect when attention.kernel_size is set."
    yield from _list_problems(cfg, "logger.tags", "plugins")
    if isinstance(cfg.logger.get("tags"), str):
        yield f"logger.tags={cfg.logger.tags} is not a list: write logger.tags=[{cfg.logger.tags}]."
    if trainer.overfit_batches and cfg.augmentation.name != "none":
        yield "trainer.overfit_batches needs augmentation=none: augmented images cannot be memorised."
    if cfg.weights is not None and backbone.model.get("pretrained") not in (None, False, "none"):
        yield "weights and backbone.model.pretrained both give initial weights: leave one of them out."
    if trainer.overfit_batches and trainer.limit_batches:
        yield "Set trainer.overfit_batches or trainer.limit_batches, not both."
    for key in ("mixup", "cutmix"):
        if recipe[key] > 0 and recipe.class_weights != "none":
            yield f"recipe.{key} and recipe.class_weights cannot be combined: turn one of them off."
    yield from _recipe_problems(recipe)


def _recipe_problems(recipe: DictConfig) -> Iterator[str]:
    """Yield settings of a recipe that others switch off."""
    defaults = vars(Recipe())
    for key in ("step_start", "step_epochs", "step_factor"):
        if recipe.schedule != "step" and recipe[key] != defaults[key]:
            yield f"recipe.{key} has no effect with recipe.schedule={recipe.schedule}: set recipe.schedule=step."
    for key in ("teacher_weight", "teacher_temperature"):
        if recipe.teacher is None and recipe[key] != defaults[key]:
            yield f"recipe.{key} has no effect without recipe.teacher: name a run, or a folder of runs."
    if recipe.layer_decay != 1 and not recipe.optimizer.get("lr"):
        yield "recipe.layer_decay needs recipe.optimizer.lr, the rate of the last layer: set it."
    if not recipe.decay_biases and not recipe.optimizer.get("weight_decay"):
        yield "recipe.decay_biases=false has no effect without recipe.optimizer.weight_decay: set a weight decay."
    if recipe.gradient_clip is None and recipe.gradient_clip_mode != defaults["gradient_clip_mode"]:
        yield "recipe.gradient_clip_mode has no effect with recipe.gradient_clip=null: set a limit."


def _crop_problems(cfg: DictConfig) -> Iterator[str]:
    crop, size = cfg.recipe.crop, cfg.dataset.image_size
    if crop is not None and crop > size:
        yield f"recipe.crop={crop} is larger than the images of dataset.image_size={size}: lower it, or set it to null."
    if crop == size:
        yield f"recipe.crop={crop} has no effect with dataset.image_size={size}: set it to null, or lower it."


def _device_problems(trainer: DictConfig, batch_size: int) -> Iterator[str]:
    processes = trainer.devices * trainer.num_nodes
    if processes == 1:
        return
    if trainer.strategy != "ddp":
        yield f"trainer={trainer.name} uses one device, not {processes}: choose trainer=ddp (GPUs) or trainer=ddp_cpu."
    if processes > batch_size:
        yield (
            f"recipe.batch_size={batch_size} is the total over all devices and smaller than their number "
            f"({processes}): raise it, or lower trainer.devices."
        )
    if trainer.accelerator == "auto":
        yield "trainer.strategy=ddp needs a device type: choose trainer=ddp (GPUs) or trainer=ddp_cpu."
    if trainer.auto_microbatch:
        yield "trainer.auto_microbatch works on one device: omit it with trainer=ddp."
