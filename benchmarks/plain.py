"""A plain Lightning program for the same network: a map-style dataset, augmentation image by image, ``self.log``.

Network, optimiser, clipping, precision, memory format and the number of loading processes are those of a run of this
project; the optimiser's kernels and the allocator are the defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from albumentations.pytorch import ToTensorV2
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from benchmarks.settings import loaders
from fersweep import build
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split
from fersweep.models.fast import speed_up
from fersweep.training import memory
from fersweep.training.devices import precision


class Faces(Dataset[tuple[Tensor, int]]):
    """Images in memory, as float ``(1, H, W)`` in [0, 1], with labels."""

    def __init__(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], augmented: bool) -> None:
        self.images, self.labels = images, labels
        zoom = A.Affine(
            scale={"x": (0.7, 1.3), "y": (0.7, 1.3)}, keep_ratio=False, border_mode=cv2.BORDER_REPLICATE, p=1.0
        )
        flip_zoom = [zoom, A.HorizontalFlip(p=0.5)] if augmented else []
        self.transform = A.Compose([*flip_zoom, A.ToFloat(max_value=255), ToTensorV2()])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(image=self.images[index])["image"], int(self.labels[index])


class Classifier(pl.LightningModule):
    """A network with the metrics of a run of this project."""

    def __init__(self, network: nn.Module, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        super().__init__()
        self.network, self.optimizer = network, optimizer
        self.train_accuracy, self.val_accuracy = (MulticlassAccuracy(len(CLASSES), average="micro") for _ in range(2))
        self.val_f1 = MulticlassF1Score(len(CLASSES), average="macro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        self.train_accuracy(logits, labels)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self.network(images)
        self.val_accuracy(logits, labels)
        self.val_f1(logits, labels)
        self.log("val/loss", F.cross_entropy(logits, labels))
        self.log("val/accuracy", self.val_accuracy)
        self.log("val/macro_f1", self.val_f1)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(
    cfg: DictConfig, samples: Samples, split: Split, folder: Path, device: torch.device, timer: pl.Callback
) -> None:
    """Train one epoch.

    Args:
        cfg: run that gives network, optimiser, precision and batch size.
        samples, split: decoded images, those of training and of validation.
        folder: for history and checkpoints, which are left there.
        device: to compute on.
        timer: a further callback.
    """
    memory.return_freed()
    on_gpu, size = device.type == "cuda", cfg.recipe.batch_size
    options: dict[str, Any] = {"batch_size": size, "num_workers": loaders(device), "pin_memory": on_gpu}
    train, val = (
        Faces(np.array(samples.images[part]), samples.labels[part], augmented)
        for part, augmented in ((split.train, True), (split.val, False))
    )
    network = speed_up(build.model(cfg, len(CLASSES)))
    if cfg.trainer.memory_format == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    trainer = pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        precision=precision(cfg.trainer.precision, device),  # type: ignore[arg-type]
        max_epochs=1,
        gradient_clip_val=cfg.recipe.gradient_clip,
        callbacks=[ModelCheckpoint(folder, monitor="val/accuracy", mode="max", save_last=True), timer],
        logger=CSVLogger(folder),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        Classifier(network, build.make(cfg.recipe.optimizer)),
        DataLoader(train, shuffle=True, drop_last=len(train) % size == 1, **options),
        DataLoader(val, **options),
    )
