"""Outcome of a run's test, as ``result.json`` records it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fersweep.config.schema import choices_of, title
from fersweep.data import twins
from fersweep.data.samples import Samples
from fersweep.data.splits import Split, majority_accuracy, shared
from fersweep.report.statistics import wilson
from fersweep.runs.identity import run_hash
from fersweep.training import calibration, metrics
from fersweep.training.commit import commit
from fersweep.training.distributed import all_gather_cat

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from fersweep.data.datamodule import FERDataModule
    from fersweep.training.module import FERModule

PACKAGES = ("fersweep", "torch", "torchvision", "pytorch-lightning", "hydra-core", "albumentations", "numpy")


@dataclass(frozen=True)
class Tested:
    """Test images and their probabilities.

    Attributes:
        samples: the dataset.
        split: of it; ``split.test`` are the images tested, ``(N,)``.
        single: probabilities ``(N, K)`` of the single view.
        final: probabilities ``(N, K)`` of the recipe.
    """

    samples: Samples
    split: Split
    single: torch.Tensor
    final: torch.Tensor

    @property
    def labels(self) -> torch.Tensor:
        """True classes, int64 ``(N,)``."""
        return torch.from_numpy(self.samples.labels[self.split.test])

    @cached_property
    def twins(self) -> twins.Twins:
        """Test images with a twin in training or validation."""
        return twins.find(self.samples, self.split)


def test(trainer: pl.Trainer, module: FERModule, data: FERDataModule) -> Tested:
    """Test a network on the test part of ``data``, or with ``trainer.limit_batches`` on some of its images."""
    trainer.test(module, datamodule=data, verbose=False)
    indices, single, final = gather(module.test_outputs)
    return Tested(data.samples, replace(data.split, test=indices.numpy()), single, final)


def gather(outputs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
    """Concatenate the test batches of all processes and sort them by sample.

    Returns:
        Indices ``(N,)``, single-view and final probabilities ``(N, K)``.

    Raises:
        RuntimeError: a sample was tested twice.
    """
    indices, single, final = (all_gather_cat(torch.cat(batches)) for batches in zip(*outputs, strict=True))
    if len(indices.unique()) < len(indices):
        raise RuntimeError("an image was tested more than once")
    order = indices.argsort()
    return indices[order], single[order], final[order]


def summary(config: Mapping[str, Any], tested: Tested, val_accuracy: float, temperature: float) -> dict[str, Any]:
    """Return the part of ``result.json`` that follows from configuration and test.

    Args:
        config: resolved.
        tested: the test.
        val_accuracy: of the epoch tested, 0…1.
        temperature: fitted on validation.
    """
    samples, split = tested.samples, tested.split
    scored = scores(tested, temperature, tested.twins.any)
    (people, of_people), (sequences, of_sequences) = (
        shared(names, split) for names in (samples.subjects, samples.sequences)
    )
    return {
        "run": run_hash(config),
        "title": title(config),
        "choices": choices_of(config),
        "seed": config["seed"],
        "metrics": {**_rounded({"val/accuracy": val_accuracy}), **scored["metrics"]},
        "accuracy_interval": scored["accuracy_interval"],
        "majority_baseline": majority_accuracy(samples, split),
        "shared_subjects": people,
        "shared_subject_images": of_people,
        "shared_sequences": sequences,
        "shared_sequence_images": of_sequences,
        "twins": {**tested.twins.counts(), "dropped": split.dropped},
        "fold": split.fold,
        "folds": split.folds,
        "train_n": len(split.train),
        "val_n": len(split.val),
        "per_class": scored["per_class"],
        "confusion_matrix": scored["confusion_matrix"],
        "calibration": scored["calibration"],
    }


def scores(tested: Tested, temperature: float, twin: twins.Mask | None) -> dict[str, Any]:
    """Return the scores of a test, at the end of a training or of a network tested elsewhere, as in ``result.json``.

    Args:
        tested: the test.
        temperature: fitted on validation.
        twin: images with a twin in training or validation, bool ``(N,)`` over all samples; ``None`` if unknown.
    """
    rows, labels = tested.split.test, tested.labels
    found, counts = metrics.test_metrics(labels, tested.single, tested.final)
    if twin is not None:
        found |= metrics.without_twins(labels, tested.final, twin[rows])
    return {
        "metrics": _rounded(found),
        "accuracy_interval": list(wilson(int(counts.trace()), int(counts.sum()))),
        "per_class": metrics.per_class(counts, tested.samples.class_names),
        "confusion_matrix": counts.tolist(),
        "calibration": calibration.summary(tested.single, labels, temperature),
    }


def _rounded(metrics: Mapping[str, Any]) -> dict[str, float | int]:
    """Round metrics to the precision of float32."""
    return {key: value if isinstance(value, int) else round(float(value), 8) for key, value in metrics.items()}


def environment(device: torch.device, precision: str, processes: int) -> dict[str, Any]:
    """Return the environment of a result: versions, commit, device, processes, precision, threads per process."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "device": gpu or "cpu",
        "processes": processes,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        **{name: version(name) for name in PACKAGES},
    }


def data_digest(samples: Samples) -> str:
    """Return a digest, 16 hexadecimal digits, of pixels, ids, labels, class names and, if there are any, targets."""
    digest = hashlib.sha256("\n".join([*samples.class_names, *samples.ids.tolist()]).encode())
    digest.update(np.ascontiguousarray(samples.labels).data)
    if samples.targets is not None:
        digest.update(samples.objective.encode() + np.ascontiguousarray(samples.targets).data)
    for start in range(0, len(samples), 4096):
        digest.update(np.ascontiguousarray(samples.images[start : start + 4096]).data)
    return digest.hexdigest()[:16]
