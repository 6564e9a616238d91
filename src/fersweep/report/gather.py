"""From the directories of runs to the rows of a report: runs that differ in seed and fold alone are one row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fersweep.config import GROUPS
from fersweep.errors import UserError
from fersweep.report import study
from fersweep.report.contents import Mean, Row, Verdict
from fersweep.report.statistics import wilson
from fersweep.sweep.collect import Run, config_of, result_of, settings_of

SEED, FOLD = "seed", ("split.fold", "split.function.fold")
ALWAYS = ("backbone", "attention")
"""Columns that every report has."""


@dataclass(frozen=True)
class Finished:
    """A run that is done.

    Attributes:
        directory: of the run, ``result`` its ``result.json`` and ``settings`` what makes it this run, flat.
        ids: of its test images, sorted, and ``correct`` whether each was recognised; both empty where
            ``predictions.parquet`` is missing.
        history: ``history.csv``.
    """

    directory: Path
    result: Mapping[str, Any]
    settings: Mapping[str, Any]
    ids: npt.NDArray[np.str_]
    correct: npt.NDArray[np.bool_]
    history: pd.DataFrame

    @property
    def row(self) -> str:
        """Equal for runs of one row."""
        return json.dumps(
            {key: value for key, value in self.settings.items() if key not in (SEED, *FOLD)}, sort_keys=True
        )


def read(runs: Iterable[Run]) -> list[Finished]:
    """The finished ones of ``runs``, each hash once: the same run in two sweeps is one.

    Raises:
        UserError: where a file of one is damaged or missing.
    """
    found: dict[str, Finished] = {}
    for run in runs:
        if run.state == "done" and run.run not in found:
            found[run.run] = _read(run.directory)
    return list(found.values())


def _read(directory: Path) -> Finished:
    result, config = result_of(directory), config_of(directory)
    if result is None or not config:
        raise UserError(f"{directory} has no readable config.yaml: delete the directory to have the run made again.")
    needed = ("confusion_matrix", "per_class", "majority_baseline", "params_total", "params_trainable", "epochs")
    if missing := [key for key in needed if key not in result]:
        raise UserError(
            f"{directory / 'result.json'} lacks {', '.join(missing)}: another version of fersweep wrote it."
        )
    try:
        history = pd.read_csv(directory / "history.csv")
        path = directory / "predictions.parquet"
        table = pd.read_parquet(path, columns=["id", "label", "predicted"]).sort_values("id") if path.exists() else None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{directory} cannot be reported ({error}): with force=true the run is made again.") from error
    ids = np.array([], dtype=str) if table is None else table["id"].to_numpy(dtype=str)
    correct = np.array([], dtype=bool) if table is None else (table["label"] == table["predicted"]).to_numpy(dtype=bool)
    settings = settings_of(config)
    return Finished(directory, result, settings, ids, correct, history)


def columns_of(runs: Sequence[Finished]) -> dict[str, str]:
    """The columns that tell rows apart: name → setting, in the order of the configuration.

    The groups whose option differs, and those settings that differ between rows with the same options.
    """
    rows = list({run.row: run for run in runs}.values())
    differing = [g for g in GROUPS if g in ALWAYS or len({run.result["choices"][g] for run in rows}) > 1]
    columns = {group: f"{group}.name" for group in differing if group not in ("trainer", "logger")}
    alike: dict[str, list[Finished]] = {}
    for run in rows:
        alike.setdefault(json.dumps([run.settings.get(key) for key in columns.values()]), []).append(run)
    told: dict[str, None] = {}
    for group in alike.values():
        keys = dict.fromkeys(key for run in group for key in run.settings if key not in (SEED, *FOLD))
        told |= {key: None for key in keys if len({repr(run.settings.get(key)) for run in group}) > 1}
    settings = _principal(list(told))
    short = [re.sub(r"\._target_$", "", key).rpartition(".")[2] for key in settings]
    for key, name in zip(settings, short, strict=True):
        columns[name if short.count(name) == 1 and name not in columns else key] = key
    return columns


def _principal(settings: list[str]) -> list[str]:
    """Without those that only follow from another: what a class takes, where the class itself differs."""
    classes = [key.removesuffix("_target_") for key in settings if key.endswith("._target_")]
    kept = [
        key
        for key in settings
        if key.endswith((".lr", "._target_")) or not any(key.startswith(each) for each in classes)
    ]
    return [
        key
        for key in kept
        if not (key.endswith("._partial_") or key.startswith(("fidelity.", "augmentation.transform._")))
    ]


def rows_of(runs: Sequence[Finished]) -> tuple[list[Row], tuple[str, ...]]:
    """The rows, sorted by their labels in the order of the groups' options, and the names of their columns."""
    columns = columns_of(runs)
    grouped: dict[str, list[Finished]] = {}
    for run in runs:
        grouped.setdefault(run.row, []).append(run)
    rows = [_row(group, columns) for group in grouped.values()]
    rows.sort(key=lambda row: [_order(column, row.labels[column]) for column in _sorting(columns)])
    return _unique(rows), tuple(columns)


