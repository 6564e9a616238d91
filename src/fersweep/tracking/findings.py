"""Findings of a report of fersweep about the runs of a folder, as words and tables that W&B's report repeats."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SearchFound:
    """A search.

    Attributes:
        name: of its sweep.
        group: of its runs in W&B.
        metric: by which it chooses, such as ``val/accuracy``.
        parameters: keys of its parameters in the configuration of a run, such as ``attention.name``.
        logarithmic: those with a logarithmic scale.
        sentences: the trials by state, the best one and its command.
    """

    name: str
    group: str
    metric: str
    parameters: tuple[str, ...]
    logarithmic: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """The report of a folder of runs.

    Attributes:
        title: of the report.
        groups: of its runs in W&B.
        table: Markdown: accuracies with intervals, seeds and n, and remarks below.
        verdicts: sentences on the differences between rows.
        classes: their names.
        searches: of the runs.
    """

    title: str
    groups: tuple[str, ...]
    table: str
    verdicts: tuple[str, ...]
    classes: tuple[str, ...]
    searches: tuple[SearchFound, ...] = field(default=())
