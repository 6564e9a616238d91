"""Test metrics of a run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_f1_score


def test_metrics(
    labels: torch.Tensor, single: torch.Tensor, final: torch.Tensor
) -> tuple[dict[str, float | int], npt.NDArray[np.int64]]:
    """Return the test metrics of a run and its confusion matrix.

    Args:
        labels: int64 ``(N,)``.
        single: probabilities ``(N, K)`` of the single view.
        final: probabilities ``(N, K)`` of the recipe: over ten crops, or ``single``.

    Returns:
        Accuracy, single-view accuracy, macro-F1 (over classes that occur or are predicted), mean negative
        log-likelihood in nats, and n; counts, int64 ``(K, K)``, rows true.
    """
    classes, predicted = final.shape[1], final.argmax(dim=1)
    loss = -final.gather(1, labels[:, None]).clamp_min(torch.finfo(torch.float32).tiny).log().mean()
    metrics = {
        "test/accuracy": float((predicted == labels).double().mean()),
        "test/accuracy_single_view": float((single.argmax(dim=1) == labels).double().mean()),
        "test/macro_f1": float(multiclass_f1_score(predicted, labels, classes, average="macro")),
        "test/loss": float(loss),
        "test/n": len(labels),
    }
    counts = multiclass_confusion_matrix(predicted, labels, classes).numpy().astype(np.int64)
    return metrics, counts


def per_class(counts: npt.NDArray[np.int64], class_names: tuple[str, ...]) -> dict[str, dict[str, float | int | None]]:
    """Return precision, recall, F1 and n of every class from a confusion matrix ``(K, K)`` whose rows are true.

    Without a denominator (no such image, or none predicted) a figure is ``None``.
    """
    hits, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)

    def ratio(part: np.int64, total: np.int64) -> float | None:
        return round(float(part / total), 8) if total else None

    return {
        name: {
            "precision": ratio(hits[k], predicted[k]),
            "recall": ratio(hits[k], support[k]),
            "f1": ratio(2 * hits[k], support[k] + predicted[k]),
            "n": int(support[k]),
        }
        for k, name in enumerate(class_names)
    }


def without_twins(labels: torch.Tensor, final: torch.Tensor, twin: npt.NDArray[np.bool_]) -> dict[str, float | int]:
    """Return accuracy and number of the test images that have no twin in training or validation.

    Args:
        labels: int64 ``(N,)``.
        final: probabilities ``(N, K)``.
        twin: images with one, bool ``(N,)``. If all have one, the accuracy is left out.
    """
    kept = torch.from_numpy(~twin)
    right = (final.argmax(dim=1) == labels)[kept]
    accuracy = {"test/accuracy_without_twins": float(right.double().mean())} if len(right) else {}
    return {**accuracy, "test/n_without_twins": len(right)}
