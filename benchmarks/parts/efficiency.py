"""An epoch of the project's training beside the bare loop, in turn, in one process."""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from benchmarks.bare import BareLoop
from benchmarks.epochs import Epoch, EpochClock, rates, steps, train
from benchmarks.measure import Part, figures, seconds
from benchmarks.settings import Settings

NOTE = (
    "Rates count training images. The bare epoch is the bare loop and the forward passes of validation; the "
    "epoch has validation, history and checkpoints too."
)


class BareEpochs:
    """Before each epoch of a run: the bare loop with a copy of its network, as many images and as many steps."""

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


def measure(settings: Settings) -> Part:
    """Measure images per second of epochs of real runs and of the bare loop, for every backbone and batch size."""
    part = Part(notes=[NOTE])
    for case, overrides in settings.cases():
        cfg = settings.compose(*overrides, f"recipe.max_epochs={settings.repeats + 1}")
        between = BareEpochs(cfg, settings.device)
        ours = train(cfg, EpochClock(settings.device, between))[1:]  # the first includes what is done only once
        bare = between.epochs[1:]
        images = sum(between.training)
        values = {
            **rates(images, bare, "bare loop", "bare epoch"),
            **rates(images, ours, "training batches", "epoch"),
        }
        ratios = {"training batches": "bare loop", "epoch": "bare epoch"}
        part.figures += figures("images/s", case, values, ratios)
        rest = tuple(each.total - each.training - each.validation for each in ours)
        part.figures += figures("s", case, {"history and checkpoints, per epoch": rest})
    return part
