"""The section on ensembles: the probabilities of several networks averaged on each test image."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fersweep.report import tables
from fersweep.report.answers import Answers, added, same_images
from fersweep.report.columns import Choice, Column, choose, figures
from fersweep.report.contents import Report, Row
from fersweep.report.formats import grouped, interval, millions, percent, points
from fersweep.report.statistics import wilson
from fersweep.report.titles import ABSENT
from fersweep.text import cells, counted

STEM = "ensembles"
"""Name of the files, without suffix."""

SEEDS, ROWS = "seeds of a row", "rows on the same images"


@dataclass(frozen=True)
class Ensemble:
    """Networks that were tested on the same images, none left out.

    Attributes:
        name: which ones.
        kind: `SEEDS` or `ROWS`.
        row: the key of the row of which these are all seeds; empty for several rows.
        networks: their number.
        alone: mean of their accuracies.
        accuracy: of the class with the highest mean probability.
        interval: Wilson's 95 % interval of ``accuracy`` for ``n`` images.
        without_twins: accuracy on the ``n_without_twins`` images without a twin in training or validation; ``None`` if
            there are no such twins, or they are unknown.
        params_total: of all networks.
    """

    name: str
    kind: str
    row: str
    networks: int
    alone: float
    accuracy: float
    interval: tuple[float, float]
    n: int
    without_twins: float | None
    n_without_twins: int | None
    params_total: int


def of(rows: Sequence[Row]) -> list[Ensemble]:
    """Return an ensemble of the seeds of each row that has several, and of all rows tested on the same images.

    Averaging all of them chooses nothing on the test images. Runs whose predictions have no probabilities are in none.
    """
    found = [_ensemble([row], row.answers) for row in rows if row.answers is not None and row.answers.networks > 1]
    for alike in _same_images(rows):
        together = added([row.answers for row in alike])
        if len(alike) > 1 and together is not None:
            found.append(_ensemble(alike, together))
    return found


def _same_images(rows: Sequence[Row]) -> list[list[Row]]:
    groups: list[list[Row]] = []
    for row in rows:
        if row.answers is None:
            continue
        fitting = (group for group in groups if _comparable(group[0], row))
        if (group := next(fitting, None)) is None:
            groups.append([row])
        else:
            group.append(row)
    return groups


def _comparable(one: Row, other: Row) -> bool:
    if one.answers is None or other.answers is None or one.class_names != other.class_names:
        return False
    return one.choices["dataset"] == other.choices["dataset"] and same_images(one.answers, other.answers)


def _ensemble(rows: Sequence[Row], answers: Answers) -> Ensemble:
    correct = answers.correct
    sizes = [row.accuracy.n for row in rows]
    alone = sum(row.accuracy.mean * size for row, size in zip(rows, sizes, strict=True)) / sum(sizes)
    apart = None if answers.twins is None or not answers.twins.any() else ~answers.twins
    first, several = rows[0], len(rows) > 1
    count = "both rows" if len(rows) == 2 else f"all {len(rows)} rows"
    where = f"{first.titles.get('dataset', first.choices['dataset'])}, split {first.choices['split']}"
    return Ensemble(
        name=f"{count} on {where}" if several else first.name,
        kind=ROWS if several else SEEDS,
        row="" if several else first.key,
        networks=answers.networks,
        alone=alone,
        accuracy=float(correct.mean()),
        interval=wilson(int(correct.sum()), len(correct)),
        n=len(correct),
        without_twins=None if apart is None or not apart.any() else float(correct[apart].mean()),
        n_without_twins=None if apart is None else int(apart.sum()),
        params_total=sum(row.params_total * size for row, size in zip(rows, sizes, strict=True)),
    )


COLUMNS: tuple[Column[Ensemble], ...] = (
    Column(
        "Networks",
        lambda each: each.name,
        look="name",
        number=False,
        always=True,
        link=lambda each: f"details-{each.row}" if each.row else "",
    ),
    figures("Number", lambda each: each.networks, str, about="of networks that are averaged", always=True),
    figures("Alone (%)", lambda each: each.alone, percent, about="mean accuracy of the single networks", always=True),
    Column(
        "Averaged (%)",
        lambda each: f"{percent(each.accuracy)} ({interval(each.interval)}, n = {grouped(each.n)})",
        lambda each: each.accuracy,
        page=lambda each: f"{percent(each.accuracy)}\n{interval(each.interval)}\nn = {grouped(each.n)}",
        look="accuracy",
        always=True,
    ),
    figures("Gain (points)", lambda each: each.accuracy - each.alone, points, always=True),
    Column(
        "Without twins (%)",
        lambda each: _without_twins(each, " (", ")"),
        lambda each: each.without_twins,
        page=lambda each: _without_twins(each, "\n", ""),
        about="on the test images without an identical or near-identical image in training or validation",
        always=True,
    ),
    figures(
        "Parameters (M)", lambda each: each.params_total, millions, about="of all networks, in millions", always=True
    ),
)
"""The columns of the table."""

ABOUT = (
    "Probabilities of several networks, averaged per image: of all seeds of a row, and of all rows that were tested on "
    "the same images. None is left out, so nothing is chosen on the test images. In brackets: Wilson's 95 % interval "
    "for n images; it says nothing of training again."
)


def _without_twins(each: Ensemble, before: str, after: str) -> str:
    if each.without_twins is None or each.n_without_twins is None:
        return ABSENT
    return f"{percent(each.without_twins)}{before}n = {grouped(each.n_without_twins)}{after}"


def choice(ensembles: Sequence[Ensemble]) -> Choice[Ensemble]:
    """Return the columns of the table."""
    return Choice(choose(COLUMNS, ensembles).shown, {})


RECORD: dict[str, Callable[[Ensemble], object]] = {
    "networks": lambda each: each.name,
    "averaged": lambda each: each.kind,
    "number": lambda each: each.networks,
    "accuracy_alone": lambda each: each.alone,
    "accuracy": lambda each: each.accuracy,
    "interval_low": lambda each: each.interval[0],
    "interval_high": lambda each: each.interval[1],
    "n": lambda each: each.n,
    "accuracy_without_twins": lambda each: each.without_twins,
    "n_without_twins": lambda each: each.n_without_twins,
    "params_total": lambda each: each.params_total,
}
"""Column of the CSV file → its value; accuracies are fractions."""


def as_csv(ensembles: Sequence[Ensemble]) -> str:
    """Return RFC 4180 text, one record per ensemble; unknown values are empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(RECORD)
    for each in ensembles:
        writer.writerow(cells([value(each) for value in RECORD.values()]))
    return text.getvalue()


def files(report: Report) -> dict[str, str]:
    """Return the files of the section by name; none without an ensemble."""
    found = of(report.rows)
    if not found:
        return {}
    columns, below = choice(found).shown, [ABOUT, *lacking(report.rows)]
    return {
        f"{STEM}.md": tables.markdown(columns, found, below),
        f"{STEM}.csv": as_csv(found),
        f"{STEM}.tex": tables.latex(columns, found, below),
    }


def lacking(rows: Sequence[Row]) -> list[str]:
    """Return a sentence on rows that are in no ensemble, if there are some."""
    without = sum(row.answers is None for row in rows)
    if not without:
        return []
    which = counted(without, "row")
    return [f"Not averaged, without probabilities or with seeds that were tested on other images: {which}."]
