"""The finished runs of a report, read from their directories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fersweep.config.schema import GROUPS
from fersweep.errors import UserError
from fersweep.files import NUMBER, Field, check
from fersweep.report.answers import Answers
from fersweep.report.titles import titled
from fersweep.runs.collect import Run, config_of, result_of, settings_of
from fersweep.runs.identity import completed, identity, integral
from fersweep.runs.status import FILE_NAME as STATUS

SEED, FOLD = "seed", ("split.fold", "split.function.fold")

CURVES = {"epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/macro_f1", "lr"}
"""The columns of ``history.csv`` that are drawn."""

COUNTS = ("majority_baseline", "params_total", "params_trainable", "epochs", "best_epoch", "seconds", "val_n")

FIELDS = {
    **dict.fromkeys(COUNTS, NUMBER),
    "training_flops": replace(NUMBER, optional=True),
    "choices": Field("an option for each group", lambda choices: choices.keys() >= set(GROUPS)),
    "per_class": Field("scores of two classes or more", lambda value: isinstance(value, dict) and len(value) > 1),
    "confusion_matrix": Field("rows of counts", lambda value: np.array(value).dtype.kind == "i" and np.sum(value) > 0),
}
"""The fields of ``result.json`` that a report shows, beyond those that every reader checks."""


@dataclass(frozen=True)
class Finished:
    """A run that is done.

    Attributes:
        result: its ``result.json``.
        settings: those that are part of its identity, by dotted name.
        titles: group → title of its option.
        row: equal for the runs of one row.
        ids: its test images, sorted; empty if ``predictions.parquet`` is missing.
        correct: whether each of them was classified correctly.
        people: the person on each of them; ``None`` if unknown.
        history: ``history.csv``.
        answers: ``None`` without probabilities.
    """

    directory: Path
    result: Mapping[str, Any]
    settings: Mapping[str, Any]
    titles: dict[str, str]
    row: str
    ids: npt.NDArray[np.str_]
    correct: npt.NDArray[np.bool_]
    people: npt.NDArray[np.str_] | None
    history: pd.DataFrame
    sweep: str = ""
    answers: Answers | None = None

    @property
    def seed(self) -> int:
        """The seed of its training."""
        return int(self.settings[SEED])

    @property
    def fold(self) -> int:
        """The fold of people it was tested on; 0 if its split has no folds."""
        return int(self.settings.get(FOLD[0]) or 0)


def read(runs: Iterable[Run]) -> tuple[list[Finished], list[Run]]:
    """Return the finished ones of ``runs``, each hash once, and the others.

    A run without ``status.json`` counts as finished if its ``result.json`` exists. The others include finished runs
    whose files are damaged, as ``unreadable`` with the reason, and exclude runs that are done in another sweep.
    """
    found: dict[str, Finished] = {}
    others = []
    for run in runs:
        done = run.state == "done" or _is_archived(run)
        if done and run.run in found:
            continue
        try:
            if done:
                found[run.run] = _read(run.directory)
            else:
                others.append(run)
        except UserError as error:
            reason = {"type": type(error).__name__, "message": str(error)}
            others.append(replace(run, state="unreadable", error=reason))
    finished = list(found.values())
    titles = titled((run.directory, run.result["choices"]) for run in finished)
    finished = [replace(run, titles=each) for run, each in zip(finished, titles, strict=True)]
    return finished, [run for run in others if run.run not in found]


def _is_archived(run: Run) -> bool:
    """Return whether a finished run was kept without its ``status.json``: ``result.json`` is written last."""
    return run.state == "interrupted" and not (run.directory / STATUS).exists() and result_of(run.directory) is not None


def _read(directory: Path) -> Finished:
    result, config = result_of(directory), config_of(directory)
    if result is None or not all(config.get(key) is not None for key in (SEED, *GROUPS)):
        raise UserError(f"{directory} has no readable config.yaml: delete the directory to have the run made again.")
    try:
        _check(result)
        history = _history(directory)
        ids, correct, people, answers = _predictions(directory, tuple(result["per_class"]))
        settings = integral(completed(settings_of(config)))
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{directory} cannot be reported ({error}): with force=true the run is made again.") from error
    return Finished(
        directory=directory,
        result=result,
        settings=settings,
        titles={},
        row=_row_key(config),
        ids=ids,
        correct=correct,
        people=people,
        history=history,
        sweep=str(config.get("sweep") or ""),
        answers=answers,
    )


def _check(result: Mapping[str, Any]) -> None:
    """Raise ValueError if a field is missing or wrong."""
    try:
        check(result, FIELDS)
        check(result["metrics"], {"val/accuracy": NUMBER})
    except ValueError as error:
        raise ValueError(f"result.json: {error}") from error
    classes = len(result["per_class"])
    if np.shape(result["confusion_matrix"]) != (classes, classes):
        raise ValueError(f"result.json: confusion_matrix is not {classes} × {classes}, as many as per_class")


def _history(directory: Path) -> pd.DataFrame:
    history = pd.read_csv(directory / "history.csv")
    if history.empty or not set(history) >= CURVES:
        raise ValueError("history.csv has no epochs")
    for name in sorted(CURVES):
        numbers = history[name].dtype.kind in "iuf"
        if not numbers or (name in ("epoch", "lr") and not np.isfinite(history[name]).all()):
            raise ValueError(f"history.csv: {name} is not a column of numbers")
    return history


def _predictions(
    directory: Path, class_names: Sequence[str]
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.bool_], npt.NDArray[np.str_] | None, Answers | None]:
    """Return the ids, correct, people and answers of a `Finished` run from ``predictions.parquet``."""
    path = directory / "predictions.parquet"
    if not path.exists():
        return np.array([], dtype=str), np.array([], dtype=bool), None, None
    table = pd.read_parquet(path).sort_values("id")
    if not set(table) >= {"id", "label", "predicted"}:
        raise ValueError("predictions.parquet has no id, label and predicted")
    people = table["subject"].to_numpy(dtype=str) if "subject" in table else None
    correct = (table["label"] == table["predicted"]).to_numpy(dtype=bool)
    return table["id"].to_numpy(dtype=str), correct, people, Answers.read(table, class_names)


def _row_key(config: Mapping[str, Any]) -> str:
    """Return a text that is equal for runs that differ in seed and fold alone, also across versions.

    It is their identity or, if that cannot be computed any more (a plugin's class, missing weights), their settings.
    """
    try:
        kept = identity(config)
        kept["split"].pop("fold", None)
        kept["split"]["function"].pop("fold", None)
    except (UserError, OSError, LookupError, TypeError, AttributeError):
        kept = {key: value for key, value in settings_of(config).items() if key not in FOLD}
    return json.dumps({key: value for key, value in kept.items() if key != SEED}, sort_keys=True)
