"""One run to train, as one of its processes sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from fersweep.data.samples import Samples
from fersweep.errors import LockLostError
from fersweep.runs.lock import Claim
from fersweep.training.disk import removed


@dataclass(frozen=True)
class Job:
    """A run to train.

    Attributes:
        cfg: the configuration; ``config`` is the same, resolved, as plain dicts.
        claim: rank zero's claim to the directory; ``None`` on other ranks.
        callbacks: of the caller, beside those of the configuration.
        samples: the data, if they are read already.
    """

    cfg: DictConfig
    config: dict[str, Any]
    directory: Path
    device: torch.device
    progress_bar: bool
    claim: Claim | None
    callbacks: tuple[pl.Callback, ...]
    samples: Samples | None = None

    @property
    def last(self) -> Path:
        """Checkpoint that training resumes from."""
        return self.directory / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint of the best validation accuracy."""
        return self.directory / "checkpoints" / "best.ckpt"

    def check_claim(self) -> None:
        """Raise LockLostError if the run's directory was removed, or another process has taken it over."""
        if self.claim is not None and self.claim.lost:
            if not self.directory.exists():
                raise removed(self.directory)
            raise LockLostError(
                f"The lock of the run's directory is lost, {self.claim.lost}: this process leaves the run alone."
            )
