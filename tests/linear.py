"""A linear classifier of 8×8 images, small enough to check by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fersweep.data.datamodule import Batch
from fersweep.data.samples import CLASSES
from fersweep.training.module import FERModule

RECIPE: dict[str, Any] = {
    "max_epochs": 4,
    "schedule": "constant",
    "warmup_epochs": 0,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "convolution_l2": 0.0,
    "test_crops": 1,
    "crop": None,
    "layer_decay": 1.0,
    "decay_biases": True,
}


def made(weights: Tensor | None = None, **recipe: Any) -> FERModule:
    """A linear classifier of 8×8 images."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    nn.init.normal_(model[1].weight)
    return FERModule(
        model, lambda params: torch.optim.SGD(params, lr=0.5), {**RECIPE, **recipe}, CLASSES, weights, seed=3
    )


def batch(count: int = 12) -> Batch:
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 7, count))
    return Batch(images, labels, torch.arange(count), labels)


@torch.no_grad()
def log_probabilities(module: FERModule, images: Tensor) -> Tensor:
    """By hand, in float64: the logarithm of softmax(W x / 255 + b)."""
    linear = module.model[1]  # type: ignore[index]
    logits = images.double().flatten(1) / 255 @ linear.weight.double().T + linear.bias.double()
    return logits - logits.exp().sum(dim=1, keepdim=True).log()
