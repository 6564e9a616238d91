"""Objects from a configuration; the only caller of Hydra's ``instantiate``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fersweep.config import targets
from fersweep.config.compose import compose_config
from fersweep.config.idle import refuse_idle
from fersweep.config.nodes import network, source_takes
from fersweep.config.schema import input_size, one_line
from fersweep.data import accounting, cache, twins
from fersweep.data.preprocess import Preprocessed
from fersweep.data.samples import Samples, check_names
from fersweep.data.splits import Split
from fersweep.errors import UserError
from fersweep.faces.crop import AS_FACE, FACE, PICTURE, Crop
from fersweep.files import given
from fersweep.models.pretrained import Pretrained
from fersweep.text import first_line, listed

if TYPE_CHECKING:
    from fersweep.data.datamodule import FERDataModule

CHECKED = ("backbone", "attention", "activation", "fidelity", "dataset", "split", "augmentation", "recipe")
"""Groups that `check` builds objects from."""


def make(node: Any, **arguments: Any) -> Any:
    """Build the object that a config node describes by ``_target_``.

    Raises:
        UserError: for a forbidden target, and for arguments that it does not take or rejects.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(plain, Mapping) or not isinstance(plain.get("_target_"), str):
        raise UserError(f"{plain!r} names no class: it needs a _target_.")
    targets.check(plain)
    targets.check(arguments)
    if given := [name for name in arguments if name in plain]:
        raise UserError(f"{given[0]} of {plain['_target_']} is given by the program: leave it out.")
    try:
        return instantiate(plain, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, (TypeError, ValueError, ArithmeticError)):
            cause = cause.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if cause is None:
            raise
        raise UserError(f"The settings of {plain['_target_']} do not fit it: {cause}.") from error


def _called(node: Any, *arguments: Any, **named: Any) -> Any:
    """Call the function that a config node describes (``_partial_``); UserError for settings it rejects."""
    function = make(node)
    if given := [name for name in named if name in node]:
        raise UserError(f"{given[0]} of {node._target_} is given by the program: leave it out.")
    try:
        return function(*arguments, **named)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"The settings of {node._target_} do not fit it: {error}.") from error


NETWORKS = ("fersweep.models", "torch.nn")
"""Packages that a network may be built from, beside plugins; a checkpoint can name nothing else."""


