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

from fersweep.config.schema import GROUPS
from fersweep.errors import UserError
from fersweep.report import explained, leaks, notebook, study
from fersweep.report.contents import Mean, Row, Verdict
from fersweep.report.effects import at_chance, best_of, over_people
from fersweep.report.statistics import wilson
from fersweep.report.titles import ABSENT, titled
from fersweep.runs.collect import Run, config_of, result_of, settings_of
from fersweep.runs.identity import completed, identity, integral
from fersweep.runs.status import FILE_NAME as STATUS

SEED, FOLD = "seed", ("split.fold", "split.function.fold")
ALWAYS = ("backbone", "attention")
"""Columns that every report has."""

CURVES = {"epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/macro_f1", "lr"}
"""The columns of ``history.csv`` that are drawn."""


@dataclass(frozen=True)
class Finished:
    """A run that is done.

    Attributes:
        directory: of the run, ``result`` its ``result.json`` and ``settings`` what can make it another run, flat.
        titles: group → how a person reads its option.
        row: equal for runs of one row.
        ids: of its test images, sorted, and ``correct`` whether each was recognised; both empty where
            ``predictions.parquet`` is missing; ``people`` who is shown on each, ``None`` where that is not known.
        history: ``history.csv``.
        sweep: the setting of that name.
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

    @property
    def fold(self) -> int:
        """Which fold of people it was tested on; 0 where there are none."""
        return int(self.settings.get(FOLD[0]) or 0)


def read(runs: Iterable[Run]) -> tuple[list[Finished], list[Run]]:
    """The finished ones of ``runs``, each hash once (the same run in two sweeps is one), and the others.

    The files of a run that were kept without its ``status.json`` count as finished where ``result.json`` is there.
    Among the others are runs that say they are done but whose files are damaged, with what is wrong, and none that is
    done in another sweep.
    """
    found: dict[str, Finished] = {}
    others = []
    for run in runs:
        done = run.state == "done" or _kept(run)
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


def _kept(run: Run) -> bool:
    """Whether these are files of a run that was done, kept without its ``status.json``: ``result.json`` comes last."""
    return run.state == "interrupted" and not (run.directory / STATUS).exists() and result_of(run.directory) is not None


def _read(directory: Path) -> Finished:
    result, config = result_of(directory), config_of(directory)
    if result is None or not all(config.get(key) is not None for key in (SEED, *GROUPS)):
        raise UserError(f"{directory} has no readable config.yaml: delete the directory to have the run made again.")
    try:
        _check(result)
        history = pd.read_csv(directory / "history.csv")
        if history.empty or not set(history) >= CURVES:
            raise ValueError("history.csv has no epochs")
        path = directory / "predictions.parquet"
        table = pd.read_parquet(path).sort_values("id") if path.exists() else None
        if table is not None and not set(table) >= {"id", "label", "predicted"}:
            raise ValueError("predictions.parquet has no id, label and predicted")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{directory} cannot be reported ({error}): with force=true the run is made again.") from error
    ids = np.array([], dtype=str) if table is None else table["id"].to_numpy(dtype=str)
    correct = np.array([], dtype=bool) if table is None else (table["label"] == table["predicted"]).to_numpy(dtype=bool)
    people = None if table is None or "subject" not in table else table["subject"].to_numpy(dtype=str)
    settings, sweep = integral(completed(settings_of(config))), str(config.get("sweep") or "")
    return Finished(directory, result, settings, {}, _row_key(config), ids, correct, people, history, sweep)


def _row_key(config: Mapping[str, Any]) -> str:
    """What is equal for runs that differ in seed and fold alone, also where one was made before there was a setting.

    That is their identity; where it cannot be had any more (a plugin's class, weights that are gone), their settings.
    """
    try:
        kept = identity(config)
        kept["split"].pop("fold", None)
        kept["split"]["function"].pop("fold", None)
    except (UserError, OSError, LookupError, TypeError, AttributeError):
        kept = {key: value for key, value in settings_of(config).items() if key not in FOLD}
    return json.dumps({key: value for key, value in kept.items() if key != SEED}, sort_keys=True)


def _check(result: Mapping[str, Any]) -> None:
    """Raise ValueError where a report would read what is not there."""
    numbers = ("majority_baseline", "params_total", "params_trainable", "epochs", "best_epoch", "seconds", "val_n")
    if missing := [key for key in numbers if not isinstance(result.get(key), int | float)]:
        raise ValueError(f"result.json has no {', '.join(missing)}")
    if not isinstance(result["metrics"].get("val/accuracy"), int | float):
        raise ValueError("result.json has no val/accuracy")
    if missing := [group for group in GROUPS if group not in result["choices"]]:
        raise ValueError(f"result.json has no choice of {', '.join(missing)}")
    counts, classes = np.array(result.get("confusion_matrix") or []), len(result.get("per_class") or {})
    if classes < 2 or counts.shape != (classes, classes) or counts.dtype.kind != "i" or counts.sum() < 1:
        raise ValueError("result.json has no confusion matrix of its classes")


def columns_of(runs: Sequence[Finished]) -> dict[str, str]:
    """The columns that tell rows apart: name → setting, in the order of the configuration.

    The groups whose option differs, and those settings that differ between rows with the same options.
    """
    rows = list({run.row: run for run in runs}.values())
    differing = [g for g in GROUPS if g in ALWAYS or len({run.result["choices"][g] for run in rows}) > 1]
    columns = {group: f"{group}.name" for group in differing if group not in ("trainer", "logger")}
    told: dict[str, None] = {}
    for alike in _alike(rows, columns.values()):
        told |= dict.fromkeys(_differing(alike))
    settings = _principal(list(told), rows)
    short = [re.sub(r"\._target_$", "", key).rpartition(".")[2] for key in settings]
    for key, name in zip(settings, short, strict=True):
        columns[name if short.count(name) == 1 and name not in GROUPS else key] = key
    return columns


def _alike(rows: Iterable[Finished], settings: Iterable[str]) -> list[list[Finished]]:
    """Rows in groups of those with the same ``settings``."""
    groups: dict[str, list[Finished]] = {}
    for row in rows:
        groups.setdefault(json.dumps([row.settings.get(key) for key in settings]), []).append(row)
    return list(groups.values())


def _differing(rows: Sequence[Finished]) -> list[str]:
    """The settings in which some of ``rows`` differ, but for what a row leaves open."""
    keys = dict.fromkeys(key for row in rows for key in row.settings)
    keys = {key: None for key in keys if key not in (SEED, *FOLD)}
    return [key for key in keys if len({repr(row.settings.get(key)) for row in rows}) > 1]


def _principal(settings: list[str], rows: Sequence[Finished]) -> list[str]:
    """Without what only follows from another setting: what a class takes, where rows of one class do not differ."""
    follows = set()
    for target in (key for key in settings if key.endswith("._target_")):
        beside = [key for key in settings if key.startswith(target.removesuffix("_target_"))]
        own = {key for key in beside if key != target and not key.endswith(".lr")}
        differing = {key for alike in _alike(rows, [target]) for key in _differing(alike)}
        follows |= own - differing
    return [key for key in settings if key not in follows]


def rows_of(runs: Sequence[Finished]) -> tuple[list[Row], tuple[str, ...]]:
    """The rows, sorted by their labels in the order of the groups' options, and the names of their columns."""
    columns = columns_of(runs)
    grouped: dict[str, list[Finished]] = {}
    for run in runs:
        grouped.setdefault(run.row, []).append(run)
    rows = [_row(group, columns) for group in grouped.values()]
    rows.sort(key=lambda row: [_order(column, row.labels[column]) for column in _sorting(columns)])
    return _unique(rows), tuple(columns)


def common(runs: Sequence[Finished]) -> dict[str, str]:
    """What all rows have in common: group → title, then epochs, batch size and size of the images."""
    groups = [group for group in GROUPS if group not in ("trainer", "logger")]
    values = {group: {run.titles[group] for run in runs} for group in groups}
    for key in ("recipe.max_epochs", "recipe.batch_size", "dataset.image_size"):
        values[key] = {_label(run.settings, key) for run in runs}
    return {name: next(iter(each)) for name, each in values.items() if len(each) == 1 and ABSENT not in each}


def _sorting(columns: Mapping[str, str]) -> list[str]:
    first = [column for column in ("dataset", "split") if column in columns]
    return [*first, *(column for column in columns if column not in first)]


def _order(column: str, value: str) -> tuple[int, float, str]:
    """The study's order of options, then numbers by size, then words."""
    order = {
        "attention": ["none", "se", "eca", "cbam"],
        "backbone": [*study.study()["rows"], *notebook.figures()["rows"]],
        "fidelity": ["code", "paper"],
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


def _label(settings: Mapping[str, Any], key: str) -> str:
    """A setting as a reader would write it, the name of a class alone; an en dash where there is no such setting."""
    if key not in settings:
        return ABSENT
    value = settings[key]
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    text = "null" if value is None else str(value)
    return text.rpartition(".")[2] if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", text) else text


def _row(runs: Sequence[Finished], columns: Mapping[str, str]) -> Row:
    by_seed: dict[int, list[Finished]] = {}
    for run in sorted(runs, key=lambda run: (run.settings[SEED], run.fold)):
        by_seed.setdefault(run.settings[SEED], []).append(run)
    seeds, notes = _common_folds(list(by_seed.values()))
    used = [run for folds in seeds for run in folds]
    first = used[0]
    confusions = [np.sum([run.result["confusion_matrix"] for run in folds], axis=0) for folds in seeds]
    n = int(confusions[0].sum())
    accuracy = _mean([float(np.trace(each) / each.sum()) for each in confusions])
    whole = [_pooled(folds) for folds in seeds]
    same = all(len(ids) == len(whole[0][0]) and (ids == whole[0][0]).all() for ids, *_ in whole)
    if not len(whole[0][0]) or not same:
        notes.append("Not compared with other rows: predictions are missing, or seeds were tested on other images.")
    majority = float(np.average([run.result["majority_baseline"] for run in used], weights=_images(used)))
    interval = wilson(round(accuracy.mean * n), n)
    if interval[0] <= majority:
        notes.append("No better than always answering the commonest class, as far as these images can tell.")
    stuck = [k for k, counts in enumerate(confusions) if at_chance(counts)]
    if stuck:
        notes.append(_chance(stuck, seeds, accuracy.values))
    notes += leaks.notes([run.result for run in seeds[0]])
    figures, protocol = study.reported(first.settings, columns.values())
    if figures is None:
        figures, protocol = notebook.reported(first.settings)
    validation = None
    if figures is not None and figures.part == "validation":
        validation = _mean([float(folds[0].result["metrics"]["val/accuracy"]) for folds in seeds])
    measured, images = (accuracy, n) if validation is None else (validation, int(first.result["val_n"]))
    if figures is not None:
        results = [run.result for run in used]
        figures, protocol = study.held_against(figures, protocol, first.settings, results, images)
    people = whole[0][2] if same else None
    over = None
    if people is not None and len(np.unique(people)) > 1:
        over = over_people(np.stack([correct for _, correct, _ in whole]), people)
        span = " to ".join(f"{100 * end:.2f}" for end in over)
        notes.append(f"For people other than these {len(np.unique(people))}, the 95 % interval is {span} %.")
    best = None
    if figures is not None and figures.best_of > 1 < accuracy.n:
        best = figures.best_of, best_of(accuracy.values, figures.best_of)
        notes.append(f"The best of {min(best[0], accuracy.n)} runs here: {100 * best[1]:.2f} %.")
    judged = Verdict("none", "", False) if figures is None else study.verdict(figures, measured, images, protocol)
    labels = {column: _label(first.settings, key) for column, key in columns.items()}
    sheets = explained.first(((run.directory, run.settings[SEED]) for run in used), notes)
    return Row(
        key=re.sub(r"[^a-z0-9_.]+", "-", "-".join(labels.values()).lower()).strip("-."),
        labels=labels,
        choices=dict(first.result["choices"]),
        titles=first.titles,
        seeds=tuple(by_seed),
        accuracy=accuracy,
        interval=interval,
        macro_f1=_mean([_macro_f1(each) for each in confusions]),
        n=n,
        majority=majority,
        shared_subjects=first.result.get("shared_subjects"),
        params_total=first.result["params_total"],
        params_trainable=first.result["params_trainable"],
        seconds=float(np.mean([sum(run.result["seconds"] for run in folds) for folds in seeds])),
        epochs=tuple(run.result["epochs"] for run in used),
        best_epoch=tuple(run.result["best_epoch"] for run in used),
        class_names=tuple(first.result["per_class"]),
        confusion=np.sum(confusions, axis=0),
        curves=tuple(run.history for run in used),
        reported=figures,
        verdict=judged,
        notes=tuple(notes),
        correct=np.stack([correct for _, correct, _ in whole]) if same else np.zeros((0, 0), bool),
        ids=whole[0][0] if same else np.array([], dtype=str),
        people=people,
        over_people=over,
        best_of=best,
        at_chance=tuple(seeds[k][0].settings[SEED] for k in stuck),
        validation=validation,
        explained=sheets,
        **_without_twins(seeds),
    )


def _without_twins(seeds: Sequence[Sequence[Finished]]) -> dict[str, Any]:
    """`Row.without_twins` and `Row.n_without_twins`, where all runs know them and the images are the same."""
    found = [leaks.without_twins([run.result for run in folds]) for folds in seeds]
    known = [each for each in found if each is not None and each[1]]
    if len(known) < len(found) or len({n for _, n in known}) > 1:
        return {}
    return {"without_twins": _mean([hits / n for hits, n in known]), "n_without_twins": known[0][1]}


def _images(runs: Sequence[Finished]) -> list[int]:
    """How many images each run was tested on."""
    return [int(np.sum(run.result["confusion_matrix"])) for run in runs]


def _common_folds(seeds: list[list[Finished]]) -> tuple[list[list[Finished]], list[str]]:
    """The runs of those folds of people that all seeds have, and what there is to say of the folds."""
    settings = seeds[0][0].settings
    if settings.get(FOLD[0]) is None:
        return seeds, []
    everywhere = set.intersection(*({run.fold for run in folds} for folds in seeds))
    if not everywhere:  # each seed has others: one seed's are better than none
        seeds, everywhere = seeds[:1], {run.fold for run in seeds[0]}
    kept = [[run for run in folds if run.fold in everywhere] for folds in seeds]
    dropped = sum(map(len, seeds)) - sum(map(len, kept))
    wanted = seeds[0][0].result.get("folds") or settings.get("split.folds") or 10
    if len(everywhere) == 1:
        note = f"Fold {min(everywhere)} of {wanted} only: n counts its test images."
    else:
        note = (
            f"Accuracy over the pooled predictions of {len(everywhere)} folds of {wanted}: n counts their test images."
        )
    if dropped:
        which, verb = ("run of a fold", "is") if dropped == 1 else ("runs of folds", "are")
        note += f" {dropped} {which} that not all seeds have {verb} left out."
    return kept, [note]


def _chance(stuck: Sequence[int], seeds: Sequence[Sequence[Finished]], accuracies: Sequence[float]) -> str:
    """What there is to say of seeds that never left chance, and of the others of their row."""
    runs = [run for k in stuck for run in seeds[k]]
    early = sum(run.result["epochs"] < int(run.settings.get("recipe.max_epochs") or 0) for run in runs)
    names = ", ".join(f"seed {seeds[k][0].settings[SEED]}" for k in stuck)
    note = f"{len(stuck)} of {len(seeds)} runs never left chance ({names})"
    if early == len(runs):
        note += ", stopped before the last epoch"
    others = [accuracy for k, accuracy in enumerate(accuracies) if k not in stuck]
    if not others:
        return f"{note}."
    learnt = _mean(others)
    spread = "" if learnt.sd is None else f" ± {100 * learnt.sd:.2f}"
    score = "scores" if len(others) == 1 else "score"
    return f"{note}; the {len(others)} that learnt {score} {100 * learnt.mean:.2f}{spread} %."


def _pooled(
    folds: list[Finished],
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.bool_], npt.NDArray[np.str_] | None]:
    """Test images of all folds of one seed, sorted, whether each was recognised, and who is shown."""
    if any(len(run.ids) == 0 for run in folds):
        return np.array([], dtype=str), np.array([], dtype=bool), None
    ids, correct = (np.concatenate([getattr(run, name) for run in folds]) for name in ("ids", "correct"))
    order = np.argsort(ids)
    known = [run.people for run in folds if run.people is not None]
    people = np.concatenate(known)[order] if len(known) == len(folds) else None
    return ids[order], correct[order], people


def _mean(values: list[float]) -> Mean:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Mean(float(np.mean(values)), sd, len(values), tuple(values))


def _macro_f1(counts: npt.NDArray[np.int64]) -> float:
    """Mean F1 over the classes that are shown or predicted, from a confusion matrix ``(K, K)``."""
    support = counts.sum(axis=0) + counts.sum(axis=1)
    return float((2 * np.diag(counts)[support > 0] / support[support > 0]).mean())
