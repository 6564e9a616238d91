"""The section on other datasets: tests by ``fersweep test`` of the networks of a report, as table and files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from fersweep.config.schema import GROUPS
from fersweep.report import tables
from fersweep.report.columns import Choice, Column
from fersweep.report.contents import Elsewhere, Mean, Report, Row
from fersweep.report.formats import grouped, interval, percent
from fersweep.report.gather import Finished
from fersweep.report.results import mean_and_sd
from fersweep.report.statistics import wilson
from fersweep.report.titles import ABSENT
from fersweep.runs import tests
from fersweep.runs.tests import Test
from fersweep.text import cells, counted, listed

STEM = "other_datasets"
"""Name of the files, without suffix."""

OWN = "Own test part (%)"


def with_tests(rows: Sequence[Row], runs: Sequence[Sequence[Finished]]) -> list[Row]:
    """Add the tests on other data to rows, and a note on each that cannot be read.

    Args:
        rows: without tests.
        runs: of each row.
    """
    read = [{run.directory: tests.of_run(run.directory) for run in its} for its in runs]
    every = [found for its in read for found, _ in its.values()]
    of = tests.columns([test.data for test in found] for found in every)
    titles = dict(of.values())
    filled = []
    for row, its, its_tests in zip(rows, runs, read, strict=True):
        damaged = [sentence for _, sentences in its_tests.values() for sentence in sentences]
        by_key: dict[str, list[tuple[Finished, Test]]] = {}
        for run in its:
            for test in its_tests[run.directory][0]:
                by_key.setdefault(of[test.data][0], []).append((run, test))
        found = {key: _pooled(key, titles[key], its, by_key[key]) for key in sorted(by_key)}
        filled.append(replace(row, elsewhere=found, notes=(*row.notes, *damaged)))
    return filled


def _pooled(key: str, title: str, runs: Sequence[Finished], found: Sequence[tuple[Finished, Test]]) -> Elsewhere:
    """Return the tests of a row's networks on the same images as one: mean over seeds, each the mean of its folds."""
    by_seed: dict[int, list[float]] = {}
    for run, test in found:
        by_seed.setdefault(run.seed, []).append(test.accuracy)
    accuracy = Mean.of([sum(values) / len(values) for _, values in sorted(by_seed.items())])
    first = found[0][1]
    notes = dict.fromkeys(str(each) for _, test in found for each in test.result.get("warnings") or [])
    lacking = sorted({run.seed for run in runs} - set(by_seed))
    if lacking:
        notes[f"{title}: not tested with seed {listed([*map(str, lacking)], 'and')}."] = None
    return Elsewhere(
        key=key,
        title=title,
        accuracy=accuracy,
        interval=wilson(round(accuracy.mean * first.n), first.n),
        n=first.n,
        majority=float(first.result["majority_baseline"]),
        result=first.result,
        notes=tuple(notes),
    )


