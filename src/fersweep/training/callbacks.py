"""Callbacks of every run: history of epochs, checkpoints, early stopping and averaged weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar, WeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fersweep.files import atomic_path
from fersweep.training.checkpoint import SLIM, save

log = logging.getLogger("fersweep")

COLUMNS = ("epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/macro_f1", "lr", "seconds")


class History(Callback):
    """Writes ``history.csv``, one row per epoch, and one line per epoch to the log.

    Checkpoints contain the rows, so a resumed run keeps those of earlier epochs. ``seconds`` is the time of training
    without validation, ``lr`` the rate of the last step.

    Attributes:
        rows: of the epochs so far.
        images: training images so far, of all processes.
        earlier: seconds that earlier attempts took up to the checkpoint this one resumed from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.images = 0
        self.train_seconds = 0.0
        self.earlier = 0.0
        self._created = time.perf_counter()
        self._start = self._seconds = 0.0
        self._rate: float | None = None

    def state_dict(self) -> dict[str, Any]:
        elapsed = self.earlier + time.perf_counter() - self._created
        return {"rows": self.rows, "images": self.images, "train_seconds": self.train_seconds, "elapsed": elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.images = list(state_dict["rows"]), state_dict["images"]
        self.train_seconds, self.earlier = state_dict["train_seconds"], state_dict["elapsed"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._seconds = time.perf_counter(), 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._rate is None:
            log.debug("first training step")
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.images += len(batch.global_labels)  # once for all microbatches and processes
        self._seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.train_seconds += self._seconds
        metrics = {key: float(trainer.callback_metrics[key]) for key in COLUMNS if key in trainer.callback_metrics}
        epoch = trainer.current_epoch + 1
        self.rows.append({"epoch": epoch, **metrics, "lr": self._rate or 0.0, "seconds": round(self._seconds, 3)})
        if trainer.is_global_zero:
            with atomic_path(self.path) as temporary:
                self.frame().to_csv(temporary, index=False)
            log.info(
                "epoch %d/%d  train loss %.4f accuracy %.4f  val loss %.4f accuracy %.4f  (%.0f s)",
                epoch,
                trainer.max_epochs,
                *(metrics[key] for key in COLUMNS[1:5]),
                self._seconds,
            )

    def images_per_second(self) -> float:
        """Return training images per second over all epochs, without validation."""
        return self.images / self.train_seconds if self.train_seconds else 0.0

    def frame(self) -> pd.DataFrame:
        """Return the rows so far, with the columns of ``history.csv``."""
        return pd.DataFrame(self.rows, columns=list(COLUMNS))


class Patience(EarlyStopping):
    """Early stopping that stays in force for a run interrupted during its test."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopped_epoch:
            trainer.should_stop = True


def ema_update(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """Return the update ``ema = d * ema + (1 - d) * weights`` with ``d = min(decay, (1 + n) / (10 + n))``.

    As in TensorFlow's ExponentialMovingAverage, the decay grows with the number of updates ``n``, so that the initial
    weights do not dominate a short training.
    """

    def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        n = float(updates)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, updates)

    return update


class KeptCheckpoint(ModelCheckpoint):
    """`ModelCheckpoint` that survives moving the run: Lightning forgets the best score when the directory changes."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Replace the directory in the saved paths by the current one."""
        folder, moved = Path(str(self.dirpath)), {**state_dict, "dirpath": self.dirpath}
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[key] = str(folder / Path(moved[key]).name) if moved.get(key) else ""
        moved["best_k_models"] = {
            str(folder / Path(path).name): score for path, score in moved["best_k_models"].items()
        }
        super().load_state_dict(moved)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Atomic writes of checkpoints; ``best.ckpt``, which no run resumes from, is reduced to `SLIM`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary file and rename it."""
        path = Path(path)
        path.parent.mkdir(exist_ok=True)  # not the directory of the run, which may have been removed
        kept = {key: checkpoint[key] for key in SLIM} if path.stem == "best" else checkpoint
        save(kept, path)


def callbacks(recipe: Mapping[str, Any], run_dir: Path, progress_bar: bool) -> list[Callback]:
    """Return the callbacks of a run; ``best.ckpt`` is the first epoch of the highest validation accuracy."""
    folder = run_dir / "checkpoints"
    best = KeptCheckpoint(folder, "best", monitor="val/accuracy", mode="max", enable_version_counter=False)
    last = KeptCheckpoint(folder, "last", enable_version_counter=False)
    made: list[Callback] = [History(run_dir / "history.csv"), best, last]
    if recipe["early_stopping_patience"] is not None:
        made.append(Patience("val/loss", mode="min", patience=recipe["early_stopping_patience"]))
    if recipe["ema_decay"] is not None:
        made.insert(0, WeightAveraging(multi_avg_fn=ema_update(recipe["ema_decay"])))
    if progress_bar:
        made.append(RichProgressBar(leave=False))
    return made
