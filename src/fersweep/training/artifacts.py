"""Files that a finished run leaves, and the same for W&B and TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fersweep import tracking
from fersweep.config.schema import title_of
from fersweep.data.samples import COLUMNS
from fersweep.data.twins import Mask
from fersweep.files import atomic_path, write_json
from fersweep.report import figures, leaks
from fersweep.tracking.pictures import pictures
from fersweep.training import checkpoint
from fersweep.training.callbacks import History
from fersweep.training.job import Job
from fersweep.training.results import Tested


def write(job: Job, result: dict[str, Any], tested: Tested, history: History, logger: Any) -> None:
    """Write the files of a run, ``result.json`` last, and log the same.

    Raises:
        LockLostError: another process has taken over the directory.
    """
    job.check_claim()
    write_predictions(job.directory / "predictions.parquet", tested, tested.twins.any)
    _draw_figures(job, result, history)
    if logger is not None:
        _log(job, result, tested, logger)
    scores = {**result["metrics"], "majority_baseline": result["majority_baseline"]}
    scores = {key: scores[key] for key in checkpoint.TESTED if key in scores}
    checkpoint.add(job.best, tested=scores, temperature=result["calibration"]["temperature"])
    if job.config["logger"].get("log_model") == "best":
        about = {key: result[key] for key in ("run", "title", "seed", "best_epoch", "params_total", "data_digest")}
        about |= {"sweep": job.config["sweep"], **result["choices"], **result["metrics"]}
        tracking.log_model(logger, job.best, job.directory / "config.yaml", about)
    write_json(job.directory / "result.json", result)


def write_predictions(path: Path, tested: Tested, twin: Mask | None) -> None:
    """Write ``predictions.parquet``, one row per test image.

    Columns: ``id``; ``label`` and ``predicted``, names of classes; one probability per class; ``subject``, if the
    dataset knows it; ``twin``, true for an image with an identical or near-identical one in training or validation,
    unless it is unknown for all (``None``).
    """
    samples, rows, probabilities = tested.samples, tested.split.test, tested.final
    names = np.asarray(samples.class_names)
    columns: dict[str, Any] = {
        "id": samples.ids[rows],
        "label": names[samples.labels[rows]],
        "predicted": names[probabilities.argmax(dim=1).numpy()],
    }
    assert not set(samples.class_names) & set(COLUMNS)  # `check_names`
    columns |= {name: probabilities[:, k].numpy() for k, name in enumerate(samples.class_names)}
    if samples.subjects is not None:
        columns["subject"] = samples.subjects[rows]
    if twin is not None:
        columns["twin"] = twin[rows]
    with atomic_path(path) as temporary:
        pd.DataFrame(columns).to_parquet(temporary, index=False)


def _draw_figures(job: Job, result: dict[str, Any], history: History) -> None:
    choices = result["choices"]
    split = ", ".join(each for each in (choices["split"], leaks.fold(result)) if each)
    data = title_of(job.config, "dataset")
    subtitle = f"{data}, split {split}, recipe {choices['recipe']}, seed {result['seed']}"
    path, counts = job.directory / "confusion_matrix.png", np.asarray(result["confusion_matrix"])
    figures.confusion_matrix(counts, tuple(result["per_class"]), path, result["title"], subtitle)
    figures.learning_curves(history.frame(), job.directory / "learning_curves.png", result["best_epoch"])


def _log(job: Job, result: dict[str, Any], tested: Tested, logger: Any) -> None:
    predicted = tested.final.argmax(dim=1).tolist()
    tracking.log_confusion_matrix(logger, tested.labels.tolist(), predicted, tested.samples.class_names)
    names = ("confusion_matrix", "learning_curves")
    tracking.log_figures(logger, {f"figures/{name}": job.directory / f"{name}.png" for name in names})
    keys = ("best_epoch", "params_total", "params_trainable", "images_per_second")
    tracking.log_summary(logger, {**result["metrics"], **{key: result[key] for key in keys}})
    tracking.log_per_class(logger, result["per_class"])
    if count := job.config["logger"].get("log_images"):
        samples, rows = tested.samples, tested.split.test
        shown = pictures(samples, rows, tested.final.numpy(), count, result["seed"])
        tracking.log_predictions(logger, shown)
