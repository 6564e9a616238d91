"""Contents of the protocol sheet: questions of reproducibility checklists, by section."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A question of the protocol sheet, the checklists that ask it, answers from the runs, and what is to fill in."""

    title: str
    asked: str
    answers: tuple[str, ...]
    open: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Some questions of the protocol sheet under one title."""

    title: str
    items: tuple[Item, ...]
