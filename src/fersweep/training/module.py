"""LightningModule that trains, validates and tests a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from fersweep import compat
from fersweep.data import crops
from fersweep.data.datamodule import Batch
from fersweep.errors import NotFiniteError
from fersweep.training.calibration import fit_temperature
from fersweep.training.distributed import all_gather_cat, all_reduce_sum, world_size
from fersweep.training.losses import convolution_penalty, cross_entropy_share, distillation_share, mixing
from fersweep.training.optim import clip_gradients, learning_rate_factor, parameter_groups
from fersweep.training.targets import SoftTargets


class FERModule(pl.LightningModule):
    """A classifier and the recipe that trains it.

    Args:
        model: float32 images ``(B, C, S, S)`` in [0, 1] to logits ``(B, K)``; S is ``recipe.crop``, or H and W.
        optimizer: called with the parameters, or with groups of them (`fersweep.training.optim.parameter_groups`).
        recipe: the ``recipe`` group, resolved.
        class_names: ``K`` names.
        class_weights: of the training loss, ``(K,)`` or ``None``.
        seed: of mixup, CutMix and dropout.
        soft_labels: probabilities ``(N, K)`` of all images by the teachers of ``recipe.teacher``, or ``None``.
        metadata: saved in checkpoints under ``fersweep``: plain dicts, lists and scalars.
        targets: learnt in place of the labels, or ``None``. Accuracy, validation and test compare with the labels.
    """

    class_weights: Tensor | None
    soft_labels: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        recipe: Mapping[str, Any],
        class_names: tuple[str, ...],
        class_weights: Tensor | None = None,
        seed: int = 0,
        metadata: Mapping[str, Any] | None = None,
        soft_labels: Tensor | None = None,
        targets: SoftTargets | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer_factory, self.recipe, self.class_names = optimizer, recipe, class_names
        self.seed, self.metadata, self.targets = seed, dict(metadata or {}), targets
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_buffer("soft_labels", soft_labels, persistent=False)
        classes = len(class_names)
        self.train_metrics = MetricCollection({"train/accuracy": MulticlassAccuracy(classes, average="micro")})
        self.val_metrics = MetricCollection(
            {
                "val/accuracy": MulticlassAccuracy(classes, average="micro"),
                "val/macro_f1": MulticlassF1Score(classes, average="macro"),
            }
        )
        self.train_loss, self.val_loss = MeanMetric(nan_strategy="disable"), MeanMetric(nan_strategy="disable")
        self.val_outputs: list[tuple[Tensor, Tensor]] = []
        self.test_outputs: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K)`` of images ``(B, C, H, W)``, uint8 or float in [0, 1], or of their centre crops."""
        images = crops.centre(images, self.recipe["crop"])
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        logits: Tensor = self.model(images)
        return logits.float()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by seed and epoch, so that an epoch draws the same numbers after an interruption.

        This happens at the first batch because a resumed run creates its loaders, which use the generator, earlier.
        """
        if batch_idx == 0:
            seeds = np.random.SeedSequence([self.seed, self.current_epoch, self.global_rank])
            torch.manual_seed(int(seeds.generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a microbatch, scaled so that DDP's and Lightning's means make it that of the batch."""
        trainer, world = compat.attached_trainer(self), world_size()
        microbatches = 1 if trainer is None else trainer.accumulate_grad_batches
        step, microbatch = divmod(batch_idx, microbatches)
        logits, labels, loss = self._logits_and_loss(batch, step, microbatch * world + self.global_rank)
        if batch_idx % (50 * microbatches) == 0:
            self._check_finite("training", all_reduce_sum(loss.detach()), step)
        self._update_train_metrics(batch._replace(labels=labels), logits.detach(), loss.detach())
        loss = loss * (world * microbatches)
        if self.recipe["convolution_l2"] > 0:
            loss = loss + convolution_penalty(self.model) * float(self.recipe["convolution_l2"])
        return loss

    def _logits_and_loss(self, batch: Batch, step: int, position: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, labels and the share in the batch's cross-entropy; of mixed labels those of greater weight."""
        images = crops.centre(batch.images, self.recipe["crop"]).float().div_(255)  # those that are not yet crops
        labels, weight = batch.labels, 1.0
        partner = torch.arange(len(labels), device=labels.device)
        seed, alphas = (self.seed, self.current_epoch, step), (self.recipe["mixup"], self.recipe["cutmix"])
        if chosen := mixing(*alphas, seed):
            images, partner, weight = chosen(images, partner, seed=seed, position=position)
        logits: Tensor = self(images)
        options = batch.global_labels, self.class_weights, self.recipe["label_smoothing"]
        loss_of: Callable[..., Tensor] = cross_entropy_share
        learnt = labels
        if self.targets is not None:
            loss_of, learnt = self.targets.share, self.targets.rows(batch.indices, self.current_epoch)
        loss = weight * loss_of(logits, learnt, *options)
        if weight < 1:
            loss = loss + (1 - weight) * loss_of(logits, learnt[partner], *options)
        if self.soft_labels is not None:
            soft, share = self.soft_labels[batch.indices], float(self.recipe["teacher_weight"])
            soft = weight * soft + (1 - weight) * soft[partner]
            taught = distillation_share(logits, soft, self.recipe["teacher_temperature"], len(batch.global_labels))
            loss = (1 - share) * loss + share * taught
        return logits, labels if weight >= 0.5 else labels[partner], loss

    def _update_train_metrics(self, batch: Batch, logits: Tensor, loss: Tensor) -> None:
        """Update training loss and accuracy; with mixed images, the label of the larger weight is correct."""
        count = len(batch.labels)
        mean = loss * (len(batch.global_labels) / max(count, 1))  # its mean over all images is that of the batch
        self.train_loss.update(mean.expand(count))  # MeanMetric drops its weights when nan_strategy is disabled
        if count:  # torchmetrics rejects an empty batch
            self.train_metrics.update(logits, batch.labels)

    def _check_finite(self, part: str, loss: Tensor, batch_idx: int | None = None) -> None:
        if not torch.isfinite(loss).all():
            place = f"epoch {self.current_epoch + 1}" + ("" if batch_idx is None else f", batch {batch_idx + 1}")
            raise NotFiniteError(
                f"The {part} loss became {float(loss)} in {place}: lower recipe.optimizer.lr, "
                "set recipe.gradient_clip=1, lengthen recipe.warmup_epochs, or use trainer.precision=32."
            )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self(batch.images)
        self.val_outputs.append((logits, batch.labels))
        self.val_loss.update(F.cross_entropy(logits, batch.labels, reduction="none"))
        if len(batch.labels):
            self.val_metrics.update(logits, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the epoch, training included, and fit the temperature that its checkpoint stores.

        Each metric covers the images of all processes; the maximum over processes makes it equal to the last bit.
        """
        self._check_finite("training", self.train_loss.compute())
        self._check_finite("validation", self.val_loss.compute())
        for name, loss, metrics in (
            ("train/loss", self.train_loss, self.train_metrics),
            ("val/loss", self.val_loss, self.val_metrics),
        ):
            self.log_dict({name: loss.compute(), **metrics.compute()}, sync_dist=True, reduce_fx="max")
            loss.reset()
            metrics.reset()
        self._calibrate()

    def _calibrate(self) -> None:
        """Fit the temperature to the validation logits of all processes."""
        logits, labels = (all_gather_cat(torch.cat(batches)).cpu() for batches in zip(*self.val_outputs, strict=True))
        self.metadata["temperature"] = fit_temperature(logits, labels)
        self.val_outputs.clear()

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Keep the logits of unaugmented validation images, for a recipe that augments those of an epoch."""
        logits: Tensor = self(batch.images)
        self.val_outputs.append((logits, batch.labels))
        return logits

    def on_predict_epoch_end(self) -> None:
        self._calibrate()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep indices, single-view probabilities and, with ten crops, their mean probabilities."""
        single = self(batch.images).softmax(dim=1)
        final = single if self.recipe["test_crops"] == 1 else self.ten_crop_probabilities(batch.images)
        self.test_outputs.append((batch.indices.cpu(), single.cpu(), final.cpu()))

    def ten_crop_probabilities(self, images: Tensor, fraction: float = 0.9) -> Tensor:
        """Return mean probabilities ``(B, K)`` over four corners, the centre, and their mirror images.

        The ten views of Krizhevsky et al. 2012, section 4.1, at the size the network was trained for: of the side
        ``recipe.crop``, or else of ``fraction`` of the side and resized to the full side (bilinear).
        """
        images = images.float().div(255) if images.dtype == torch.uint8 else images
        size = height, width = images.shape[-2:]
        if self.recipe["crop"] is not None:
            views = crops.five(images, self.recipe["crop"], self.recipe["crop"])
        else:
            views = crops.five(images, round(height * fraction), round(width * fraction))
            views = tuple(F.interpolate(view, size=size, mode="bilinear", align_corners=False) for view in views)
        total = torch.zeros(len(images), len(self.class_names), device=images.device)
        for view in views:
            for face in (view, view.flip(-1)):
                total += self(face).softmax(dim=1)
        return total / 10

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(parameter_groups(self.model, self.recipe))
        steps = self.trainer.estimated_stepping_batches
        per_epoch = steps / self.recipe["max_epochs"]
        warmup, kind, decay = self.recipe["warmup_epochs"] * per_epoch, self.recipe["schedule"], (0.0, 1.0, 1.0)
        if kind == "step":
            start, length = self.recipe["step_start"] * per_epoch, self.recipe["step_epochs"] * per_epoch
            decay = start, length, self.recipe["step_factor"]
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, int(steps), warmup, kind, decay))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients; Lightning refuses to clip for fused optimisers."""
        if gradient_clip_val is not None:
            clip_gradients(self.parameters(), gradient_clip_val, gradient_clip_algorithm or "norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["fersweep"] = self.metadata
