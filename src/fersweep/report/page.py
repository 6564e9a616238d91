"""The page of a report: one HTML document that needs no network, from the templates beside this file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fersweep.report import explained, plots, study, svg, tables
from fersweep.report.compare import oriented
from fersweep.report.contents import Comparison, Report, Row
from fersweep.report.titles import ABSENT, joined

TEMPLATES = Path(__file__).parent / "templates"

CAPTIONS = {
    "accuracy_params": "Test accuracy against trainable parameters. Bars are ± one standard deviation over seeds; a "
    "line joins rows that differ in attention alone; hollow markers are what the study prints.",
    "accuracy_time": "Test accuracy against the time that one run took. Bars are ± one standard deviation over seeds.",
    "options": "Differences in test accuracy between rows that differ in one option.",
    "fidelity": "Differences in test accuracy between the study’s code and the papers’ definitions.",
}

VERDICTS = {
    "within": ("≈", "within"),
    "above": ("▲", "above"),
    "below": ("▼", "below"),
    "too few seeds": ("·", "too few seeds"),
    "cannot be right": ("✕", "cannot be right"),
}
"""Kind → the sign and the word that say it without colour."""


class Drawing(NamedTuple):
    """A figure in the page."""

    markup: Markup
    caption: str


def render(report: Report) -> str:
    """Return the page as HTML, the same text for the same report.

    Everything that comes from runs (names, messages, classes) is escaped. Style and script stand in the document, whose
    own policy forbids it to load or run anything else.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = _environment()
    return environment.get_template("page.html.j2").render(
        report=report,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=digest,
        rows={row.key: row for row in report.rows},
        choices={column: _options(report, column) for column in report.columns},
        notes=_notes(report),
        verdicts=VERDICTS,
        contradictions=study.study()["contradictions"] if _of_the_study(report) else [],
        established=[each for each in (*report.options, *report.fidelity) if each.established],
        open=[each for each in (*report.options, *report.fidelity) if not each.established],
        pairs=_pairs(report.fidelity),
        drawings={name: _drawing(name, figure) for name, figure in plots.overview(report).items()},
        curves={row.key: _curves(row) for row in report.rows if row.curves},
    )


def _of_the_study(report: Report) -> bool:
    """Whether some row stands in the study's main table."""
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
        "percent": percent,
        "points": points,
        "p_value": p_value,
        "millions": millions,
        "grouped": grouped,
        "counted": counted,
        "duration": duration,
        "notes_of": notes_of,
        "marked": marked,
        "joined": joined,
        "printed": tables.printed,
        "as_webp": explained.as_webp,
    }
    return environment


def percent(fraction: float | None) -> str:
    """0.6234 → ``62.34``; an en dash for what is not known."""
    return ABSENT if fraction is None else f"{100 * fraction:.2f}"


def points(difference: float) -> str:
    """0.0123 → ``+1.23``; with a minus sign where it is negative."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def p_value(p: float) -> str:
    """Three decimals, or that it is less than can be shown with them."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def millions(count: float | None) -> str:
    """23490739 → ``23.49``; an en dash for what is not known."""
    return ABSENT if count is None else f"{count / 1e6:.2f}"


def grouped(count: int) -> str:
    """7178 → ``7,178``."""
    return f"{count:,}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 run``, ``12 runs``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """How long something took, in the unit a reader would use: ``4.1 h``, ``12 min``, ``48 s``."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def notes_of(row: Row) -> list[str]:
    """What a reader must know of a row: its own notes, and who is in both parts."""
    shared = (
        []
        if not row.shared_subjects
        else [f"{counted(row.shared_subjects, 'person', 'people')} in both train and test."]
    )
    return [*row.notes, *shared]


def marked(texts: Iterable[str], notes: dict[str, int]) -> Markup:
    """The numbers of notes as links to them."""
    links = [Markup('<a href="#note-{0}">{0}</a>').format(notes[text]) for text in texts]
    return Markup('<sup class="marks">{}</sup>').format(Markup(",").join(links)) if links else Markup("")


def _notes(report: Report) -> dict[str, int]:
    """All notes, each once, numbered in the order in which the table refers to them."""
    texts = [
        text
        for row in report.rows
        for text in (*notes_of(row), *([row.reported.note] if row.reported and row.reported.note else []))
    ]
    return {text: number for number, text in enumerate(dict.fromkeys(texts), start=1)}


def _options(report: Report, column: str) -> list[str]:
    """What rows have in a column, in the order of the rows, as it is shown."""
    return list(dict.fromkeys(row.shown[column] for row in report.rows))


def _pairs(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], list[Comparison]]:
    """Comparisons by the names of the two options that they compare, each the same way round."""
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for each in oriented(comparisons):
        pairs.setdefault(each.names, []).append(each)
    return pairs


def _drawing(name: str, figure: Any) -> Drawing:
    return Drawing(Markup(svg.inline(figure, name, CAPTIONS[name])), CAPTIONS[name])


def _curves(row: Row) -> Markup:
    description = f"Loss and accuracy over the epochs of {row.name}, training and validation."
    return Markup(svg.inline(plots.learning_curves(row), f"curves-{row.key}", description))
