"""Network of a run, prepared for training, and the operations that this takes."""

from __future__ import annotations

import logging

import torch
from omegaconf import DictConfig
from torch import nn

from fersweep import build
from fersweep.config.schema import input_size
from fersweep.models import flops
from fersweep.models.fast import speed_up
from fersweep.text import first_line
from fersweep.training import initial
from fersweep.training.batch_norm import sync_batch_norm
from fersweep.training.distributed import world_size

log = logging.getLogger("fersweep")


def network_for_training(cfg: DictConfig, num_classes: int, device: torch.device, resumed: bool = False) -> nn.Module:
    """Build the network of a run and prepare it for training.

    In this order: exchange layers for faster ones, load initial weights unless a checkpoint of the run itself follows
    (``resumed``), synchronise batch norm over several processes, set the memory format, compile.
    """
    network = speed_up(build.model(cfg, num_classes))
    if not resumed:
        initial.load(network, cfg)
    if world_size() > 1:
        network = sync_batch_norm(network, device.type)
    network = laid_out(network, cfg)
    if cfg.trainer.compile:
        network.compile()
    return network


def laid_out(network: nn.Module, cfg: DictConfig) -> nn.Module:
    """Return the network in the memory format of its run."""
    if cfg.trainer.memory_format == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    return network


def operations(cfg: DictConfig, num_classes: int, images: int) -> dict[str, int | None]:
    """Return ``forward_flops`` of one image, and ``training_flops`` of forward and backward passes of ``images``.

    They are those of the network as configured, whatever device, precision and faster layers it was trained with
    (`fersweep.models.flops`); ``None`` for a network with a layer that torch cannot count.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = build.model(cfg, num_classes)
            counted = flops.count(network, cfg.dataset.channels, input_size(cfg))
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:  # of a plugin: the run is done anyway
        log.warning("the operations of the network cannot be counted: %s", first_line(error))
        return {"forward_flops": None, "training_flops": None}
    return {"forward_flops": counted.forward, "training_flops": counted.training * images}
