"""Timed epochs of real trainings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from benchmarks.measure import clock
from fersweep.training.attempt import prepare, run_frozen


@dataclass(frozen=True)
class Epoch:
    """Seconds of an epoch: its training batches, its validation, and all of it up to the start of the next."""

    training: float
    validation: float
    total: float


class EpochClock(pl.Callback):
    """Times the epochs of a trainer on ``device``; calls ``between`` before each, off the clock."""

    def __init__(self, device: torch.device, between: Callable[[pl.Trainer, Any], None] = lambda *_: None) -> None:
        self.device, self.between = device, between
        self.epochs: list[Epoch] = []
        self._begun: float | None = None
        self._training = self._validation = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()
        self.between(trainer, pl_module)
        self._begun = clock(self.device)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.is_last_batch and self._begun is not None:
            self._training = clock(self.device) - self._begun

    def on_validation_start(self, *_: Any) -> None:
        self._validation = -clock(self.device)

    def on_validation_end(self, *_: Any) -> None:
        self._validation += clock(self.device)

    def on_train_end(self, *_: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self._begun is not None:
            self.epochs.append(Epoch(self._training, self._validation, clock(self.device) - self._begun))
            self._begun = None


def train(cfg: DictConfig, timer: EpochClock) -> list[Epoch]:
    """Train the run ``cfg`` in this process, remove its directory, and return its epochs."""
    config, directory = prepare(cfg)
    run_frozen(config, callbacks=(timer,))
    shutil.rmtree(directory)
    return timer.epochs


def steps(images: int, size: int, least: int = 1) -> tuple[int, ...]:
    """Return the sizes of an epoch's batches, without a last one of fewer than ``least`` images."""
    full, rest = divmod(images, size)
    return (size,) * full + ((rest,) if rest >= least else ())


def rates(images: int, epochs: Sequence[Epoch], batches: str, epoch: str) -> dict[str, tuple[float, ...]]:
    """Return training images per second, over the training batches and over the epoch, under these names."""
    return {
        batches: tuple(images / each.training for each in epochs),
        epoch: tuple(images / each.total for each in epochs),
    }
