"""What a column of a report's tables is, and which of several a table shows.

`fersweep.report.results` and `fersweep.report.paired` list those that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from fersweep.report.titles import ABSENT

T = TypeVar("T")


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of a table whose rows are of type ``T``.

    Attributes:
        heading: what stands above it, and before its text where a narrow page has no headings.
        text: what it says of a row, `ABSENT` where nothing is known.
        value: what the page sorts rows by, a number or a text; ``None`` where nothing is known. ``text`` by default.
        page: the text in the page where that differs. Lines after the first are smaller.
        about: explains the heading to whoever points at it.
        below: the heading of the column below whose text this one stands in the page, in the same cell.
        notes: sentences that the page has as footnotes of the cell.
        details: a sentence that the page shows when the cell is opened.
        look: a class of the page's style for the text, the same for all rows or by row.
        link: the id in the page to which the text leads.
        number: whether it holds numbers, which are aligned at the right.
        always: show it also where it says the same of every row.
        filters: let readers of the page choose rows by what it says.
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
        """What the page shows of a row, line by line."""
        return (self.text(row) if self.page is None else self.page(row)).split("\n")

    def looks(self, row: T) -> str:
        """The class of the text of a row."""
        return self.look if isinstance(self.look, str) else self.look(row)

    def sorts(self, row: T) -> float | str:
        """What the page sorts a row by; empty where nothing is known."""
        found = self.text(row) if self.value is None else self.value(row)
        return "" if found is None or found == ABSENT else found


@dataclass(frozen=True)
class Choice(Generic[T]):
    """The columns that a table shows, and what it need not repeat.

    Attributes:
        shown: the columns in which rows differ, and those that are always shown.
        common: heading → what all rows have there.
    """

    shown: tuple[Column[T], ...]
    common: dict[str, str]

    @property
    def stacks(self) -> list[tuple[Column[T], list[Column[T]]]]:
        """The columns of the page, each with those that stand below its text in the same cell."""
        headings = {column.heading for column in self.shown}
        alone = [column for column in self.shown if column.below not in headings]
        return [(column, [each for each in self.shown if each.below == column.heading]) for column in alone]


def choose(columns: Sequence[Column[T]], rows: Sequence[T], details: bool = False) -> Choice[T]:
    """Leave out columns that say nothing of any row and, of several rows, those that say the same of all.

    Args:
        columns: all there are.
        rows: of the table.
        details: whether rows differ also where only what opens is not the same.
    """
    shown, common = [], {}
    for column in columns:
        told = {(column.text(row), column.details(row) if details else "") for row in rows}
        if all(text == ABSENT for text, _ in told):
            continue
        if len(told) > 1 or len(rows) == 1 or column.always:
            shown.append(column)
        else:
            common[column.heading] = told.pop()[0]
    return Choice(tuple(shown), common)


def said(common: Mapping[str, str]) -> str:
    """What all rows have in common, in a line: ``{"Reported (%)": "58.61"}`` → ``reported 58.61 %``."""
    parts = []
    for heading, value in common.items():
        name, _, unit = heading.rstrip(")").partition(" (")
        parts.append(f"{name[0].lower()}{name[1:]} {value} {unit}".rstrip())
    return ", ".join(parts)
