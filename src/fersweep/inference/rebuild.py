"""Networks rebuilt from the configurations that files of weights store."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from fersweep import build
from fersweep.config import plugins
from fersweep.config.checks import check_images
from fersweep.config.schema import Config, one_line
from fersweep.errors import UserError
from fersweep.models.fast import speed_up


def rebuild(
    config: Mapping[str, Any], classes: int, path: Path, weights: Mapping[str, Tensor]
) -> tuple[DictConfig, nn.Module]:
    """Return the configuration stored in ``path`` and its network, in evaluation mode, with random weights.

    The network takes no memory before its shapes are compared with those of the ``weights`` in the file.

    Raises:
        UserError: the configuration needs a plugin, is not resolved, has settings unknown to this version, or
            describes another network than the weights.
    """
    if "${" in json.dumps(config, default=str):
        raise UserError(f"The configuration in {path} is not resolved: fersweep did not write this file.")
    try:
        cfg = OmegaConf.merge(OmegaConf.structured(Config), dict(config))
        assert isinstance(cfg, DictConfig)
        check_images(cfg)
        _refuse_plugins(cfg, path)
        with torch.random.fork_rng(devices=[]):  # leave the caller's random state alone
            with torch.device("meta"), _no_more_layers(8 * len(weights) + 400):
                unlike = _unlike(build.model(cfg, classes), weights)
            network = None if unlike else speed_up(build.model(cfg, classes))
    except PluginError:
        raise
    except (*UNBUILT, RuntimeError, MemoryError) as error:
        raise UserError(
            f"{path} was written by another version of fersweep, whose settings differ ({one_line(error)}): "
            "use that version."
        ) from error
    if network is None:
        raise UserError(f"{path} is damaged or was changed: its configuration is not that of its weights: {unlike}.")
    return cfg, network.train(False).requires_grad_(False)


@contextlib.contextmanager
def _no_more_layers(limit: int) -> Iterator[None]:
    """Raise UserError as soon as networks in the block have more than ``limit`` layers; a file may ask for billions."""
    layers = itertools.count(1)

    def count(*_: Any) -> None:
        if next(layers) > limit:
            raise UserError(f"it describes more than {limit:,} layers")

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


class PluginError(UserError):
    """Checkpoint that needs a plugin which is not in use."""


UNBUILT = (OmegaConfBaseException, HydraException, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""Errors of a configuration that does not fit this version."""


def _refuse_plugins(cfg: DictConfig, path: Path) -> None:
    """Raise PluginError if a stored configuration needs a plugin that is not in use."""
    if missing := [name for name in cfg.plugins if name not in plugins.used()]:
        raise PluginError(
            f"{path} needs the plugin {missing[0]}, which is code: if you trust it, name it with --plugin {missing[0]} "
            f"(in Python: plugins=[{missing[0]!r}])."
        )


def _unlike(network: nn.Module, weights: Mapping[str, Tensor]) -> str | None:
    """Return the first difference between the shapes of a network and of weights in words, or ``None``."""
    own = network.state_dict()
    for key in [*own, *weights]:
        stored, expected = (tuple(each[key].shape) if key in each else "absent" for each in (weights, own))
        if stored != expected:
            return f"{key} is {expected} in the one and {stored} in the other"
    return None
