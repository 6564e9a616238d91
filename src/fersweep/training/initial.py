"""Weights that a network starts with: of a checkpoint or an exported file, of another program's, or of its library."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.models.common import refuse_not_finite
from fersweep.models.pretrained import Pretrained, read
from fersweep.training import checkpoint, weights_file

KINDS = "a .ckpt or .safetensors file, or the directory of a finished run"
"""Files from which any network can start, in words; one of another library takes a .pth file, too."""


def load(network: nn.Module, cfg: DictConfig) -> None:
    """Replace a network's random weights by those that ``weights`` or ``backbone.model.pretrained`` name, if any.

    Raises:
        UserError: they are another network's or not finite, or cannot be read or downloaded.
    """
    if isinstance(network, Pretrained) and network.pretrained:
        network.download()
    if cfg.weights is None:
        return
    path = checkpoint.find(Path(cfg.weights), KINDS)
    if isinstance(network, Pretrained) and not (_is_checkpoint(path) or weights_file.is_exported(path)):
        network.load(read(path), str(path))
        return
    if path.suffix == weights_file.SUFFIX:
        weights, about = weights_file.read(path)
        checkpoint.put(network, weights, about["config"], path)
    else:
        checkpoint.load_weights(network, path)
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
    if not zipfile.is_zipfile(path):
        return False
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError):
        return False  # reading it says why
    return isinstance(content, dict) and "fersweep" in content