def _sorting(columns: Mapping[str, str]) -> list[str]:
    first = [column for column in ("dataset", "split") if column in columns]
    return [*first, *(column for column in columns if column not in first)]


def _order(column: str, value: str) -> tuple[int, float, str]:
    """The study's order of options, then numbers by size, then words."""
    order = {
        "attention": ["none", "se", "eca", "cbam"],
        "backbone": list(study.study()["rows"]),
        "fidelity": ["published", "paper"],
    }.get(column, [])
    if value in order:
        return 0, order.index(value), value
    try:
        return 1, float(value), value
    except ValueError:
        return 2, 0.0, value


def _unique(rows: list[Row]) -> list[Row]:
    """Give rows whose keys came out alike numbers."""
    seen: dict[str, int] = {}
    unique = []
    for row in rows:
        seen[row.key] = seen.get(row.key, 0) + 1
        unique.append(row if seen[row.key] == 1 else replace(row, key=f"{row.key}-{seen[row.key]}"))
    return unique


def _label(value: Any) -> str:
    """A setting as a reader would write it; the name of a class alone."""
    if value is None:
        return "–"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text.rpartition(".")[2] if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", text) else text


def _row(runs: list[Finished], columns: Mapping[str, str]) -> Row:
    first, notes = runs[0], []
    by_seed: dict[int, list[Finished]] = {}
    for run in sorted(runs, key=lambda run: (run.settings[SEED], run.settings.get(FOLD[0], 0))):
        by_seed.setdefault(run.settings[SEED], []).append(run)
    seeds = list(by_seed.values())
    confusions = [np.sum([run.result["confusion_matrix"] for run in folds], axis=0) for folds in seeds]
    notes += _folds(seeds)
    n = int(confusions[0].sum())
    accuracy = _mean([float(np.trace(each) / each.sum()) for each in confusions])
    whole = [_pooled(folds) for folds in seeds]
    same = all(len(ids) == len(whole[0][0]) and (ids == whole[0][0]).all() for ids, _ in whole)
    if not len(whole[0][0]) or not same:
        notes.append("Not compared with other rows: predictions are missing, or seeds were tested on other images.")
    figures, protocol = study.published(first.settings)
    judged = Verdict("none", "", False) if figures is None else study.verdict(figures, accuracy, n, protocol)
    labels = {column: _label(first.settings.get(key)) for column, key in columns.items()}
    return Row(
        key=re.sub(r"[^a-z0-9_.]+", "-", "-".join(labels.values()).lower()).strip("-."),
        labels=labels,
        choices=dict(first.result["choices"]),
        seeds=tuple(by_seed),
        accuracy=accuracy,
        interval=wilson(round(accuracy.mean * n), n),
        macro_f1=_mean([_macro_f1(each) for each in confusions]),
        n=n,
        majority=float(np.mean([run.result["majority_baseline"] for run in runs])),
        shared_subjects=first.result.get("shared_subjects"),
        params_total=first.result["params_total"],
        params_trainable=first.result["params_trainable"],
        seconds=float(np.mean([sum(run.result["seconds"] for run in folds) for folds in seeds])),
        epochs=tuple(run.result["epochs"] for run in runs),
        best_epoch=tuple(run.result["best_epoch"] for run in runs),
        class_names=tuple(first.result["per_class"]),
        confusion=np.sum(confusions, axis=0),
        curves=tuple(run.history for run in runs),
        published=figures,
        verdict=judged,
        notes=tuple(notes),
        correct=np.stack([correct for _, correct in whole]) if same else np.zeros((0, 0), bool),
        ids=whole[0][0] if same else np.array([], dtype=str),
    )


def _folds(seeds: list[list[Finished]]) -> list[str]:
    """What there is to say where each fold of people is a run of its own."""
    wanted = seeds[0][0].settings.get("split.folds") or 10
    if FOLD[0] not in seeds[0][0].settings:
        return []
    counts = sorted({len(folds) for folds in seeds})
    pooled = f"Accuracy over the pooled predictions of {' or '.join(map(str, counts))} folds"
    return [f"{pooled} of {wanted}: n counts their test images."]


def _pooled(folds: list[Finished]) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.bool_]]:
    """Test images of all folds of one seed, sorted, and whether each was recognised."""
    if any(len(run.ids) == 0 for run in folds):
        return np.array([], dtype=str), np.array([], dtype=bool)
    ids, correct = (np.concatenate([getattr(run, name) for run in folds]) for name in ("ids", "correct"))
    order = np.argsort(ids)
    return ids[order], correct[order]


def _mean(values: list[float]) -> Mean:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Mean(float(np.mean(values)), sd, len(values), tuple(values))


def _macro_f1(counts: npt.NDArray[np.int64]) -> float:
    """Mean F1 over the classes that are shown or predicted, from a confusion matrix ``(K, K)``."""
    support = counts.sum(axis=0) + counts.sum(axis=1)
    return float((2 * np.diag(counts)[support > 0] / support[support > 0]).mean())
