"""From configuration to objects: the only place that calls Hydra's ``instantiate``."""

from __future__ import annotations

import importlib
import json
import pkgutil
import pydoc
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fersweep.compose import compose_config, config_dir
from fersweep.config import FAMILIES, WITHOUT_ATTENTION
from fersweep.data import cache
from fersweep.data.preprocess import Preprocessed
from fersweep.data.samples import Samples
from fersweep.errors import UserError

if TYPE_CHECKING:
    from fersweep.data.datamodule import FERDataModule

ALLOWED_TARGETS = (
    "fersweep.models",
    "fersweep.data.augment",
    "fersweep.data.sources",
    "fersweep.data.splits",
    "fersweep.optim",
    "torch.nn",
    "torch.optim",
)
"""A configuration can come with a checkpoint from anywhere, so it may name only what is defined in these modules."""

CHECKED = ("backbone", "attention", "activation", "fidelity", "dataset", "split", "augmentation", "recipe")
"""The parts of a configuration that objects are built from."""


def make(node: Any, **arguments: Any) -> Any:
    """Build the object that a config node describes by ``_target_``.

    Raises:
        UserError: for a target outside `ALLOWED_TARGETS`, settings it does not take, and what it refuses itself.
    """
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    for target in _targets(plain):
        _check_target(target)
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, (TypeError, ValueError, ArithmeticError)):
            cause = cause.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if cause is None:
            raise
        raise UserError(f"The settings of {node['_target_']} do not fit it: {cause}.") from error


def _called(node: Any, *arguments: Any, **named: Any) -> Any:
    """What the function that a config node describes (``_partial_``) answers; UserError for settings it refuses."""
    function = make(node)
    try:
        return function(*arguments, **named)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"The settings of {node._target_} do not fit it: {error}.") from error


def _targets(node: Any) -> list[str]:
    """Every ``_target_`` in a plain config node and below it."""
    if isinstance(node, Mapping):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [target for value in node.values() for target in _targets(value)]
    return [target for value in node for target in _targets(value)] if isinstance(node, list) else []


def _check_target(target: str) -> None:
    """Refuse what lies outside `ALLOWED_TARGETS`, also where an allowed module only imports it."""
    found = pydoc.locate(target) if _allowed(target) else None
    if _allowed(target) and found is None:
        raise UserError(f"_target_={target} does not exist.")
    if found is None or not _allowed(str(getattr(found, "__module__", ""))):
        raise UserError(f"_target_={target} is not allowed: it must lie in {', '.join(ALLOWED_TARGETS)}.")


def _allowed(name: str) -> bool:
    return any(f"{name}.".startswith(f"{each}.") for each in ALLOWED_TARGETS)


def import_targets() -> None:
    """Import every module of this package that a configuration may name."""
    for name in ALLOWED_TARGETS:
        if name.startswith("fersweep."):
            module = importlib.import_module(name)
            for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
                importlib.import_module(f"{name}.{found.name}")


def model(cfg: DictConfig, num_classes: int) -> nn.Module:
    """The network of a run, freshly initialised from the global random generator."""
    fidelity = cfg.fidelity
    options = {key: value for key, value in cfg.attention.items() if key != "name"}
    form = {
        key: make(value) if OmegaConf.is_dict(value) else value for key, value in fidelity[cfg.backbone.family].items()
    }
    _check_attention(cfg)
    shape = cfg.backbone.model
    if "_target_" in form:
        shape = {"_target_": form.pop("_target_")}
    else:
        form = {"norm": make(fidelity.norm), **form}
    if cfg.backbone.attention_position is not None:
        form["attention"] = make(fidelity.attention[cfg.attention.name], **options)
        form["attention_position"] = cfg.backbone.attention_position
    network: nn.Module = make(
        shape,
        **form,
        activation=make(cfg.activation.module, _partial_=True),
        num_classes=num_classes,
        in_channels=cfg.dataset.channels,
        image_size=cfg.dataset.image_size,
    )
    if fidelity.initialise is not None:
        make(fidelity.initialise)(network)
    return network


def _check_attention(cfg: DictConfig) -> None:
    """Raise UserError where a network cannot have the attention, or not where it is asked for."""
    name, position, attention = cfg.backbone.name, cfg.backbone.attention_position, cfg.attention.name
    if cfg.backbone.family not in WITHOUT_ATTENTION:
        if position is None:
            raise UserError(
                f"backbone.attention_position=null is not possible with backbone={name}: leave it as it is."
            )
    elif attention != "none":
        raise UserError(f"backbone={name} takes no attention={attention}: set attention=none.")
    elif position is not None:
        raise UserError(f"backbone.attention_position={position} has no effect with backbone={name}: leave it null.")


