"""Weights that a network starts with: of a checkpoint, of a file of another program, or of its library."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.files import given
from fersweep.models.common import refuse_not_finite
from fersweep.models.pretrained import Pretrained, read
from fersweep.training import checkpoint

KINDS = "a .ckpt, .safetensors or .pth file of weights, or the directory of a finished run"
"""Files from which a network of another library can start, in words."""


def load(network: nn.Module, cfg: DictConfig) -> None:
    """Replace a network's random weights by those that ``weights`` or ``backbone.model.pretrained`` name, if any.

    Raises:
        UserError: they are another network's or not finite, or cannot be read or downloaded.
    """
    if isinstance(network, Pretrained) and network.pretrained:
        network.download()
    if cfg.weights is None:
        return
    path = given(Path(cfg.weights))
    if isinstance(network, Pretrained) and path.is_file() and not _is_checkpoint(path):
        network.load(read(path), str(path))
    else:
        stored = checkpoint.find(path, KINDS) if isinstance(network, Pretrained) else path
        checkpoint.load_weights(network, stored)
        refuse_not_finite(network.state_dict(), str(path))


def check(cfg: DictConfig) -> None:
    """Load the weights of another program once, before a run begins; UserError as `load`."""
    if cfg.weights is None and not cfg.backbone.model.get("pretrained"):
        return
    network = build.model(cfg, len(CLASSES))
    if isinstance(network, Pretrained):
        load(network, cfg)


def _is_checkpoint(path: Path) -> bool:
    """Return whether a file is a checkpoint of this project."""
    if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):
        return False
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError):
        return False  # reading it says why
    return isinstance(content, dict) and "fersweep" in content
