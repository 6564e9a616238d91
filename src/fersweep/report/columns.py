"""Columns of a report's tables, and the choice of those that a table shows.

`fersweep.report.results` and `fersweep.report.paired` list the columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fersweep.report.titles import ABSENT

T = TypeVar("T")


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of a table whose rows are of type ``T``.

    Attributes:
        heading: its heading; a narrow page without headings puts it before the text.
        text: the text of a row, `ABSENT` if unknown.
        value: the page's sort key of a row, a number or a text; ``None`` if unknown. ``text`` by default.
        page: the text in the page if that differs. Lines after the first are smaller.
        about: explains the heading in a tooltip.
        below: the heading of the column in whose cell the page stacks this one.
        notes: sentences that the page shows as footnotes of the cell.
        details: a sentence that the page shows when the cell is opened.
        look: a CSS class for the text, the same for all rows or by row.
        link: the id in the page to which the text links.
        number: whether it holds numbers, which are aligned at the right.
        always: show it also if all rows have the same text.
        filters: let readers of the page filter rows by its text.
    """

    heading: str
    text: Callable[[T], str]
    value: Callable[[T], float | str | None] | None = None
    page: Callable[[T], str] | None = None
    about: str = ""
    below: str = ""
    notes: Callable[[T], Sequence[str]] = lambda _: ()
    details: Callable[[T], str] = lambda _: ""
    look: Callable[[T], str] | str = ""
    link: Callable[[T], str] = lambda _: ""
    number: bool = True
    always: bool = False
    filters: bool = False

    def lines(self, row: T) -> list[str]:
        """Return the text of a row in the page, line by line."""
        return (self.text(row) if self.page is None else self.page(row)).split("\n")

    def looks(self, row: T) -> str:
        """Return the CSS class of a row's text."""
        return self.look if isinstance(self.look, str) else self.look(row)

    def sorts(self, row: T) -> float | str:
        """Return the sort key of a row in the page; empty if unknown."""
        found = self.text(row) if self.value is None else self.value(row)
        return "" if found is None or found == ABSENT else found


def figures(heading: str, value: Callable[[T], float | None], write: Callable[[Any], str], **more: Any) -> Column[T]:
    """Return a column of numbers, given by ``value`` and formatted by ``write``; ``more``: as `Column`."""
    return Column(heading, lambda row: ABSENT if (found := value(row)) is None else write(found), value, **more)


@dataclass(frozen=True)
class Choice(Generic[T]):
    """The columns that a table shows, and heading → text of those whose text all rows share."""

    shown: tuple[Column[T], ...]
    common: dict[str, str]

    @property
    def stacks(self) -> list[tuple[Column[T], list[Column[T]]]]:
        """The columns of the page, each with those stacked below it in the same cell."""
        headings = {column.heading for column in self.shown}
        alone = [column for column in self.shown if column.below not in headings]
        return [(column, [each for each in self.shown if each.below == column.heading]) for column in alone]


def choose(columns: Sequence[Column[T]], rows: Sequence[T], details: bool = False) -> Choice[T]:
    """Leave out columns that are empty and, in a table of several rows, those with the same text in all rows.

    With ``details``, those of the cells are compared, too.
    """
    shown, common = [], {}
    for column in columns:
        texts = {(column.text(row), column.details(row) if details else "") for row in rows}
        if all(text == ABSENT for text, _ in texts):
            continue
        if len(texts) > 1 or len(rows) == 1 or column.always:
            shown.append(column)
        else:
            common[column.heading] = texts.pop()[0]
    return Choice(tuple(shown), common)


def in_line(common: Mapping[str, str]) -> str:
    """Return the texts that all rows share in a line: ``{"Reported (%)": "58.61"}`` → ``reported 58.61 %``.

    Settings by their dotted names are as in a command: ``backbone.model.width=16``.
    """
    parts = []
    for heading, value in common.items():
        if re.fullmatch(r"\w+(\.\w+)+", heading):
            parts.append(f"{heading}={value}")
            continue
        name, _, unit = heading.rstrip(")").partition(" (")
        parts.append(f"{name[0].lower()}{name[1:]} {value} {unit}".rstrip())
    return ", ".join(parts)
