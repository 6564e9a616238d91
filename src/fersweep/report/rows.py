"""The rows of a report: runs that differ in seed and fold alone are one row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fersweep.report import answers, code, elsewhere, explained, leaks, notebook, study
from fersweep.report.contents import Mean, Row, Verdict
from fersweep.report.effects import at_chance, best_of, over_people
from fersweep.report.gather import FOLD, Finished
from fersweep.report.labels import beside, columns_of, label, sort_key
from fersweep.report.statistics import wilson
from fersweep.report.titles import ABSENT
from fersweep.text import listed

Seeds = Sequence[Sequence[Finished]]
"""The runs of a row: for each seed, those of its folds; one run where the split has no folds."""


def rows_of(runs: Sequence[Finished]) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows, sorted by their labels in the order of the groups' options, and the names of their columns."""
    columns = columns_of(runs)
    grouped: dict[str, list[Finished]] = {}
    for run in runs:
        grouped.setdefault(run.row, []).append(run)
    own = beside(runs, columns)
    rows = [_row(group, columns, own) for group in grouped.values()]
    rows = elsewhere.with_tests(rows, list(grouped.values()))
    rows.sort(key=lambda row: sort_key(row.labels))
    return _unique(rows), tuple(columns)


def _unique(rows: list[Row]) -> list[Row]:
    """Number rows with equal keys."""
    seen: dict[str, int] = {}
    unique = []
    for row in rows:
        seen[row.key] = seen.get(row.key, 0) + 1
        unique.append(row if seen[row.key] == 1 else replace(row, key=f"{row.key}-{seen[row.key]}"))
    return unique


def _row(runs: Sequence[Finished], columns: Mapping[str, str], own: Sequence[str]) -> Row:
    by_seed: dict[int, list[Finished]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.fold)):
        by_seed.setdefault(run.seed, []).append(run)
    seeds, fold_notes = _common_folds(list(by_seed.values()))
    used = [run for folds in seeds for run in folds]
    scores = _scores(seeds)
    sheets, damaged = explained.first((run.directory, run.seed) for run in used)
    row = Row(
        **_settings(used[0], columns),
        **scores,
        **_answers(seeds),
        **_reported(seeds, columns, scores["accuracy"], scores["n"]),
        **_without_twins(seeds),
        own={key: label(used[0].settings, key) for key in own},
        seeds=tuple(by_seed),
        seconds=float(np.mean([sum(run.result["seconds"] for run in folds) for folds in seeds])),
        training_flops=_flops(seeds),
        epochs=tuple(run.result["epochs"] for run in used),
        best_epoch=tuple(run.result["best_epoch"] for run in used),
        curves=tuple(run.history for run in used),
        explained=sheets,
        code=tuple(dict.fromkeys(state for run in used for state in code.states(run.result))),
        chosen_at=float(np.mean([run.result["metrics"]["val/accuracy"] for run in used])),
        notes=(),
    )
    return replace(row, notes=(*fold_notes, *_notes(row, seeds), *damaged))


def _common_folds(seeds: list[list[Finished]]) -> tuple[list[list[Finished]], list[str]]:
    """Return the runs of the folds that all seeds share, and notes on the folds."""
    settings = seeds[0][0].settings
    if settings.get(FOLD[0]) is None:
        return seeds, []
    everywhere = set.intersection(*({run.fold for run in folds} for folds in seeds))
    if not everywhere:  # no common fold: the first seed alone
        seeds, everywhere = seeds[:1], {run.fold for run in seeds[0]}
    kept = [[run for run in folds if run.fold in everywhere] for folds in seeds]
    dropped = sum(map(len, seeds)) - sum(map(len, kept))
    wanted = seeds[0][0].result.get("folds") or settings.get("split.folds") or 10
    if len(everywhere) == 1:
        note = f"Fold {min(everywhere)} of {wanted} only: n counts its test images."
    else:
        pooled = f"the pooled predictions of {len(everywhere)} folds of {wanted}"
        note = f"Accuracy over {pooled}: n counts their test images."
    if dropped:
        which, verb = ("run of a fold", "is") if dropped == 1 else ("runs of folds", "are")
        note += f" {dropped} {which} that not all seeds have {verb} left out."
    return kept, [note]