def model(cfg: DictConfig, num_classes: int) -> nn.Module:
    """Build the network of a run, initialised from the global random generator."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    node = network(config)
    targets.check(node, NETWORKS)
    targets.check(config["fidelity"]["initialise"], NETWORKS)
    data = {"num_classes": num_classes, "in_channels": cfg.dataset.channels, "image_size": input_size(cfg)}
    built: nn.Module = make(node, **{key: value for key, value in data.items() if targets.takes(node["_target_"], key)})
    if cfg.fidelity.initialise is not None:
        make(cfg.fidelity.initialise)(built)
    return built


def build_model(
    backbone: str = "resnet50",
    attention: str = "cbam",
    activation: str = "elu",
    fidelity: str = "paper",
    num_classes: int = 7,
    in_channels: int = 1,
    image_size: int = 48,
    **settings: Any,
) -> nn.Module:
    """Return a freshly initialised network: float32 images (B, C, H, W) in [0, 1] → logits (B, ``num_classes``).

    Args:
        backbone: name of a file in ``conf/backbone/``.
        attention: see ``conf/attention/``.
        activation: see ``conf/activation/``.
        fidelity: see ``conf/fidelity/``.
        num_classes: logits per image.
        in_channels: 1 (grey) or 3.
        image_size: height and width of the images in pixels.
        settings: of the backbone, those below ``model`` in its file, such as ``stem="small", width=16``, or of
            ``backbone="timm"`` ``name="convnext_tiny", pretrained=True``, which downloads.

    Raises:
        UserError: for an unknown name or setting, with the choices.
    """
    names = {"backbone": backbone, "attention": attention, "activation": activation, "fidelity": fidelity}
    overrides = [f"{group}={name}" for group, name in names.items()]
    cfg = compose_config([*overrides, f"dataset.channels={in_channels}", f"dataset.image_size={image_size}"])
    for name, value in settings.items():
        known = sorted(str(key) for key in cfg.backbone.model if key != "_target_")
        if name not in known:
            raise UserError(f"backbone={backbone} has no setting {name!r}: choose {listed(known, 'or')}.")
        cfg.backbone.model[name] = value
    network = model(cfg, num_classes)
    if isinstance(network, Pretrained) and network.pretrained:
        network.download()
    return network


def check(cfg: DictConfig, num_classes: int) -> None:
    """Build everything the configuration names, network and optimiser on the meta device, before any data are read.

    Results are cached, because runs of a sweep often differ in their seed alone.

    Raises:
        UserError: for an object that cannot be built.
    """
    groups = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in CHECKED}
    callbacks(cfg)
    _check(json.dumps(groups), num_classes)


@lru_cache(maxsize=4096)
def _check(groups: str, num_classes: int) -> None:
    config = json.loads(groups)
    refuse_idle(config)
    cfg = OmegaConf.create(config)
    side = input_size(cfg)
    with torch.device("meta"):
        network = model(cfg, num_classes)
        _try(network, torch.empty(2, cfg.dataset.channels, side, side), num_classes, cfg)
        _called(cfg.recipe.optimizer, network.parameters())
    _called(cfg.augmentation.transform, image_size=side)
    make(cfg.split.function)
    source(cfg)


def _try(network: nn.Module, images: torch.Tensor, num_classes: int, cfg: DictConfig) -> None:
    """Raise UserError for a network that does not map images to logits."""
    library = f" backbone.model.name={cfg.backbone.model.name}" if "name" in cfg.backbone.model else ""
    named = f"backbone={cfg.backbone.name}{library} attention={cfg.attention.name}"
    try:
        logits = network(images)
    except UserError:
        raise
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
        raise UserError(f"{named} cannot take images of shape {tuple(images.shape)}: {first_line(error)}") from error
    shape, expected = tuple(getattr(logits, "shape", ())), (len(images), num_classes)
    if shape != expected:
        raise UserError(f"{named} maps images of shape {tuple(images.shape)} to {shape}, not to logits {expected}.")


def source(cfg: DictConfig) -> Any:
    """Build the dataset source with those of ``root``, ``download``, ``image_size`` and ``channels`` that it takes."""
    dataset = cfg.dataset
    given = {key: dataset[key] for key in ("root", "download", "image_size", "channels")}
    return make(dataset.source, **{key: value for key, value in given.items() if source_takes(cfg, key)})


def cache_dir(cfg: DictConfig) -> Path:
    """Return the folder of decoded datasets: ``cache``, or the user's cache folder."""
    return given(Path(cfg.cache)) if cfg.cache else Path(platformdirs.user_cache_dir("fersweep"))


def samples(cfg: DictConfig) -> Samples:
    """Return the dataset, decoded, cropped and preprocessed on the first call and memory-mapped afterwards.

    Raises:
        UserError: the data are missing or damaged, or have names that a run cannot record.
    """
    steps = {str(key): value for key, value in cfg.dataset.preprocessing.items()}
    plain = cfg.dataset.faces == "none" and Crop.of(cfg.dataset.face_crop) == Crop()
    decoded = source(cfg) if plain else _faces_of(source(cfg), cfg)
    found = cache.load(Preprocessed(decoded, **steps) if any(steps.values()) else decoded, cache_dir(cfg))
    check_names(found, cfg.dataset.name)
    return found


def left_out(cfg: DictConfig) -> tuple[str, bool]:
    """Return one line on the files of the dataset that are not read, empty if there are none, and whether it warns."""
    origin = source(cfg)
    found = origin.left_out() if hasattr(origin, "left_out") else []
    line = f"{accounting.sentence(found)}; `fersweep data {cfg.dataset.name}` names them" if found else ""
    return line, any(each.missing for each in found)


LOOKED_AT = 25
"""Least number of images whose sizes `framing` examines, in a dataset that has as many."""


