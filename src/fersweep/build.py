"""From configuration to objects: the only place that calls Hydra's ``instantiate``."""

from __future__ import annotations

import copy
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
from fersweep.config.nodes import network, source_takes
from fersweep.config.options import option_file
from fersweep.config.schema import dotted, one_line
from fersweep.data import cache, twins
from fersweep.data.preprocess import Preprocessed
from fersweep.data.samples import Samples
from fersweep.errors import UserError
from fersweep.faces.crop import AS_FACE, FACE, PICTURE, Crop
from fersweep.text import first_line

if TYPE_CHECKING:
    from fersweep.data.datamodule import FERDataModule

CHECKED = ("backbone", "attention", "activation", "fidelity", "dataset", "split", "augmentation", "recipe")
"""The parts of a configuration that objects are built from."""


def make(node: Any, **arguments: Any) -> Any:
    """Build the object that a config node describes by ``_target_``.

    Raises:
        UserError: for a target that may not be named, arguments it does not take, and what it refuses itself.
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
    """What the function that a config node describes (``_partial_``) answers; UserError for settings it refuses."""
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
"""Where all that a network is built from is defined, but for plugins: a checkpoint can name nothing else."""


def model(cfg: DictConfig, num_classes: int) -> nn.Module:
    """The network of a run, freshly initialised from the global random generator."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    node = network(config)
    targets.check(node, NETWORKS)
    targets.check(config["fidelity"]["initialise"], NETWORKS)
    data = {"num_classes": num_classes, "in_channels": cfg.dataset.channels, "image_size": cfg.dataset.image_size}
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
) -> nn.Module:
    """Return a freshly initialised network: float32 images (B, C, H, W) in [0, 1] → logits (B, ``num_classes``).

    Args:
        backbone: an option of that group, as are ``attention``, ``activation`` and ``fidelity``: the name of a file in
            ``conf/backbone/``.
        attention: see ``conf/attention/``.
        activation: see ``conf/activation/``.
        fidelity: see ``conf/fidelity/``.
        num_classes: logits per image.
        in_channels: 1 (grey) or 3.
        image_size: height and width of the images in pixels.

    Raises:
        UserError: for an unknown name, with the choices.
    """
    names = {"backbone": backbone, "attention": attention, "activation": activation, "fidelity": fidelity}
    overrides = [f"{group}={name}" for group, name in names.items()]
    cfg = compose_config([*overrides, f"dataset.channels={in_channels}", f"dataset.image_size={image_size}"])
    return model(cfg, num_classes)


def check(cfg: DictConfig, num_classes: int) -> None:
    """Build network, optimiser, augmentation and split function without memory or arithmetic.

    What was found good once is not built again: the runs of a sweep often differ in their seed alone.

    Raises:
        UserError: for what cannot be built, before data are read.
    """
    parts = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in CHECKED}
    callbacks(cfg)
    _check(json.dumps(parts), num_classes)


@lru_cache(maxsize=4096)
def _check(parts: str, num_classes: int) -> None:
    cfg = OmegaConf.create(json.loads(parts))
    dataset = cfg.dataset
    _refuse_idle(cfg)
    with torch.device("meta"):
        network = model(cfg, num_classes)
        _try(network, torch.empty(2, dataset.channels, dataset.image_size, dataset.image_size), num_classes, cfg)
        _called(cfg.recipe.optimizer, network.parameters())
    _called(cfg.augmentation.transform, image_size=dataset.image_size)
    make(cfg.split.function)
    source(cfg)


def _try(network: nn.Module, images: torch.Tensor, num_classes: int, cfg: DictConfig) -> None:
    """Raise UserError where a network does not map images to logits."""
    named = f"backbone={cfg.backbone.name} attention={cfg.attention.name}"
    try:
        logits = network(images)
    except UserError:
        raise
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise UserError(f"{named} cannot take images of shape {tuple(images.shape)}: {first_line(error)}") from error
    shape, expected = tuple(getattr(logits, "shape", ())), (len(images), num_classes)
    if shape != expected:
        raise UserError(f"{named} maps images of shape {tuple(images.shape)} to {shape}, not to logits {expected}.")


def _refuse_idle(cfg: DictConfig) -> None:
    """Raise UserError for a setting of a network that was changed and has no effect on what is built."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    built = network(config), config["fidelity"]["initialise"]
    for group in ("backbone", "attention", "activation", "fidelity"):
        file = dotted(option_file(group, config[group]["name"]))
        now = dotted(config[group])
        for key in dict.fromkeys([*file, *now]):
            if key in ("name", "title", "family", "lr", "epochs", "defaults") or now.get(key) == file.get(key):
                continue
            if key not in file and "defaults" in file:
                continue  # it may stand in another file
            before = copy.deepcopy(config)
            _put(before[group], key, file.get(key))
            if (network(before), before["fidelity"]["initialise"]) == built:
                raise UserError(
                    f"{group}.{key} has no effect with backbone={cfg.backbone.name} attention={cfg.attention.name} "
                    f"fidelity={cfg.fidelity.name}: leave it as it is."
                )


def _put(node: dict[str, Any], key: str, value: Any) -> None:
    """Set what stands under a dotted name; ``None`` removes it."""
    *above, last = key.split(".")
    for each in above:
        node = node.setdefault(each, {})
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value


def source(cfg: DictConfig) -> Any:
    """The dataset source: ``fingerprint()`` and ``load() -> Samples`` of the images as they are.

    It is given what it takes of ``root``, ``download``, ``image_size`` and ``channels``.
    """
    dataset = cfg.dataset
    given = {key: dataset[key] for key in ("root", "download", "image_size", "channels")}
    return make(dataset.source, **{key: value for key, value in given.items() if source_takes(cfg, key)})


def cache_dir(cfg: DictConfig) -> Path:
    """Where decoded datasets are kept: ``cache``, or the user's cache folder."""
    return Path(cfg.cache).expanduser() if cfg.cache else Path(platformdirs.user_cache_dir("fersweep"))


