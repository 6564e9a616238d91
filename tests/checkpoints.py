"""Checkpoints of untrained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import plain, quickly_composed

from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.training import checkpoint


def write_checkpoint(path: Path, *overrides: str, **stored: Any) -> Path:
    """Write a checkpoint as a run does, with random weights; ``stored`` replaces entries of ``fersweep``."""
    cfg = quickly_composed(*overrides)
    torch.manual_seed(0)
    state = {f"model.{key}": value for key, value in build.model(cfg, len(CLASSES)).state_dict().items()}
    about = checkpoint.stored(plain(cfg), CLASSES, "digest", "32-true", 1) | {"temperature": 1.7, **stored}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, "epoch": 0, "fersweep": about}, path)
    return path