def tested(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with a test on other data."""
    return [row for row in rows if row.elsewhere]


def choice(rows: Sequence[Row], only: Collection[str] | None = None) -> Choice[Row]:
    """Return the columns of the table: network, training data, own test, and one for each of the data tested on.

    Args:
        rows: of a report.
        only: the values of `fersweep.runs.tests.Test.on` to show; by default all.
    """
    found = {key: each for row in rows for key, each in row.elsewhere.items()}
    shown = [each for each in found.values() if only is None or each.result["on"] in only]
    return Choice(
        (
            Column("Network", lambda row: row.name, look="name", number=False, link=lambda row: f"details-{row.key}"),
            Column("Trained on", _trained_on, look="label", number=False),
            Column(
                OWN,
                lambda row: f"{mean_and_sd(row)} ({interval(row.interval)}, n = {grouped(row.n)})",
                lambda row: row.accuracy.mean,
                page=lambda row: f"{mean_and_sd(row)}\n{interval(row.interval)}\nn = {grouped(row.n)}",
                about="of the dataset that it was trained on, as in the results above",
            ),
            *(_column(each) for each in sorted(shown, key=lambda each: each.title)),
        ),
        {},
    )


def _trained_on(row: Row) -> str:
    return f"{row.titles.get('dataset', row.choices['dataset'])}, split {row.choices['split']}"


def _column(of: Elsewhere) -> Column[Row]:
    """Return the column of the tests on the same images as ``of``."""

    def shown(row: Row, write: Callable[[Elsewhere], str]) -> str:
        each = row.elsewhere.get(of.key)
        return ABSENT if each is None else write(each)

    return Column(
        f"{of.title} (%)",
        lambda row: shown(row, lambda each: f"{_mean(each)} ({_below(each, ', ')})"),
        lambda row: None if (each := row.elsewhere.get(of.key)) is None else each.accuracy.mean,
        page=lambda row: shown(row, lambda each: f"{_mean(each)}\n" + _below(each, "\n")),
        notes=lambda row: row.elsewhere[of.key].notes if of.key in row.elsewhere else (),
        look="accuracy",
        always=True,
    )


def _mean(each: Elsewhere) -> str:
    return percent(each.accuracy.mean) + ("" if each.accuracy.sd is None else f" ± {percent(each.accuracy.sd)}")


def _below(each: Elsewhere, between: str) -> str:
    seeds = [counted(each.accuracy.n, "seed")] if each.accuracy.n > 1 else []
    return between.join([interval(each.interval), f"n = {grouped(each.n)}", *seeds])


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return remarks on the table: how to read it, and notes on its cells."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for each in row.elsewhere.values():
            for note in each.notes:
                found.setdefault(note, []).append(f"{row.name} on {each.title}")
    return [
        "Accuracy of the same networks on other data: mean ± standard deviation over seeds (Wilson's 95 % interval "
        "for n images; it says nothing of training again). Classes are matched by name.",
        *(f"{'; '.join(names)}: {note}" for note, names in found.items()),
    ]


RECORD: dict[str, Callable[[Elsewhere], Any]] = {
    "tested_on": lambda each: each.result["dataset"],
    "tested_split": lambda each: each.result["split"],
    "tested_part": lambda each: each.result["part"],
    "outputs": lambda each: each.result["outputs"],
    "test_crops": lambda each: each.result["test_crops"],
    "classes": lambda each: " ".join(each.result["classes"]["shared"]),
    "accuracy": lambda each: each.accuracy.mean,
    "accuracy_sd": lambda each: each.accuracy.sd,
    "seeds": lambda each: each.accuracy.n,
    "interval_low": lambda each: each.interval[0],
    "interval_high": lambda each: each.interval[1],
    "n": lambda each: each.n,
    "majority": lambda each: each.majority,
    "seen_in_training": lambda each: (each.result["seen"] or {}).get("train"),
}
"""Column of the CSV file → its value, after the options and settings of the network."""


def as_csv(report: Report) -> str:
    """Return RFC 4180 text, one record per row and data tested on; accuracies are fractions."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    groups = [group for group in GROUPS if group not in ("trainer", "logger")]
    settings = [column for column in report.columns if column not in groups]
    writer.writerow(cells([*groups, *settings, *RECORD]))
    for row in tested(report.rows):
        options = [*(row.choices[group] for group in groups), *(row.labels[column] for column in settings)]
        for each in sorted(row.elsewhere.values(), key=lambda each: each.title):
            writer.writerow(cells([*options, *(value(each) for value in RECORD.values())]))
    return text.getvalue()


def files(report: Report) -> dict[str, str]:
    """Return the files of the section by name; none without a test."""
    rows = tested(report.rows)
    if not rows:
        return {}
    columns, below = choice(rows).shown, remarks(rows)
    return {
        f"{STEM}.md": tables.markdown(columns, rows, below),
        f"{STEM}.csv": as_csv(report),
        f"{STEM}.tex": tables.latex(columns, rows, below, tables.group),
    }
