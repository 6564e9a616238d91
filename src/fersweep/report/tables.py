"""The main table as Markdown, CSV and LaTeX, with the columns of `fersweep.report.results`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence

from fersweep.config.schema import GROUPS
from fersweep.report import results
from fersweep.report.columns import Column, T, in_line
from fersweep.report.contents import Report, Reported, Row
from fersweep.text import cells, counted

SPECIAL = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "−": "$-$", "…": r"\dots{}", "·": r"$\cdot$"}
SPECIAL |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "’": "'", "“": "``", "”": "''"}
SPECIAL |= {character: rf"\{character}" for character in "&%$#_{}"}
SPECIAL |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"≈": r"$\approx$", "≠": r"$\neq$", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$", "→": r"$\to$"}


def as_markdown(report: Report) -> str:
    """Return a GitHub table with its remarks below it."""
    return markdown(results.choice(report).shown, report.rows, remarks(report))


def markdown(columns: Sequence[Column[T]], rows: Sequence[T], below: Sequence[str]) -> str:
    """Return a GitHub table of columns and rows, with remarks ``below`` it."""
    lines = [_markdown_line(column.heading for column in columns), "|" + " --- |" * len(columns)]
    lines += [_markdown_line(column.text(row) for column in columns) for row in rows]
    lines += ["", *(f"- {sentence}" for sentence in below)]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_line(values: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(value.split()).replace("|", "\\|") for value in values) + " |"


def remarks(report: Report) -> list[str]:
    """Return remarks on the table: how to read it, notes on rows, missing and unfinished runs."""
    fixed = in_line(results.choice(report).common)
    general = [
        *([f"In all rows: {fixed}."] if fixed else []),
        "Accuracy: mean ± standard deviation over seeds, of the checkpoint chosen on validation. Interval: Wilson, for "
        "n test images; it says nothing of training again.",
    ]
    by_note: dict[str, list[str]] = {}
    for row in report.rows:
        for note in (*row.notes, *results.reported_note(row)):
            by_note.setdefault(note, []).append(row.name)
        if row.verdict.kind != "none" and row.verdict.sentence:
            by_note.setdefault(row.verdict.sentence, []).append(row.name)
    undone = len(report.unfinished)
    waiting = [f"{counted(undone, 'run is', 'runs are')} not done."] if undone else []
    several, every = len(report.rows) > 1, len(report.rows)
    noted = (
        f"{'All rows' if several and len(names) == every else '; '.join(names)}: {note}"
        for note, names in by_note.items()
    )
    claims = [f"{each.sentence}." for each in report.controls] + [f"{each.sentence}." for each in report.claims]
    return [" ".join(each.split()) for each in (*general, *claims, *noted, *report.code, *report.missing, *waiting)]


def _of_reported(value: Callable[[Reported], object]) -> Callable[[Row], object]:
    """Return a function from a row to one of its reported figures; empty if it has none."""
    return lambda row: None if row.reported is None else value(row.reported)


RECORD: dict[str, Callable[[Row], object]] = {
    "reported_params_m": _of_reported(lambda reported: reported.params_m),
    "reported_params_total": _of_reported(lambda reported: reported.params_total),
    "reported_accuracy": _of_reported(lambda reported: reported.accuracy_percent / 100),
    "reported_part": _of_reported(lambda reported: reported.part),
    "params_total": lambda row: row.params_total,
    "params_trainable": lambda row: row.params_trainable,
    "accuracy": lambda row: row.accuracy.mean,
    "accuracy_sd": lambda row: row.accuracy.sd,
    "seeds": lambda row: row.accuracy.n,
    "interval_low": lambda row: row.interval[0],
    "interval_high": lambda row: row.interval[1],
    "people_low": lambda row: row.over_people and row.over_people[0],
    "people_high": lambda row: row.over_people and row.over_people[1],
    "best_of": lambda row: row.best_of and row.best_of[1],
    "runs_at_chance": lambda row: len(row.at_chance),
    "validation": lambda row: row.validation and row.validation.mean,
    "macro_f1": lambda row: row.macro_f1.mean,
    "macro_f1_sd": lambda row: row.macro_f1.sd,
    "n": lambda row: row.n,
    "majority": lambda row: row.majority,
    "accuracy_without_twins": lambda row: row.without_twins and row.without_twins.mean,
    "n_without_twins": lambda row: row.n_without_twins,
    "seconds": lambda row: row.seconds,
    "training_flops": lambda row: row.training_flops,
    "verdict": lambda row: row.verdict.kind,
    "comparable": lambda row: row.verdict.comparable,
    "verdict_sentence": lambda row: row.verdict.sentence,
}
"""Column of the CSV file → its value, after the options and settings."""


def as_csv(report: Report) -> str:
    """Return RFC 4180 text, one record per row, accuracies as fractions; unknown values are empty.

    All groups are columns, also those in which rows do not differ, so that files of several reports can be combined.
    Options and columns have their names, not their titles.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    groups = [group for group in GROUPS if group not in ("trainer", "logger")]
    settings = [column for column in report.columns if column not in groups]
    writer.writerow(cells([*groups, *settings, *RECORD]))
    for row in report.rows:
        options = [*(row.choices[group] for group in groups), *(row.labels[column] for column in settings)]
        writer.writerow(cells([*options, *(value(row) for value in RECORD.values())]))
    return text.getvalue()


def as_latex(report: Report) -> str:
    """Return a ``tabular`` with booktabs' rules; space separates datasets and backbones.

    The highest mean accuracy on the same test images is bold, even if its lead is not established.
    """
    best = results.best(report.rows)
    bold = ["Bold: the highest mean of the rows tested on the same images, whether its lead is established or not."]
    above = (*(bold if best else []), *remarks(report))
    return latex(results.choice(report).shown, report.rows, above, group, lambda row: row.key in best)


def group(row: Row) -> tuple[str, str]:
    """Return what space separates in a table of rows: their dataset and backbone."""
    return row.choices["dataset"], row.choices["backbone"]


def latex(
    columns: Sequence[Column[T]],
    rows: Sequence[T],
    above: Sequence[str],
    group: Callable[[T], object] = lambda _: None,
    best: Callable[[T], bool] = lambda _: False,
) -> str:
    """Return a ``tabular`` of columns and rows, with comments ``above`` it.

    Space separates rows of different ``group``, and the accuracy of the ``best`` rows is bold.
    """
    lines = [
        r"% needs \usepackage{booktabs}",
        *(f"% {sentence}" for sentence in above),
        rf"\begin{{tabular}}{{{''.join('r' if column.number else 'l' for column in columns)}}}",
        r"\toprule",
        _latex_line([_escaped(column.heading) for column in columns]),
        r"\midrule",
    ]
    for number, row in enumerate(rows):
        if number and group(row) != group(rows[number - 1]):
            lines.append(r"\addlinespace")
        texts = [(column.heading, _escaped(column.text(row))) for column in columns]
        strong = {results.ACCURACY} if best(row) else set()
        lines.append(_latex_line([rf"\textbf{{{text}}}" if name in strong else text for name, text in texts]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(each, each) for each in " ".join(text.split()))


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
