"""Network of a run, prepared for training."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from fersweep import build
from fersweep.models.fast import speed_up
from fersweep.training import checkpoint
from fersweep.training.batch_norm import sync_batch_norm
from fersweep.training.distributed import world_size


def network_for_training(cfg: DictConfig, num_classes: int, device: torch.device) -> nn.Module:
    """Build the network of a run and prepare it for training.

    In this order: exchange layers for faster ones, load ``weights``, synchronise batch norm over several processes, set
    the memory format, compile.
    """
    network = speed_up(build.model(cfg, num_classes))
    if cfg.weights is not None:
        checkpoint.load_weights(network, Path(cfg.weights))
    if world_size() > 1:
        network = sync_batch_norm(network, device.type)
    if cfg.trainer.memory_format == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    if cfg.trainer.compile:
        network.compile()
    return network
