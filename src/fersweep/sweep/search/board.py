"""Progress of a search on a terminal: a table of the running trials, and the best so far."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fersweep.runs.trials import best, history
from fersweep.sweep.search.driver import Driver
from fersweep.text import visible

STATES = {"done": "done", "running": "running", "pruned": "paused", "failed": "failed"}
"""States of trials, and their names on the terminal: a pruned trial may resume."""


class Board:
    """Redraws a table while a search runs, below the lines that it prints; where the output is no terminal, nothing.

    Args:
        console: that the search prints on.
        driver: of the search.
    """

    def __init__(self, console: Console, driver: Driver) -> None:
        self.driver = driver
        self.live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Board:
        if self.live is not None:
            self.live.start()
            self.driver.look = self.show
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self) -> None:
        """Redraw the table."""
        assert self.live is not None
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        metric = self.driver.settings.metric
        for column in ("trial", "epoch", metric, "run"):
            table.add_column(column, no_wrap=True)
        for active in self.driver.active:
            values = history(active.run.directory, metric)
            epoch = max(values, default=0)
            value = f"{values[epoch]:.4f}" if values else ""
            of = f"{epoch}/{self.driver.max_epochs}"
            table.add_row(str(active.called), of, value, visible(active.run.directory.name))
        self.live.update(Group(table, Text(self.counts(), style="bold")))

    def counts(self) -> str:
        """Return the trials by state and the best: ``3 done · 2 running · 4 paused · best: trial 2, 0.6123``."""
        trials = self.driver.journal.trials()
        states: Counter[str] = Counter(trial.state for trial in trials if trial.counts)
        parts = [f"{states[state]} {name}" for state, name in STATES.items() if states[state]]
        found = best(trials, self.driver.settings.metric)
        if found is not None and found.value is not None:
            parts.append(f"best: trial {found.number}, {found.value:.4f}")
        return " · ".join(parts)
