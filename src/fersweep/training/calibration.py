"""Temperature scaling and the expected calibration error."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

BINS = 15
"""Bins of equal width for the expected calibration error, as in Guo et al. 2017."""

RANGE = (0.05, 20.0)
"""Bounds of the fitted temperature."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature ``t`` of the lowest NLL of softmax(logits / t) (Guo et al. 2017, section 4.2).

    Args:
        logits: ``(N, K)`` of held-out images.
        labels: int64 ``(N,)``.

    Returns:
        A number within `RANGE`; 1 without images or with logits that are not finite.
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
    """Return probabilities ``(N, K)`` after temperature scaling of their logits."""
    smallest = torch.finfo(probabilities.dtype).tiny
    return (probabilities.clamp_min(smallest).log() / temperature).softmax(dim=1)


def expected_calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean gap between confidence and accuracy over `BINS` bins, weighted by their images."""
    return float(multiclass_calibration_error(probabilities, labels, probabilities.shape[1], n_bins=BINS, norm="l1"))


def summary(probabilities: Tensor, labels: Tensor, temperature: float) -> dict[str, Any]:
    """Return ``calibration`` of ``result.json``: the error on single views of test images before and after scaling.

    Args:
        probabilities: ``(N, K)``, unscaled.
        labels: int64 ``(N,)``.
        temperature: fitted on validation.
    """
    after = scaled(probabilities, temperature)
    return {
        "temperature": temperature,
        "test_ece": round(expected_calibration_error(probabilities, labels), 6),
        "test_ece_scaled": round(expected_calibration_error(after, labels), 6),
    }
