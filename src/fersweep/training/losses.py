"""Training loss of a batch that processes and microbatches share; class weights, mixup and CutMix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def class_weights(kind: str, counts: npt.NDArray[np.int64]) -> Tensor | None:
    """Return weights ``(K,)`` of the classes in the training loss, or ``None``.

    Args:
        kind: ``none``, or ``balanced`` for N / (K · n_k), whose mean over images is one (scikit-learn's rule).
        counts: images per class, ``(K,)``; zero, in a debugging run on few batches, counts as one.
    """
    if kind == "none":
        return None
    weights = counts.sum() / (len(counts) * np.maximum(counts, 1).astype(np.float64))
    return torch.tensor(weights, dtype=torch.float32)


def cross_entropy_share(
    logits: Tensor, labels: Tensor, batch_labels: Tensor, weights: Tensor | None, smoothing: float
) -> Tensor:
    """Return the contribution of a microbatch to the mean cross-entropy of its batch.

    Args:
        logits: ``(B, K)``.
        labels: int64 ``(B,)``.
        batch_labels: int64 ``(G,)``, those of the batch over all processes and microbatches.
        weights: ``(K,)`` or ``None``.
        smoothing: of the labels.
    """
    if len(labels) == len(batch_labels):
        return F.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
    denominator = len(batch_labels) if weights is None else weights[batch_labels].sum()
    return F.cross_entropy(logits, labels, weights, label_smoothing=smoothing, reduction="sum") / denominator


def distillation_share(logits: Tensor, targets: Tensor, temperature: float, images: int) -> Tensor:
    """Return the contribution of a microbatch to the mean of T² KL(targets, softmax(logits / T)) over its batch.

    The loss of Hinton et al. 2015, section 2, whose gradient T² makes independent of the temperature T.

    Args:
        logits: ``(B, K)``.
        targets: probabilities ``(B, K)`` at the temperature.
        temperature: T.
        images: in the batch, over all processes and microbatches.
    """
    logs = F.log_softmax(logits / temperature, dim=1)
    return F.kl_div(logs, targets, reduction="sum") * (temperature**2 / images)


def mixup(
    images: Tensor, labels: Tensor, alpha: float, seed: Sequence[int], position: int
) -> tuple[Tensor, Tensor, float]:
    """Replace images by convex combinations of pairs (Zhang et al. 2018, eq. 1).

    Args:
        images: float32 ``(B, C, H, W)``.
        labels: int64 ``(B,)``.
        alpha: of the Beta distribution.
        seed: of the batch.
        position: of this microbatch among those of the batch, over all processes; pairs are formed within it.

    Returns:
        Images, labels of the second images, and the weight of the first, at least a half and equal for the batch.
    """
    rng = np.random.default_rng([*seed, 0])
    weight = float(rng.beta(alpha, alpha))
    weight = max(weight, 1 - weight)
    if position:
        rng = np.random.default_rng([*seed, position])
    partner = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
    return images.mul(weight).add_(images[partner], alpha=1 - weight), labels[partner], weight


def cutmix(
    images: Tensor, labels: Tensor, alpha: float, seed: Sequence[int], position: int
) -> tuple[Tensor, Tensor, float]:
    """Replace a rectangle of images by that of others (Yun et al. 2019, algorithm 1).

    The rectangle has the images' aspect ratio and a random centre, and is cut off at their sides.

    Args:
        images, labels, seed, position: as in `mixup`.
        alpha: of the Beta distribution that the share of the first images is drawn from.

    Returns:
        Images, labels of the second images, and the share of the first: equal for the batch.
    """
    rng = np.random.default_rng([*seed, 0])
    height, width = images.shape[-2:]
    half = (1 - float(rng.beta(alpha, alpha))) ** 0.5 / 2
    y, x = rng.integers(height), rng.integers(width)
    top, bottom = (min(max(round(y + sign * half * height), 0), height) for sign in (-1, 1))
    left, right = (min(max(round(x + sign * half * width), 0), width) for sign in (-1, 1))
    if position:
        rng = np.random.default_rng([*seed, position])
    partner = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
    mixed, place = images.clone(), (..., slice(top, bottom), slice(left, right))
    mixed[place] = images[partner][place]
    return mixed, labels[partner], 1 - (bottom - top) * (right - left) / (height * width)


def mixing(
    mixup_alpha: float, cutmix_alpha: float, seed: Sequence[int]
) -> Callable[..., tuple[Tensor, Tensor, float]] | None:
    """Return `mixup` or `cutmix` with its alpha bound; ``None`` if both are 0, one at random by ``seed`` if none is."""
    if mixup_alpha > 0 and (not cutmix_alpha > 0 or np.random.default_rng([*seed, 0, 1]).random() < 0.5):
        return partial(mixup, alpha=mixup_alpha)
    return partial(cutmix, alpha=cutmix_alpha) if cutmix_alpha > 0 else None


def convolution_penalty(network: nn.Module) -> Tensor:
    """Return Σ w² over the kernels of all Conv2d."""
    kernels = [each.weight for each in network.modules() if isinstance(each, nn.Conv2d)]
    return torch.stack([kernel.square().sum() for kernel in kernels]).sum()
