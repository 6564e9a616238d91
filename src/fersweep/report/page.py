"""The page of a report: one self-contained HTML document, from the templates beside this file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fersweep.report import (
    elsewhere,
    ensembles,
    explained,
    formats,
    paired,
    plots,
    results,
    search,
    search_plots,
    study,
    svg,
)
from fersweep.report.columns import Choice, Column, choose, in_line
from fersweep.report.contents import Comparison, Report, Row
from fersweep.text import counted

TEMPLATES = Path(__file__).parent / "templates"

CAPTIONS = {
    "accuracy_params": "Test accuracy against trainable parameters. Bars are ± one standard deviation over seeds; a "
    "line joins rows that differ in attention alone; hollow markers are what the study prints.",
    "accuracy_time": "Test accuracy against the time that one run took. Bars are ± one standard deviation over seeds.",
    "options": "Differences in test accuracy between rows that differ in one option.",
    "fidelity": "Differences in test accuracy between the study’s code and the papers’ definitions.",
}


class Drawing(NamedTuple):
    """A figure in the page."""

    markup: Markup
    caption: str


def render(report: Report, time: bool = False) -> str:
    """Return the page as HTML; equal reports give equal text.

    All text from runs (names, messages, classes) is escaped. Style and script are inline; the document's content
    security policy forbids anything else. With ``time``, accuracy is also drawn against training time.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = _environment()
    rows = {row.key: row for row in report.rows}
    averaged = ensembles.of(report.rows)
    table, compared = results.choice(report, page=True), paired.pairs(report.options, rows)
    return environment.get_template("page.html.j2").render(
        report=report,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=digest,
        rows=rows,
        table=table,
        filters=_filters(table, report.rows),
        notes=_notes(table.shown, report.rows),
        known=any(row.reported for row in report.rows),
        contradictions=study.study()["contradictions"] if _of_the_study(report) else [],
        established=[each for each in _all(report) if each.established],
        open=[each for each in _all(report) if not each.established],
        compared_pairs=compared,
        claimed=choose(paired.CLAIMS, report.claims),
        tested=paired.tested(report, compared),
        by_options=[(pairs, paired.side_by_side(report, pairs)) for pairs in paired.by_options(report.fidelity, rows)],
        controlled=paired.controlled(report, rows),
        drawings={name: _drawing(name, figure) for name, figure in plots.overview(report, time).items()},
        listed=search.as_lines,
        searched=[_searched(each, number) for number, each in enumerate(report.searches)],
        averaged=averaged,
        averaged_table=ensembles.choice(averaged),
        not_averaged=ensembles.lacking(report.rows),
        **_elsewhere(report.rows, _notes(table.shown, report.rows)),
        curves={row.key: _curves(row) for row in report.rows if row.curves},
    )


def _all(report: Report) -> tuple[Comparison, ...]:
    return (*report.controls, *report.options, *report.fidelity)


def _of_the_study(report: Report) -> bool:
    """Return whether some row is in the study's main table."""
    return any(row.reported and row.reported.params_trainable is not None for row in report.rows)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": formats.percent,
        "grouped": formats.grouped,
        "counted": counted,
        "duration": formats.duration,
        "counts": results.counts,
        "marked": marked,
        "in_line": in_line,
        "as_webp": explained.as_webp,
    }
    return environment


def marked(texts: Iterable[str], notes: dict[str, int]) -> Markup:
    """Return the numbers of notes as links to them."""
    links = [Markup('<a href="#note-{0}">{0}</a>').format(notes[text]) for text in texts]
    return Markup('<sup class="marks">{}</sup>').format(Markup(",").join(links)) if links else Markup("")


def _notes(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> dict[str, int]:
    """Number all notes, each once, in the order in which the table refers to them."""
    texts = [text for row in rows for column in columns for text in column.notes(row)]
    return {text: number for number, text in enumerate(dict.fromkeys(texts), start=1)}


def _elsewhere(rows: Sequence[Row], numbered: dict[str, int]) -> dict[str, Any]:
    """Return what the section on other datasets shows; its notes count on from those that are ``numbered``."""
    tested = elsewhere.tested(rows)
    table = elsewhere.choice(tested)
    notes = {text: number + len(numbered) for text, number in _notes(table.shown, tested).items()}
    return {"elsewhere": tested, "elsewhere_table": table, "elsewhere_notes": notes}


def _filters(choice: Choice[Row], rows: Sequence[Row]) -> list[tuple[int, str, list[str]]]:
    """Return the position, heading and options of the columns by which rows can be filtered."""
    options = [
        (number, column.heading, list(dict.fromkeys(column.text(row) for row in rows)))
        for number, (column, _) in enumerate(choice.stacks)
        if column.filters
    ]
    return [each for each in options if len(each[2]) > 1]


def _drawing(name: str, figure: Any) -> Drawing:
    return Drawing(Markup(svg.inline(figure, name, CAPTIONS[name])), CAPTIONS[name])


def _searched(found: search.Searched, number: int) -> list[Drawing]:
    """Return the figures of a search with their captions."""
    captions = search_plots.captions(found)
    return [
        Drawing(Markup(svg.inline(figure, f"search-{number}-{name}", captions[name])), captions[name])
        for name, figure in search_plots.drawn(found).items()
    ]


def _curves(row: Row) -> Markup:
    description = f"Loss and accuracy over the epochs of {row.name}, training and validation."
    return Markup(svg.inline(plots.learning_curves(row), f"curves-{row.key}", description))
