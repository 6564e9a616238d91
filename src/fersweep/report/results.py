"""The columns of the main table; to add one, add it to `RESULTS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fersweep.report.columns import Choice, Column, choose, figures
from fersweep.report.contents import Mean, Report, Row
from fersweep.report.formats import grouped, interval, millions, percent, peta
from fersweep.report.titles import ABSENT, heading

SIGNS = {
    "within": "≈",
    "above": "▲",
    "below": "▼",
    "cannot be right": "✕",
}
"""Kind of verdict → its sign."""

MOST = 5
"""Columns of labels for which the page has room; more are merged into one."""


def mean_and_sd(row: Row) -> str:
    """Return ``60.71 ± 1.26``, in percent; without the standard deviation for one seed."""
    return _mean_and_sd(row.accuracy)


def _mean_and_sd(score: Mean) -> str:
    return percent(score.mean) + ("" if score.sd is None else f" ± {percent(score.sd)}")


def reported(row: Row) -> str:
    """Return a row's reported accuracy in percent, with ours if it is on validation; an en dash if none is."""
    if row.reported is None:
        return ABSENT
    ours = "" if row.validation is None else f" (validation; ours {percent(row.validation.mean)})"
    return f"{row.reported.accuracy_percent:.2f}{ours}"


def counts(row: Row) -> str:
    """Return the number of images in a row's confusion matrix: ``n = 35, 2 seeds: counts sum to 70``."""
    n, seeds = f"n = {grouped(row.n)}", len(row.seeds)
    return n if seeds == 1 else f"{n}, {seeds} seeds: counts sum to {grouped(int(row.confusion.sum()))}"


def on_two_lines(text: str) -> str:
    """Put the part of a text in brackets on a second line."""
    return text.removesuffix(")").replace(" (", "\n")


def reported_note(row: Row) -> list[str]:
    """Return the notes on a row's reported figures."""
    return [row.reported.note] if row.reported and row.reported.note else []


def without_twins(row: Row) -> str:
    """Return the accuracy on images without twins, and their number: ``71.20 ± 0.31 (n = 3,234)``."""
    if not row.has_twins or row.without_twins is None or row.n_without_twins is None:
        return ABSENT
    return f"{_mean_and_sd(row.without_twins)} (n = {grouped(row.n_without_twins)})"


def verdict(row: Row) -> str:
    """Return ``within``, or ``below (other protocol)``."""
    if row.verdict.kind == "none":
        return ABSENT
    return row.verdict.kind + (" (other protocol)" if _other_protocol(row) else "")


def _other_protocol(row: Row) -> bool:
    return not row.verdict.comparable and row.verdict.kind not in ("none", "cannot be right")


def _signed_verdict(row: Row) -> str:
    if row.verdict.kind == "none":
        return ABSENT
    sign = SIGNS.get(row.verdict.kind, "")
    return f"{sign} {row.verdict.kind}".strip() + ("\n≠ other protocol" if _other_protocol(row) else "")


ACCURACY = "Accuracy (%)"

RESULTS: tuple[Column[Row], ...] = (
    Column(
        ACCURACY,
        mean_and_sd,
        lambda row: row.accuracy.mean,
        about="on the test images, mean ± standard deviation over seeds",
        look="accuracy",
        always=True,
    ),
    Column(
        "95 % interval",
        lambda row: interval(row.interval),
        lambda row: row.interval[0],
        about="Wilson’s, for n test images",
        below=ACCURACY,
        always=True,
    ),
    figures(
        "Best of three (%)",
        lambda row: None if row.best_of is None else row.best_of[1],
        percent,
        about="mean of the best of as many runs as the study prints the best of",
        below=ACCURACY,
    ),
    Column(
        "Without twins (%)",
        without_twins,
        lambda row: row.without_twins.mean if row.has_twins and row.without_twins else None,
        page=lambda row: on_two_lines(without_twins(row)),
        about="on the test images without an identical or near-identical image in training or validation",
    ),
    Column(
        "Reported (%)",
        reported,
        lambda row: row.reported.accuracy_percent if row.reported else None,
        page=lambda row: on_two_lines(reported(row)),
        about="what the study prints, or the notebook logged",
        notes=reported_note,
    ),
    Column(
        "Verdict",
        verdict,
        page=_signed_verdict,
        about="whether the reported accuracy holds up",
        details=lambda row: "" if row.verdict.kind == "none" else row.verdict.sentence,
        look=lambda row: row.verdict.kind.replace(" ", "-"),
        number=False,
    ),
    figures("Macro-F1", lambda row: row.macro_f1.mean, "{:.3f}".format),
    figures("Seeds", lambda row: row.accuracy.n, str),
    figures("n", lambda row: row.n, grouped, about="test images"),
    figures(
        "Majority class (%)",
        lambda row: row.majority,
        percent,
        about="what always answering the commonest class would score",
    ),
    figures(
        "Parameters (M)",
        lambda row: row.params_total,
        millions,
        about="all of the network, in millions, batch norm’s moving statistics included",
    ),
    figures(
        "Training (PFLOP)",
        lambda row: row.training_flops,
        peta,
        about="10¹⁵ floating-point operations of the forward and backward passes of one training",
    ),
    figures(
        "Reported params (M)",
        lambda row: row.reported.params_m if row.reported else None,
        "{:.2f}".format,
        below="Parameters (M)",
    ),
)
"""The columns of scores, in the order of the tables."""


def choice(report: Report, page: bool = False) -> Choice[Row]:
    """Return the columns of a report's main table: its labels, then `RESULTS`.

    On the page, verdicts open, and there is room for `MOST` columns of labels.
    """
    names = [Column(heading(name), _shown(name), look="label", number=False, filters=True) for name in report.columns]
    labels = choose(names, report.rows)
    first, *others = labels.shown or names[:1]
    if page and len(others) >= MOST:
        others = [*others[: MOST - 2], _merged(others[MOST - 2 :])]
    first = replace(first, notes=lambda row: row.notes, link=lambda row: f"details-{row.key}", look="name")
    found = choose(RESULTS, report.rows, details=page)
    common = {heading(name): value for name, value in report.common.items()}
    return Choice((first, *others, *found.shown), labels.common | common | found.common)


def _shown(name: str) -> Callable[[Row], str]:
    return lambda row: row.shown[name]


def _merged(columns: Sequence[Column[Row]]) -> Column[Row]:
    """Merge several columns into one, each value with its heading."""

    def text(row: Row) -> str:
        texts = [(column.heading, column.text(row)) for column in columns]
        return ", ".join(f"{name[0].lower()}{name[1:]} {value}" for name, value in texts if value != ABSENT) or ABSENT

    return Column("Settings", text, look="label", number=False)


def block(row: Row) -> tuple[object, ...]:
    """Return a key that is equal for rows of the same test images, whose accuracies are comparable."""
    return row.choices["dataset"], row.choices["split"], row.n


def best(rows: Sequence[Row]) -> set[str]:
    """Return the keys of the rows with the highest printed mean accuracy of their `block`, if that has several rows."""
    blocks: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        blocks.setdefault(block(row), []).append(row)
    found: set[str] = set()
    for alike in blocks.values():
        highest = percent(max(row.accuracy.mean for row in alike))
        found |= {row.key for row in alike if percent(row.accuracy.mean) == highest and len(alike) > 1}
    return found