def model_from_names(
    backbone: str,
    attention: str,
    activation: str,
    fidelity: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
) -> nn.Module:
    """The network that the config files give these names; see `fersweep.models.build_model`."""
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
    _check(json.dumps(parts), num_classes)


@lru_cache(maxsize=4096)
def _check(parts: str, num_classes: int) -> None:
    cfg = OmegaConf.create(json.loads(parts))
    dataset = cfg.dataset
    _refuse_idle_forms(cfg)
    with torch.device("meta"):
        network = model(cfg, num_classes)
        network(torch.empty(2, dataset.channels, dataset.image_size, dataset.image_size))
        _called(cfg.recipe.optimizer, network.parameters())
    _called(cfg.augmentation.transform, image_size=dataset.image_size)
    make(cfg.split.function)
    source(cfg)


def _refuse_idle_forms(cfg: DictConfig) -> None:
    """Raise UserError where settings of a network were changed that is not built: they would have no effect."""
    family, name = cfg.backbone.family, cfg.backbone.name
    file: Any = OmegaConf.load(config_dir() / "fidelity" / f"{cfg.fidelity.name}.yaml")
    for key in ("dropout", *FAMILIES):
        if family != ("vgg" if key == "dropout" else key) and cfg.fidelity[key] != file[key]:
            raise UserError(f"fidelity.{key} has no effect with backbone={name}: leave it as it is.")
    shape: Any = OmegaConf.load(config_dir() / "backbone" / f"{name}.yaml")
    if "_target_" in cfg.fidelity[family]:
        changed = {"backbone.model": cfg.backbone.model != shape.model, "fidelity.norm": cfg.fidelity.norm != file.norm}
        if idle := next((each for each, is_changed in changed.items() if is_changed), None):
            raise UserError(
                f"{idle} has no effect with backbone={name} fidelity={cfg.fidelity.name}: leave it as it is, "
                f"or set what is in fidelity.{family}."
            )
    for key in ("lr", "epochs"):
        if cfg.recipe.name != "notebook" and cfg.backbone[key] != shape.get(key):
            raise UserError(f"backbone.{key} has no effect with recipe={cfg.recipe.name}: leave it as it is.")


def source(cfg: DictConfig) -> Any:
    """The dataset source: ``fingerprint()`` and ``load() -> Samples`` of the images as they are."""
    dataset = cfg.dataset
    arguments: dict[str, Any] = {"image_size": dataset.image_size, "channels": dataset.channels}
    if dataset.name != "synthetic":
        arguments["root"] = dataset.root
    if dataset.name == "fer2013":
        arguments["download"] = dataset.download
    return make(dataset.source, **arguments)


def cache_dir(cfg: DictConfig) -> Path:
    """Where decoded datasets are kept: ``cache``, or the user's cache folder."""
    return Path(cfg.cache).expanduser() if cfg.cache else Path(platformdirs.user_cache_dir("fersweep"))


def samples(cfg: DictConfig) -> Samples:
    """The dataset, decoded, cropped to faces and preprocessed once and memory-mapped after."""
    steps = {str(key): value for key, value in cfg.dataset.preprocessing.items()}
    decoded = source(cfg) if cfg.dataset.faces == "none" else _faces_of(source(cfg), cfg)
    return cache.load(Preprocessed(decoded, **steps) if any(steps.values()) else decoded, cache_dir(cfg))


def _faces_of(whole: Any, cfg: DictConfig) -> cache.Source:
    """The source of faces in the images of another."""
    from fersweep.faces import dataset, detectors

    crop = cfg.dataset.face_crop
    detector = detectors.make(
        cfg.dataset.faces,
        weights=None if crop.weights is None else Path(crop.weights),
        confidence=crop.confidence,
        device="cpu" if cfg.trainer.accelerator == "cpu" else "auto",
    )
    return dataset.FaceCropped(whole, detector, crop.margin, crop.align)


def datamodule(cfg: DictConfig, data: Samples, parts: int = 1) -> FERDataModule:
    """Split ``data`` and make its loaders, of batches in ``parts`` that are computed one after the other."""
    from fersweep.data.datamodule import FERDataModule  # and with it Lightning, which only training needs

    workers = cfg.trainer.workers
    transform = _called(cfg.augmentation.transform, image_size=cfg.dataset.image_size)
    return FERDataModule(
        data,
        _called(cfg.split.function, data),
        train_transform=transform,
        batch_size=cfg.recipe.batch_size,
        seed=cfg.seed,
        workers=None if workers == "auto" else workers,
        overfit_batches=cfg.trainer.overfit_batches,
        parts=parts,
        val_transform=transform if cfg.recipe.augment_validation else None,
    )


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