def _settings(run: Finished, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a row that its runs share."""
    labels = {column: label(run.settings, key) for column, key in columns.items()}
    return {
        "key": re.sub(r"[^a-z0-9_.]+", "-", "-".join(labels.values()).lower()).strip("-."),
        "labels": labels,
        "choices": dict(run.result["choices"]),
        "titles": run.titles,
        "class_names": tuple(run.result["per_class"]),
        "params_total": run.result["params_total"],
        "params_trainable": run.result["params_trainable"],
        "shared_subjects": run.result.get("shared_subjects"),
    }


def _scores(seeds: Seeds) -> dict[str, Any]:
    """Return the fields of a row that come from its confusion matrices."""
    used = [run for folds in seeds for run in folds]
    confusions = [np.sum([run.result["confusion_matrix"] for run in folds], axis=0) for folds in seeds]
    n = int(confusions[0].sum())
    accuracy = _mean([float(np.trace(each) / each.sum()) for each in confusions])
    images = [int(np.sum(run.result["confusion_matrix"])) for run in used]
    return {
        "accuracy": accuracy,
        "interval": wilson(round(accuracy.mean * n), n),
        "macro_f1": _mean([_macro_f1(each) for each in confusions]),
        "n": n,
        "majority": float(np.average([run.result["majority_baseline"] for run in used], weights=images)),
        "confusion": np.sum(confusions, axis=0),
        "at_chance": tuple(folds[0].seed for folds, counts in zip(seeds, confusions, strict=True) if at_chance(counts)),
    }


def _flops(seeds: Seeds) -> float | None:
    """Return the operations of the training, mean over seeds and sum over folds; ``None`` if a run does not say."""
    each = [[run.result.get("training_flops") for run in folds] for folds in seeds]
    known = [[flops for flops in folds if flops is not None] for folds in each]
    return float(np.mean([sum(folds) for folds in known])) if known == each else None


_mean = Mean.of


def _macro_f1(counts: npt.NDArray[np.int64]) -> float:
    """Return the mean F1 over the classes that are shown or predicted, from a confusion matrix ``(K, K)``."""
    support = counts.sum(axis=0) + counts.sum(axis=1)
    return float((2 * np.diag(counts)[support > 0] / support[support > 0]).mean())


def _answers(seeds: Seeds) -> dict[str, Any]:
    """Return the fields of a row on single test images; empty arrays if the seeds were not tested on the same ones."""
    pooled = [_pooled(folds) for folds in seeds]
    ids, _, people = pooled[0]
    if not len(ids) or not all(np.array_equal(each, ids) for each, *_ in pooled):
        return {"ids": np.array([], dtype=str), "correct": np.zeros((0, 0), bool)}
    correct = np.stack([each for _, each, _ in pooled])
    several = people is not None and len(np.unique(people)) > 1
    return {
        "ids": ids,
        "correct": correct,
        "people": people,
        "answers": answers.added([answers.pooled([run.answers for run in folds]) for folds in seeds]),
        "over_people": over_people(correct, people) if people is not None and several else None,
    }


def _pooled(
    folds: Sequence[Finished],
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.bool_], npt.NDArray[np.str_] | None]:
    """Return the test images of all folds of one seed, sorted, whether each was correct, and the person on each."""
    if any(len(run.ids) == 0 for run in folds):
        return np.array([], dtype=str), np.array([], dtype=bool), None
    ids, correct = (np.concatenate([getattr(run, name) for run in folds]) for name in ("ids", "correct"))
    order = np.argsort(ids)
    known = [run.people for run in folds if run.people is not None]
    people = np.concatenate(known)[order] if len(known) == len(folds) else None
    return ids[order], correct[order], people


def _reported(seeds: Seeds, columns: Mapping[str, str], accuracy: Mean, n: int) -> dict[str, Any]:
    """Return the fields of a row on the accuracy that the study or the notebook reports."""
    first = seeds[0][0]
    figures, protocol = study.reported(first.settings, columns.values())
    if figures is None:
        figures, protocol = notebook.reported(first.settings)
    if figures is None:
        return {"reported": None, "verdict": Verdict("none", "", False)}
    validation, measured = None, accuracy
    if figures.part == "validation":
        validation = measured = _mean([float(folds[0].result["metrics"]["val/accuracy"]) for folds in seeds])
        n = int(first.result["val_n"])
    results = [run.result for folds in seeds for run in folds]
    figures, protocol = study.deviations(figures, protocol, first.settings, results, n)
    several = figures.best_of > 1 and accuracy.n > 1
    return {
        "reported": figures,
        "verdict": study.verdict(figures, measured, n, protocol),
        "validation": validation,
        "best_of": (figures.best_of, best_of(accuracy.values, figures.best_of)) if several else None,
    }


def _without_twins(seeds: Seeds) -> dict[str, Any]:
    """Return `Row.without_twins` and `Row.n_without_twins`, if all runs know them and their images are the same."""
    found = [leaks.without_twins([run.result for run in folds]) for folds in seeds]
    known = [each for each in found if each is not None and each[1]]
    if len(known) < len(found) or len({n for _, n in known}) > 1:
        return {}
    return {"without_twins": _mean([hits / n for hits, n in known]), "n_without_twins": known[0][1]}


def _notes(row: Row, seeds: Seeds) -> list[str]:
    """Return the notes on a row, except those on its folds."""
    notes = []
    if own := [f"{key}={value}" for key, value in row.own.items() if value != ABSENT]:
        notes.append(f"Not the same in all rows: {listed(own, 'and')}.")
    if not len(row.ids):
        notes.append("Not compared with other rows: predictions are missing, or seeds were tested on other images.")
    if row.interval[0] <= row.majority:
        notes.append("No better than always answering the commonest class, as far as these images can tell.")
    if row.at_chance:
        notes.append(_chance_note(row, seeds))
    notes += leaks.notes([run.result for run in seeds[0]])
    notes += code.notes([(folds[0].seed, [run.result for run in folds]) for folds in seeds])
    if row.over_people is not None and row.people is not None:
        span = " to ".join(f"{100 * end:.2f}" for end in row.over_people)
        notes.append(f"For people other than these {len(np.unique(row.people))}, the 95 % interval is {span} %.")
    if row.best_of is not None:
        most, value = row.best_of
        notes.append(f"The best of {min(most, row.accuracy.n)} runs here: {100 * value:.2f} %.")
    return notes


def _chance_note(row: Row, seeds: Seeds) -> str:
    """Return a note on the seeds of a row that never left chance, and on the others."""
    stuck = [run for folds in seeds if folds[0].seed in row.at_chance for run in folds]
    names = ", ".join(f"seed {seed}" for seed in row.at_chance)
    note = f"{len(row.at_chance)} of {len(seeds)} runs never left chance ({names})"
    if all(run.result["epochs"] < int(run.settings.get("recipe.max_epochs") or 0) for run in stuck):
        note += ", stopped before the last epoch"
    values = zip(seeds, row.accuracy.values, strict=True)
    others = [accuracy for folds, accuracy in values if folds[0].seed not in row.at_chance]
    if not others:
        return f"{note}."
    learnt = _mean(others)
    spread = "" if learnt.sd is None else f" ± {100 * learnt.sd:.2f}"
    score = "scores" if len(others) == 1 else "score"
    return f"{note}; the {len(others)} that learnt {score} {100 * learnt.mean:.2f}{spread} %."
