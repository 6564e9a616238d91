"""Directories of finished runs that were never trained: what a report reads, with answers that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import plain, quickly_composed

from fersweep.config.schema import choices_of
from fersweep.data.samples import CLASSES
from fersweep.files import write_json
from fersweep.report.statistics import wilson
from fersweep.runs import tests
from fersweep.runs.identity import run_dir, run_hash
from fersweep.runs.status import mark_done, mark_failed, mark_pending, mark_running, write_config

STUDY = ("dataset=fer2013", "dataset.root=x", "split=study", "recipe=study", "fidelity=code")
SHORT = (*STUDY, "recipe.max_epochs=3")
NONE, CBAM, SE = ("attention=none",), ("attention=cbam",), ("attention=se",)


def configured(outputs: Path, overrides: Sequence[str], seed: int) -> tuple[dict[str, Any], Path]:
    """The configuration of a run and its directory, pending."""
    config = plain(quickly_composed(*overrides, f"seed={seed}", f"outputs={outputs}", "sweep=s"))
    directory = run_dir(config)
    directory.mkdir(parents=True)
    mark_pending(directory, choices_of(config), seed)
    write_config(directory, config)
    return config, directory


def failed(outputs: Path, overrides: Sequence[str], seed: int, error: Exception) -> Path:
    """A run that ended with ``error``."""
    _, directory = configured(outputs, overrides, seed)
    mark_running(directory)
    mark_failed(directory, error)
    return directory


def finished(
    outputs: Path,
    overrides: Sequence[str],
    seed: int,
    right: np.ndarray,
    first: int = 0,
    validation: tuple[float, int] = (0.5, 1000),
    certain: np.ndarray | None = None,
) -> Path:
    """A run that recognised those test images for which ``right``, bool ``(n,)``, is true; their numbers count on
    from ``first``. A wrong answer is the next class. ``validation`` is its accuracy there, and on how many images.
    With ``certain``, ``(n,)``, predictions have the probability of the answer, and the rest is of the class after it.
    """
    config, directory = configured(outputs, overrides, seed)
    mark_running(directory)
    numbers = np.arange(first, first + len(right))
    labels = numbers % 7
    predicted = np.where(right, labels, (labels + 1) % 7)
    counts = np.zeros((7, 7), int)
    np.add.at(counts, (labels, predicted), 1)
    names, ids = np.asarray(CLASSES), [f"test/{number:05d}.png" for number in numbers]
    table = pd.DataFrame({"id": ids, "label": names[labels], "predicted": names[predicted]})
    if certain is not None:
        share = np.zeros((len(right), 7), np.float32)
        share[np.arange(len(right)), predicted] = certain
        share[np.arange(len(right)), (predicted + 1) % 7] = 1 - certain
        table[list(CLASSES)] = share
    table.sample(frac=1, random_state=seed).to_parquet(directory / "predictions.parquet")
    epochs = np.arange(1, 4)
    columns = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/macro_f1", "lr")
    history = pd.DataFrame({"epoch": epochs, **{name: 0.1 * epochs + 0.01 * k for k, name in enumerate(columns)}})
    history.to_csv(directory / "history.csv", index=False)
    accuracy = float(right.mean())
    result = {
        "run": run_hash(config),
        "choices": choices_of(config),
        "seed": seed,
        "metrics": {
            "val/accuracy": validation[0],
            "test/accuracy": accuracy,
            "test/macro_f1": accuracy,
            "test/n": len(right),
        },
        "accuracy_interval": [accuracy - 0.01, accuracy + 0.01],
        "majority_baseline": 0.25,
        "shared_subjects": None,
        "val_n": validation[1],
        "per_class": {name: {} for name in CLASSES},
        "confusion_matrix": counts.tolist(),
        "params_total": 23_490_739,
        "params_trainable": 23_490_141,
        "best_epoch": 2,
        "epochs": 3,
        "seconds": 100.0 + seed,
    }
    write_json(directory / "result.json", result)
    mark_done(directory)
    return directory


def right(rate: float, seed: int, n: int = 1000, ground: int = 0) -> np.ndarray:
    """Bool ``(n,)``: exactly ``round(rate · n)`` true, easier images more often than harder ones."""
    difficulty = np.random.default_rng(ground).normal(size=n) + np.random.default_rng(100 + seed).normal(size=n)
    return np.argsort(np.argsort(difficulty)) < round(rate * n)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """ResNet-50 with none (60 %), SE (60.3 %) and CBAM (66 %), three seeds each, and one run that failed."""
    for seed in (1, 2, 3):
        finished(tmp_path, (*SHORT, *NONE), seed, right(0.60 + 0.001 * (seed - 2), seed))
        finished(tmp_path, (*SHORT, *SE), seed, right(0.603, 10 + seed))
        finished(tmp_path, (*SHORT, *CBAM), seed, right(0.66 + 0.001 * (seed - 2), 20 + seed))
    failed(tmp_path, (*SHORT, "attention=eca"), 1, RuntimeError("no memory <b>left</b>"))
    return tmp_path


def spoilt(name: str, **changes: object) -> Callable[[Path], None]:
    """Changes the JSON of a run's file; a value of ``...`` removes the key."""

    def spoil(run: Path) -> None:
        content = json.loads((run / name).read_text()) | changes
        (run / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return spoil


def tried(run: Path, dataset: str, title: str, accuracy: float, **more: Any) -> Path:
    """A test of a run: 200 images, all of a predefined test part."""
    correct = round(200 * accuracy)
    result = {
        **{"test": "0123456789", "on": dataset, "dataset": dataset, "dataset_title": title, "split": None},
        **{"part": "test", "outputs": "shared", "test_crops": 1, "data_digest": "d", "majority_baseline": 0.25},
        "classes": {"shared": ["happy", "sad"]},
        "metrics": {"test/accuracy": correct / 200, "test/n": 200},
        "accuracy_interval": list(wilson(correct, 200)),
        "seen": None,
        "warnings": [],
        **more,
    }
    place = run / tests.FOLDER / tests.directory_name(dataset, result["split"], result["part"], result["test"])
    place.mkdir(parents=True)
    write_json(place / "result.json", result)
    return place