def framing(cfg: DictConfig) -> str:
    """Return ``face`` for a dataset of cropped faces, ``picture`` for one of photographs.

    Without ``dataset.framing`` it is ``face`` if the median longer side of `LOOKED_AT` images is at most twice
    ``dataset.image_size``: photographs are normally larger.
    """
    if cfg.dataset.framing is not None:
        return str(cfg.dataset.framing)
    if not hasattr(reads := source(cfg), "records"):
        return PICTURE
    records = reads.records()
    chosen = range(0, len(records), max(1, len(records) // LOOKED_AT))
    sides = sorted(max(records.read(index).shape[:2]) for index in chosen)
    return FACE if sides[len(sides) // 2] <= AS_FACE * cfg.dataset.image_size else PICTURE


def _faces_of(images: Any, cfg: DictConfig) -> cache.Source:
    """Return the source of faces in another's images, or with ``faces=none`` of the resized images."""
    from fersweep.faces import dataset, detectors

    crop = cfg.dataset.face_crop
    detector = detectors.make(
        cfg.dataset.faces,
        weights=None if crop.weights is None else Path(crop.weights),
        confidence=crop.confidence,
        device="cpu" if cfg.trainer.accelerator == "cpu" else "auto",
    )
    return dataset.FaceCropped(images, detector, Crop.of(crop))


def parts(cfg: DictConfig, data: Samples) -> Split:
    """Split ``data``, twins included; UserError if that is impossible."""
    split: Split = _called(cfg.split.function, data)
    return split


def datamodule(cfg: DictConfig, data: Samples, microbatches: int = 1) -> FERDataModule:
    """Split ``data``, drop twins if the configuration says so, and build the loaders.

    Args:
        cfg: the configuration.
        data: the dataset.
        microbatches: per training batch.

    Raises:
        UserError: the split is impossible, or too few images remain without twins.
    """
    from fersweep.data.datamodule import FERDataModule  # imports albumentations, which only training needs

    workers = cfg.trainer.workers
    split = parts(cfg, data)
    if cfg.dataset.twins == "drop_from_training":
        split = twins.drop(data, split)
    transform = _called(cfg.augmentation.transform, image_size=input_size(cfg))
    return FERDataModule(
        data,
        split,
        train_transform=transform,
        batch_size=cfg.recipe.batch_size,
        seed=cfg.seed,
        workers=None if workers == "auto" else workers,
        overfit_batches=cfg.trainer.overfit_batches,
        microbatches=microbatches,
        val_transform=transform if cfg.recipe.augment_validation else None,
        crop=None if cfg.augmentation.name == "none" else cfg.recipe.crop,
    )


def callbacks(cfg: DictConfig) -> list[Any]:
    """Build the callbacks of the group ``callbacks``.

    Raises:
        UserError: for a callback that fersweep provides, with the setting to use.
    """
    made = []
    for name, node in cfg.callbacks.items():
        try:
            made.append(make(node))
        except InstantiationException as error:
            raise UserError(f"callbacks.{name} cannot be built: {one_line(error)}") from error
    for each in made:
        if not isinstance(each, pl.Callback):
            raise UserError(f"callbacks: {type(each).__name__} is not a Lightning callback.")
        for kind, advice in OWN_CALLBACKS.items():
            if kind in [base.__name__ for base in type(each).__mro__]:
                raise UserError(f"callbacks: fersweep brings its own {kind}; {advice}.")
    return made


OWN_CALLBACKS = {
    "ModelCheckpoint": "the best and the last epoch are kept",
    "EarlyStopping": "set recipe.early_stopping_patience",
    "WeightAveraging": "set recipe.ema_decay",
    "ProgressBar": "set trainer.progress_bar",
}
"""Callbacks that fersweep provides, by class, with the setting to use."""

FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
"""Optimisers with a fused kernel on CPU and GPU."""


def optimizer_factory(cfg: DictConfig) -> Callable[..., torch.optim.Optimizer]:
    """Return the optimiser as a function of the parameters, with its fused kernel if it has one."""
    factory: partial[torch.optim.Optimizer] = make(cfg.recipe.optimizer)
    optimizer, settings = factory.func, factory.keywords
    chosen = {"fused", "foreach", "differentiable"} & set(settings)
    if isinstance(optimizer, type) and issubclass(optimizer, FUSED) and not chosen:
        return partial(factory, fused=True)
    return factory
