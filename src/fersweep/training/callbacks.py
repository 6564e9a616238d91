"""What happens beside training: the history of epochs, and which checkpoints are kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fersweep import compat
from fersweep.files import atomic_path
from fersweep.training.checkpoint import SLIM

log = logging.getLogger("fersweep")

COLUMNS = ("epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/macro_f1", "lr", "seconds")


class History(Callback):
    """Writes ``history.csv``, one row per epoch, and one line per epoch to the log.

    The rows are a part of every checkpoint, so a resumed run goes on with those of the epochs before it. ``seconds`` is
    the time of the training part of the epoch, ``lr`` the rate of its last step.

    Attributes:
        rows: of the epochs so far.
        earlier: seconds that earlier attempts took until the checkpoint this one goes on from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.images = 0
        self.train_seconds = 0.0
        self.earlier = 0.0
        self._created = time.perf_counter()
        self._start = self._seconds = self._rate = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        elapsed = self.earlier + time.perf_counter() - self._created
        return {"rows": self.rows, "images": self.images, "train_seconds": self.train_seconds, "elapsed": elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows, self.images = list(state_dict["rows"]), state_dict["images"]
        self.train_seconds, self.earlier = state_dict["train_seconds"], state_dict["elapsed"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._seconds = time.perf_counter(), 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.images += len(batch.global_labels)  # once, for all its parts and all processes
        self._seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.train_seconds += self._seconds
        metrics = {key: float(trainer.callback_metrics[key]) for key in COLUMNS if key in trainer.callback_metrics}
        epoch = trainer.current_epoch + 1
        self.rows.append({"epoch": epoch, **metrics, "lr": self._rate, "seconds": round(self._seconds, 3)})
        if trainer.is_global_zero:
            with atomic_path(self.path) as temporary:
                pd.DataFrame(self.rows, columns=list(COLUMNS)).to_csv(temporary, index=False)
            log.info(
                "epoch %d/%d  train loss %.4f accuracy %.4f  val loss %.4f accuracy %.4f  (%.0f s)",
                epoch,
                trainer.max_epochs,
                metrics["train/loss"],
                metrics["train/accuracy"],
                metrics["val/loss"],
                metrics["val/accuracy"],
                self._seconds,
            )

    def images_per_second(self) -> float:
        """Training images a second over all epochs, validation left out."""
        return self.images / self.train_seconds if self.train_seconds else 0.0

    def frame(self) -> pd.DataFrame:
        """The rows so far, with the columns of ``history.csv``."""
        return pd.DataFrame(self.rows, columns=list(COLUMNS))


class Patience(EarlyStopping):
    """Early stopping that a run remembers which was interrupted after it had stopped, while it was tested."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopped_epoch:
            trainer.should_stop = True


def ema_update(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """How averaged weights follow: ``ema = d * ema + (1 - d) * weights``, ``d = min(decay, (1 + n) / (10 + n))``.

    The decay grows with the number of updates ``n`` (as in TensorFlow's ExponentialMovingAverage), so that a short
    training is not dominated by its first weights.
    """

    def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        n = float(updates)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, updates)

    return update


class KeptCheckpoint(ModelCheckpoint):
    """A checkpoint whose run may have been moved: what it knows of its best follows the directory.

    Lightning would forget the best score when the directory has another name, and let a worse epoch win.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, wherever the run's directory lies now."""
        moved = dict(state_dict)
        folder = Path(str(self.dirpath))
        moved["dirpath"] = self.dirpath
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[key] = str(folder / Path(moved[key]).name) if moved.get(key) else ""
        moved["best_k_models"] = {
            str(folder / Path(path).name): score for path, score in moved["best_k_models"].items()
        }
        super().load_state_dict(moved)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that appear whole or not at all, on any file system; no run goes on from the best: it is `SLIM`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write beside ``path`` and move there."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: checkpoint[key] for key in SLIM} if path.stem == "best" else checkpoint
        with atomic_path(path) as temporary:
            torch.save(kept, temporary)


def callbacks(recipe: Mapping[str, Any], run_dir: Path, progress_bar: bool) -> list[Callback]:
    """All callbacks of a run. ``best.ckpt`` is that of the best validation accuracy, the first of equals."""
    folder = run_dir / "checkpoints"
    best = KeptCheckpoint(
        folder, filename="best", monitor="val/accuracy", mode="max", save_last=False, enable_version_counter=False
    )
    last = KeptCheckpoint(folder, filename="last", save_top_k=1, enable_version_counter=False)
    made: list[Callback] = [History(run_dir / "history.csv"), best, last]
    if recipe["early_stopping_patience"] is not None:
        made.append(Patience("val/loss", mode="min", patience=recipe["early_stopping_patience"]))
    if recipe["ema_decay"] is not None:
        made.insert(0, WeightAveraging(multi_avg_fn=ema_update(recipe["ema_decay"])))
    if progress_bar:
        made.append(RichProgressBar(leave=False))
    return made


def precision(choice: str, device: torch.device) -> str:
    """Lightning's name of a precision; ``auto`` is bf16 where the device has bf16 arithmetic, else 32 bits."""
    if choice == "auto":
        if device.type == "cuda":
            choice = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
        else:
            choice = "bf16" if compat.cpu_has_bf16() else "32"
    return {"bf16": "bf16-mixed", "32": "32-true"}[choice]
