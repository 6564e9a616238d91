"""The LightningModule: how any network of this project is trained, validated and tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
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
from fersweep.data.datamodule import Batch
from fersweep.errors import NotFiniteError
from fersweep.training.calibration import fit_temperature
from fersweep.training.distributed import gather_to_all, summed, world_size
from fersweep.training.optim import clip_gradients
from fersweep.training.schedule import learning_rate_factor


class FERModule(pl.LightningModule):
    """A classifier with its recipe.

    Args:
        model: float32 images ``(B, C, H, W)`` in [0, 1] to logits ``(B, K)``.
        optimizer: called with the parameters.
        recipe: the ``recipe`` group, resolved.
        class_names: ``K`` names.
        class_weights: ``(K,)`` weights of the training loss, or ``None``.
        seed: of mixup and dropout.
        stored: what checkpoints carry beside the weights (plain dicts), so that they can be used alone.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        recipe: Mapping[str, Any],
        class_names: tuple[str, ...],
        class_weights: Tensor | None = None,
        seed: int = 0,
        stored: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer_factory, self.recipe, self.class_names = optimizer, recipe, class_names
        self.seed, self.stored = seed, dict(stored or {})
        self.register_buffer("class_weights", class_weights, persistent=False)
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
        """Logits ``(B, K)`` of uint8 or float images ``(B, C, H, W)``; uint8 is scaled to [0, 1]."""
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        logits: Tensor = self.model(images)
        return logits.float()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by seed and epoch, so that an epoch draws the same after an interruption.

        At the first batch: loaders, which take from the same generator, are made earlier in a run that goes on.
        """
        if batch_idx == 0:
            seeds = np.random.SeedSequence([self.seed, self.current_epoch, self.global_rank])
            torch.manual_seed(int(seeds.generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy with the recipe's smoothing, weights and mixup; accuracy counts the heavier mixup label."""
        images, labels, _, whole = batch
        world, parts = (
            world_size(),
            1 if (trainer := compat.attached_trainer(self)) is None else trainer.accumulate_grad_batches,
        )
        step, part = divmod(batch_idx, parts)
        images = images.float().div_(255)
        other, share = labels, 1.0
        if self.recipe["mixup"] > 0:
            images, other, share = self._mixup(images, labels, step, part * world + self.global_rank)
        logits = self(images)
        loss = share * self._cross_entropy(logits, labels, whole)
        if share < 1:
            loss = loss + (1 - share) * self._cross_entropy(logits, other, whole)
        if batch_idx % (50 * parts) == 0:
            self._refuse_not_finite("training", summed(loss.detach()), step)
        mean = loss.detach() * (len(whole) / max(len(labels), 1))  # its mean over all images is that of the whole batch
        self.train_loss.update(mean.expand(len(labels)))  # weights are lost without a NaN strategy
        if len(labels):  # torchmetrics cannot count nothing
            self.train_metrics.update(logits.detach(), labels)
        penalty = self._convolution_penalty() if self.recipe["convolution_l2"] > 0 else 0.0
        return loss * (world * parts) + penalty  # DDP takes the mean over processes, Lightning that over parts

    def _convolution_penalty(self) -> Tensor:
        """The recipe's ``convolution_l2`` · Σ w² over the kernels of all Conv2d; logged losses are without it."""
        kernels = [each.weight for each in self.model.modules() if isinstance(each, nn.Conv2d)]
        total = torch.stack([kernel.square().sum() for kernel in kernels]).sum()
        return total * float(self.recipe["convolution_l2"])

    def _cross_entropy(self, logits: Tensor, labels: Tensor, whole: Tensor) -> Tensor:
        """What these images add to the mean over the whole batch, whose labels are ``whole``."""
        loss = partial(F.cross_entropy, logits, labels, self.class_weights)
        smoothing = self.recipe["label_smoothing"]
        if len(labels) == len(whole):
            return loss(label_smoothing=smoothing)
        counted = len(whole) if self.class_weights is None else self.class_weights[whole].sum()
        return loss(label_smoothing=smoothing, reduction="sum") / counted

    def _mixup(self, images: Tensor, labels: Tensor, step: int, place: int) -> tuple[Tensor, Tensor, float]:
        """Convex pairs of images (Zhang et al. 2018, eq. 1); the share is that of the first label, at least a half.

        The share is one for the whole batch; pairs are made within what is computed at once, numbered by ``place``.
        """
        rng = np.random.default_rng([self.seed, self.current_epoch, step, 0])
        share = float(rng.beta(self.recipe["mixup"], self.recipe["mixup"]))
        share = max(share, 1 - share)
        if place:
            rng = np.random.default_rng([self.seed, self.current_epoch, step, place])
        partner = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
        return images.mul(share).add_(images[partner], alpha=1 - share), labels[partner], share

    def _refuse_not_finite(self, part: str, loss: Tensor, batch_idx: int | None = None) -> None:
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

    def on_validation_epoch_start(self) -> None:
        self.val_outputs.clear()

    def on_validation_epoch_end(self) -> None:
        """Log the epoch: validation ends it, and whoever listens at the end of training then finds all its numbers.

        Each number is of all processes' images and the same on all, as their largest is, to the last bit. A checkpoint
        of the epoch holds the temperature that calibrates its network, fitted on these images.
        """
        self._refuse_not_finite("training", self.train_loss.compute())
        self._refuse_not_finite("validation", self.val_loss.compute())
        for name, loss, metrics in (
            ("train/loss", self.train_loss, self.train_metrics),
            ("val/loss", self.val_loss, self.val_metrics),
        ):
            self.log_dict({name: loss.compute(), **metrics.compute()}, sync_dist=True, reduce_fx="max")
            loss.reset()
            metrics.reset()
        self._calibrate()

    def _calibrate(self) -> None:
        """Fit the temperature to the validation images of all processes that were just looked at."""
        logits, labels = (gather_to_all(torch.cat(parts)).cpu() for parts in zip(*self.val_outputs, strict=True))
        self.stored["temperature"] = fit_temperature(logits, labels)
        self.val_outputs.clear()

    def on_predict_epoch_start(self) -> None:
        self.val_outputs.clear()

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Keep the logits of validation images that are not augmented, where those of an epoch are."""
        logits: Tensor = self(batch.images)
        self.val_outputs.append((logits, batch.labels))
        return logits

    def on_predict_epoch_end(self) -> None:
        self._calibrate()

    def on_test_epoch_start(self) -> None:
        self.test_outputs.clear()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep indices, single-view probabilities and, with ten crops, their mean probabilities."""
        single = self(batch.images).softmax(dim=1)
        final = single if self.recipe["test_crops"] == 1 else self.ten_crop_probabilities(batch.images)
        self.test_outputs.append((batch.indices.cpu(), single.cpu(), final.cpu()))

    def ten_crop_probabilities(self, images: Tensor, fraction: float = 0.9) -> Tensor:
        """Mean probabilities ``(B, K)`` over four corners, the centre, and their mirror images.

        Crops have ``fraction`` of the side and are enlarged to it (bilinear): the ten views of Krizhevsky et al. 2012,
        section 4.1, at the size the network was trained for.
        """
        images = images.float().div(255) if images.dtype == torch.uint8 else images
        height, width = images.shape[-2:]
        crop_h, crop_w = round(height * fraction), round(width * fraction)
        bottom, right = height - crop_h, width - crop_w
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
        total = torch.zeros(len(images), len(self.class_names), device=images.device)
        for top, left in corners:
            view = images[..., top : top + crop_h, left : left + crop_w]
            view = F.interpolate(view, size=(height, width), mode="bilinear", align_corners=False)
            for face in (view, view.flip(-1)):
                total += self(face).softmax(dim=1)
        return total / 10

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.parameters())
        steps = self.trainer.estimated_stepping_batches
        per_epoch = steps / self.recipe["max_epochs"]
        warmup = self.recipe["warmup_epochs"] * per_epoch
        schedule = LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, int(steps), warmup, self.recipe["schedule"])
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip all gradients by their norm; Lightning's own way is closed to fused optimisers."""
        if gradient_clip_val is not None:
            clip_gradients(self.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["fersweep"] = self.stored
