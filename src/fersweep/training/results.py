"""What a finished run leaves: predictions, result, figures."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_f1_score

from fersweep.data.samples import Samples
from fersweep.files import atomic_path
from fersweep.training.distributed import gather_to_all

PACKAGES = ("fersweep", "torch", "torchvision", "pytorch-lightning", "hydra-core", "albumentations", "numpy")


def gather(outputs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
    """Join the test batches of all processes, on each of them, and sort them by sample.

    Returns:
        Indices ``(N,)``, single-view and final probabilities ``(N, K)``.

    Raises:
        RuntimeError: where a sample was tested twice.
    """
    indices, single, final = (gather_to_all(torch.cat(parts)) for parts in zip(*outputs, strict=True))
    if len(indices.unique()) < len(indices):
        raise RuntimeError("an image was tested more than once")
    order = indices.argsort()
    return indices[order], single[order], final[order]


def test_metrics(
    labels: torch.Tensor, single: torch.Tensor, final: torch.Tensor
) -> tuple[dict[str, float | int], npt.NDArray[np.int64]]:
    """The test metrics of a run and its confusion matrix.

    Args:
        labels: int64 ``(N,)``.
        single: probabilities ``(N, K)`` of the plain image.
        final: probabilities ``(N, K)`` the recipe asks for (ten crops, or the same as ``single``).

    Returns:
        Accuracy, accuracy of the single view, macro-F1 (a class that is neither shown nor predicted is left out), mean
        negative log-likelihood in nats, and n; int64 ``(K, K)``, rows true.
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
    """Precision, recall, F1 and n of every class, from a confusion matrix ``(K, K)`` whose rows are true.

    A figure without a denominator (no image shown, or none predicted) is ``None``.
    """
    hits, shown, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)

    def share(part: np.int64, whole: np.int64) -> float | None:
        return round(float(part / whole), 8) if whole else None

    return {
        name: {
            "precision": share(hits[k], predicted[k]),
            "recall": share(hits[k], shown[k]),
            "f1": share(2 * hits[k], shown[k] + predicted[k]),
            "n": int(shown[k]),
        }
        for k, name in enumerate(class_names)
    }


def without_twins(labels: torch.Tensor, final: torch.Tensor, twin: npt.NDArray[np.bool_]) -> dict[str, float | int]:
    """The accuracy on the test images that have no twin in training or validation, and how many those are.

    Args:
        labels: int64 ``(N,)``.
        final: probabilities ``(N, K)``.
        twin: whether each has one, bool ``(N,)``. Where all have, there is no accuracy to tell.
    """
    kept = torch.from_numpy(~twin)
    right = (final.argmax(dim=1) == labels)[kept]
    accuracy = {"test/accuracy_without_twins": float(right.double().mean())} if len(right) else {}
    return {**accuracy, "test/n_without_twins": len(right)}


def write_predictions(
    path: Path, samples: Samples, indices: torch.Tensor, probabilities: torch.Tensor, twin: npt.NDArray[np.bool_]
) -> None:
    """Write ``predictions.parquet``, a row a test image.

    Columns: ``id``; ``label`` and ``predicted``, names of classes; one probability a class; ``subject``, who is shown,
    where the dataset knows; ``twin``, whether the image has an identical or near-identical one in training or
    validation.

    Args:
        path: of the file.
        samples: the whole dataset.
        indices: of the test images among them, int64 ``(N,)``.
        probabilities: ``(N, K)``.
        twin: bool, over all samples.
    """
    names = np.asarray(samples.class_names)
    rows = indices.numpy()
    columns: dict[str, Any] = {
        "id": samples.ids[rows],
        "label": names[samples.labels[rows]],
        "predicted": names[probabilities.argmax(dim=1).numpy()],
    }
    columns |= {name: probabilities[:, k].numpy() for k, name in enumerate(samples.class_names)}
    if samples.subjects is not None:
        columns["subject"] = samples.subjects[rows]
    columns["twin"] = twin[rows]
    with atomic_path(path) as temporary:
        pd.DataFrame(columns).to_parquet(temporary, index=False)


def environment(device: torch.device, precision: str, processes: int) -> dict[str, Any]:
    """Where a result comes from: versions, processor or GPU, how many processes, precision, threads of each."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "device": gpu or "cpu",
        "processes": processes,
        "precision": precision,
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in PACKAGES},
    }


def data_digest(samples: Samples) -> str:
    """Sixteen hexadecimal digits of pixels, ids, labels and class names: whether two runs saw the same dataset."""
    digest = hashlib.sha256("\n".join([*samples.class_names, *samples.ids.tolist()]).encode())
    digest.update(np.ascontiguousarray(samples.labels).data)
    for start in range(0, len(samples), 4096):
        digest.update(np.ascontiguousarray(samples.images[start : start + 4096]).data)
    return digest.hexdigest()[:16]


def class_weights(kind: str, counts: npt.NDArray[np.int64]) -> torch.Tensor | None:
    """``balanced``: N / (K * n_k), mean-one over images (scikit-learn's rule); ``none``: no weights.

    A class without images, in a debugging run on few batches, counts as one.
    """
    if kind == "none":
        return None
    weights = counts.sum() / (len(counts) * np.maximum(counts, 1).astype(np.float64))
    return torch.tensor(weights, dtype=torch.float32)


def jsonable(metrics: Mapping[str, Any]) -> dict[str, float | int]:
    """Numbers rounded to what float32 can tell."""
    return {key: value if isinstance(value, int) else round(float(value), 8) for key, value in metrics.items()}