def samples(cfg: DictConfig) -> Samples:
    """The dataset, decoded, cropped to faces and preprocessed once and memory-mapped after."""
    steps = {str(key): value for key, value in cfg.dataset.preprocessing.items()}
    plain = cfg.dataset.faces == "none" and Crop.of(cfg.dataset.face_crop) == Crop()
    decoded = source(cfg) if plain else _faces_of(source(cfg), cfg)
    return cache.load(Preprocessed(decoded, **steps) if any(steps.values()) else decoded, cache_dir(cfg))


LOOKED_AT = 25
"""Images of a dataset whose sizes say what it shows."""


def framing(cfg: DictConfig) -> str:
    """What the images of the dataset show as they come: ``face``, cut close, or ``picture``, with what is around.

    That is what the dataset's file says; where it leaves it open, ``face`` where the median longer side of `LOOKED_AT`
    images is at most twice ``dataset.image_size``: nobody keeps photographs so small.
    """
    if cfg.dataset.framing is not None:
        return str(cfg.dataset.framing)
    if not hasattr(reads := source(cfg), "records"):
        return PICTURE
    records = reads.records()
    chosen = range(0, len(records), max(1, len(records) // LOOKED_AT))
    sides = sorted(max(records.read(index).shape[:2]) for index in chosen)
    return FACE if sides[len(sides) // 2] <= AS_FACE * cfg.dataset.image_size else PICTURE


def _faces_of(whole: Any, cfg: DictConfig) -> cache.Source:
    """The source of faces in the images of another; with ``faces=none``, of those images as the crop resizes them."""
    from fersweep.faces import dataset, detectors

    crop = cfg.dataset.face_crop
    detector = detectors.make(
        cfg.dataset.faces,
        weights=None if crop.weights is None else Path(crop.weights),
        confidence=crop.confidence,
        device="cpu" if cfg.trainer.accelerator == "cpu" else "auto",
    )
    return dataset.FaceCropped(whole, detector, Crop.of(crop))


def datamodule(cfg: DictConfig, data: Samples, parts: int = 1) -> FERDataModule:
    """Split ``data``, drop twins where that is asked, and make loaders.

    A batch is computed in ``parts``, one after the other.

    Raises:
        UserError: the data cannot be split so, or too little is left without twins.
    """
    from fersweep.data.datamodule import FERDataModule  # and with it Lightning, which only training needs

    workers = cfg.trainer.workers
    split = _called(cfg.split.function, data)
    if cfg.dataset.twins == "drop_from_training":
        split = twins.drop(data, split)
    transform = _called(cfg.augmentation.transform, image_size=cfg.dataset.image_size)
    return FERDataModule(
        data,
        split,
        train_transform=transform,
        batch_size=cfg.recipe.batch_size,
        seed=cfg.seed,
        workers=None if workers == "auto" else workers,
        overfit_batches=cfg.trainer.overfit_batches,
        microbatches=parts,
        val_transform=transform if cfg.recipe.augment_validation else None,
    )


def callbacks(cfg: DictConfig) -> list[Any]:
    """The callbacks that the group of that name lists.

    Raises:
        UserError: for one that fersweep brings itself, with the setting to use.
    """
    made = []
    for name, node in cfg.callbacks.items():
        try:
            made.append(make(node))
        except InstantiationException as error:
            raise UserError(f"callbacks.{name} cannot be built: {one_line(error)}") from error
    for each in made:
        if not isinstance(each, pl.Callback):
            raise UserError(f"callbacks: {type(each).__name__} is no callback of Lightning.")
        for kind, instead in OWN_CALLBACKS.items():
            if kind in [base.__name__ for base in type(each).__mro__]:
                raise UserError(f"callbacks: fersweep brings its own {kind}; {instead}.")
    return made


OWN_CALLBACKS = {
    "ModelCheckpoint": "the best and the last epoch are kept",
    "EarlyStopping": "set recipe.early_stopping_patience",
    "WeightAveraging": "set recipe.ema_decay",
    "ProgressBar": "set trainer.progress_bar",
}
"""Callbacks of Lightning that every run has where it needs them, by class, and what to know instead."""

FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
"""Optimisers that update a parameter in one pass over it, on a CPU and on a GPU."""


def optimizer_factory(cfg: DictConfig) -> Callable[..., torch.optim.Optimizer]:
    """The optimiser's class with its settings bound, and its fused kernel where it has one; call it with parameters."""
    factory: partial[torch.optim.Optimizer] = make(cfg.recipe.optimizer)
    optimizer, settings = factory.func, factory.keywords
    chosen = {"fused", "foreach", "differentiable"} & set(settings)
    if isinstance(optimizer, type) and issubclass(optimizer, FUSED) and not chosen:
        return partial(factory, fused=True)
    return factory
