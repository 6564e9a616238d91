"""Checkpoints, early stopping and averaged weights of short fits, in numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from linear import made
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import Tensor

from fersweep.data.datamodule import FERDataModule
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split
from fersweep.training.callbacks import AtomicCheckpointIO, callbacks, ema_update
from fersweep.training.module import FERModule

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
]

SCRIPT = {"val/loss": (1.0, 0.9, 0.95, 0.93, 0.5, 0.4), "val/accuracy": (0.7, 0.5, 0.7, 0.6, 0.8, 0.9)}


def scripted(module: FERModule) -> FERModule:
    """Replace the validation metrics of ``module`` by those of the script."""
    log = module.log_dict

    def log_dict(values: dict[str, Any], **options: Any) -> None:
        log({key: SCRIPT[key][module.current_epoch] if key in SCRIPT else values[key] for key in values}, **options)

    module.log_dict = log_dict  # type: ignore[method-assign,assignment]
    return module


class Weights(pl.Callback):
    """Records the weights after every step."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.steps.append(pl_module.model[1].weight.detach().clone())  # type: ignore[index,union-attr]


def fit(folder: Path, epochs: int, **recipe: Any) -> list[Tensor]:
    """Fit a linear classifier to three batches of four images; return its weights after every step."""
    rng = np.random.default_rng(5)
    images, labels = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8), rng.integers(0, 7, 20)
    samples = Samples(images, labels, np.array([str(index) for index in range(20)]), CLASSES)
    split = Split(np.arange(12), np.arange(12, 16), np.arange(16, 20))
    weights = Weights()
    recipe = {"early_stopping_patience": None, "ema_decay": None, **recipe}
    trainer = pl.Trainer(
        accelerator="cpu",
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],
        max_epochs=epochs,
        callbacks=[weights, *callbacks(recipe, folder, progress_bar=False)],
        logger=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = FERDataModule(samples, split, None, 4, seed=1, workers=0)
    trainer.fit(scripted(made(max_epochs=epochs, schedule="cosine")), datamodule=data)
    return weights.steps


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content


def test_stopping_watches_the_loss_and_the_best_checkpoint_the_accuracy(tmp_path: Path) -> None:
    """Patience with the loss ends after the fourth epoch, with the accuracy after the third; the first best is kept."""
    fit(tmp_path, 6, early_stopping_patience=2)
    table = pd.read_csv(tmp_path / "history.csv")
    assert table["val/loss"].tolist() == pytest.approx(SCRIPT["val/loss"][:4])
    assert table["val/accuracy"].tolist() == pytest.approx(SCRIPT["val/accuracy"][:4])
    rates = [0.25 * (1 + math.cos(math.pi * (3 * epoch + 2) / 18)) for epoch in range(4)]  # of each epoch's last step
    assert table["lr"].tolist() == pytest.approx(rates)
    assert checkpoint(tmp_path, "best")["epoch"] == 0
    assert checkpoint(tmp_path, "last")["epoch"] == 3


@pytest.mark.parametrize(("updates", "decay"), [(0, 0.1), (1, 2 / 11), (8, 0.5), (100_000, 0.9)])
def test_the_average_moves_towards_the_weights_by_one_less_the_decay(updates: int, decay: float) -> None:
    averaged = [torch.tensor([10.0, -2.0])]
    ema_update(0.9)(averaged, [torch.tensor([20.0, 4.0])], torch.tensor(updates))
    assert averaged[0].tolist() == pytest.approx([decay * 10 + (1 - decay) * 20, decay * -2 + (1 - decay) * 4])


def test_weights_are_averaged_after_every_step(tmp_path: Path) -> None:
    weights = fit(tmp_path, 2, ema_decay=0.3)
    assert len(weights) == 6
    average = weights[0]
    for updates, current in enumerate(weights[1:], 1):
        decay = min(0.3, (1 + updates) / (10 + updates))
        average = decay * average + (1 - decay) * current
    last = checkpoint(tmp_path, "last")
    torch.testing.assert_close(last["state_dict"]["model.1.weight"], average)
    torch.testing.assert_close(last["current_model_state"]["model.1.weight"], weights[-1])
