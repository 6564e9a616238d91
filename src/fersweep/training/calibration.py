"""Probabilities that mean what they say: temperature scaling, and how far off they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

BINS = 15
"""Bins of equal width of the expected calibration error, as in Guo et al. 2017."""

RANGE = (0.05, 20.0)
"""Temperatures that are looked at; at its ends a network is as sure, or as unsure, as makes no difference."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature ``t`` whose softmax(logits / t) makes the labels most likely (Guo et al. 2017, section 4.2).

    Args:
        logits: ``(N, K)`` of images that were not trained on.
        labels: int64 ``(N,)``.

    Returns:
        A number within `RANGE`; 1 where there is nothing to fit it to.
    """
    if not len(labels) or not torch.isfinite(logits).all():
        return 1.0
    exact, rows = logits.double(), labels[:, None]

    def nll(log_temperature: float) -> float:
        scaled = exact / math.exp(log_temperature)
        return float((scaled.logsumexp(dim=1) - scaled.gather(1, rows)[:, 0]).mean())

    low, high = (math.log(end) for end in RANGE)
    return round(math.exp(minimize_scalar(nll, bounds=(low, high), method="bounded").x), 4)


def scaled(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities ``(N, K)`` after temperature scaling: those of their logits divided by ``temperature``."""
    smallest = torch.finfo(probabilities.dtype).tiny
    return (probabilities.clamp_min(smallest).log() / temperature).softmax(dim=1)


def expected_calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Mean distance of confidence and accuracy over `BINS` bins of confidence, weighted by the images in them."""
    return float(multiclass_calibration_error(probabilities, labels, probabilities.shape[1], n_bins=BINS, norm="l1"))


def summary(probabilities: Tensor, labels: Tensor, temperature: float) -> dict[str, Any]:
    """What ``result.json`` says of calibration: of the single view of test images, before and after scaling.

    Args:
        probabilities: ``(N, K)`` as the network gives them.
        labels: int64 ``(N,)``.
        temperature: fitted on validation.
    """
    after = scaled(probabilities, temperature)
    return {
        "temperature": temperature,
        "test_ece": round(expected_calibration_error(probabilities, labels), 6),
        "test_ece_scaled": round(expected_calibration_error(after, labels), 6),
    }
