"""An epoch of the project's training beside the bare loop, in turn, in one process."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from benchmarks.bare import BareLoop
from benchmarks.measure import Part, clock, figures, seconds
from benchmarks.settings import Settings
from fersweep.training.attempt import prepare, run_frozen


@dataclass(frozen=True)
class Epoch:
    """Seconds of an epoch: of its training batches, its validation, and all of it to the start of the next."""

    training: float
    validation: float
    whole: float


class EpochClock(pl.Callback):
    """Times the epochs of any trainer on ``device``; ``between`` is called before each, off the clock."""

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


class Between:
    """The bare loop, before each epoch of a run: over as many images, in as many steps, with a copy of its network."""

    def __init__(self, cfg: DictConfig, device: torch.device) -> None:
        self.cfg, self.device = cfg, device
        self.loop: BareLoop | None = None
        self.epochs: list[Epoch] = []
        self.training: tuple[int, ...] = ()
        self.validation: tuple[int, ...] = ()

    def __call__(self, trainer: pl.Trainer, module: Any) -> None:
        if self.loop is None:
            self.loop = BareLoop(copy.deepcopy(module.model), self.cfg, self.device)
            split, size = trainer.datamodule.split, self.cfg.recipe.batch_size  # type: ignore[attr-defined]
            self.training = steps(len(split.train), size, least=2)
            self.validation = steps(len(split.val), size)
        step, validate = self.loop.step, self.loop.validate
        trained = seconds(lambda: [step(count) for count in self.training], self.device)
        validated = seconds(lambda: [validate(count) for count in self.validation], self.device)
        self.epochs.append(Epoch(trained, validated, trained + validated))


def steps(images: int, size: int, least: int = 1) -> tuple[int, ...]:
    """The sizes of an epoch's batches; a last one of fewer than ``least`` images is left out."""
    full, rest = divmod(images, size)
    return (size,) * full + ((rest,) if rest >= least else ())


def rates(images: int, epochs: Sequence[Epoch], batches: str, whole: str) -> dict[str, tuple[float, ...]]:
    """Training images a second, over the training batches and over the whole of each epoch, under these names."""
    return {
        batches: tuple(images / each.training for each in epochs),
        whole: tuple(images / each.whole for each in epochs),
    }


def measure(settings: Settings) -> Part:
    """Images a second of whole epochs of real runs over those of the bare loop, for every backbone and batch size."""
    part = Part(
        notes=[
            "Rates count training images. The bare epoch is the bare loop and the forward passes of validation; the "
            "whole epoch has validation, history and checkpoints too."
        ]
    )
    for case, overrides in settings.cases():
        cfg = settings.compose(*overrides, f"recipe.max_epochs={settings.repeats + 1}")
        config, directory = prepare(cfg)
        between = Between(cfg, settings.device)
        timer = EpochClock(settings.device, between)
        run_frozen(config, callbacks=(timer,))
        shutil.rmtree(directory)
        ours, bare = timer.epochs[1:], between.epochs[1:]  # the first of each is for what is done only once
        images = sum(between.training)
        values = {
            **rates(images, bare, "bare loop", "bare epoch"),
            **rates(images, ours, "training batches", "whole epoch"),
        }
        ratios = {"training batches": "bare loop", "whole epoch": "bare epoch"}
        part.figures += figures("images/s", case, values, ratios)
        rest = tuple(each.whole - each.training - each.validation for each in ours)
        part.figures += figures("s", case, {"history and checkpoints, an epoch": rest})
    return part
