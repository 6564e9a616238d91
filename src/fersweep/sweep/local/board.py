"""Progress of a sweep: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fersweep.sweep.plan import Outcome, Planned
from fersweep.text import counted, duration, visible

if TYPE_CHECKING:
    from fersweep.sweep.local.place import Running


class Board:
    """Counts the runs of a sweep, prints a line per event, and on a terminal draws a table of running runs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Live | None = None
        self.total = self.done = self.failed = 0
        self.times: list[float] = []

    def begin(self, total: int, done: int) -> None:
        """Start with ``total`` runs, ``done`` of which were done before."""
        self.total, self.done = total, done
        runs = counted(total, "run")
        self._say(f"{runs}, {done} already done" if done else runs)
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.start()

    def started(self, index: int, run: Planned) -> None:
        """Report that a run starts or resumes."""
        begun = (run.directory / "checkpoints" / "last.ckpt").exists() and not run.config["force"]
        self._say(f"[{index + 1}/{self.total}] {'resumes' if begun else 'start  '} {run.directory.name}")

    def moved(self, index: int, run: Planned) -> None:
        """Report that another process is training a run."""
        self._say(f"[{index + 1}/{self.total}] waits   {run.directory.name}: another process is training it")

    def ended(self, index: int, outcome: Outcome, seconds: float | None) -> None:
        """Report the end of a run; ``seconds`` is its duration if this sweep ran it."""
        name, took = outcome.planned.directory.name, "" if seconds is None else f" ({duration(seconds)})"
        if outcome.result is not None:
            self.done += 1
            if seconds is not None:
                self.times.append(seconds)
            metrics = outcome.result["metrics"]
            scores = f"validation {metrics['val/accuracy']:.2%}  test {metrics['test/accuracy']:.2%}"
            self._say(f"[{index + 1}/{self.total}] done    {name}  {scores}{took}")
        else:
            self.failed += 1
            self._say(f"[{index + 1}/{self.total}] failed  {name}: {outcome.error}{took}")

    def show(self, running: Sequence[Running]) -> None:
        """Redraw the table on a terminal."""
        if self.live is None:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for column in ("running", "epoch", "validation", "time"):
            table.add_column(column, no_wrap=True)
        for each in running:
            run = each.run
            epoch, accuracy = _last_epoch(run.directory)
            of = f"{epoch}/{run.config['recipe']['max_epochs']}"
            table.add_row(run.directory.name, of, accuracy, duration(each.processes.seconds))
        left = self.total - self.done - self.failed - len(running)
        counts = f"{self.done} done · {len(running)} running · {self.failed} failed · {left} left"
        self.live.update(Group(table, Text(f"{counts}{self._to_go(len(running), left)}", style="bold")))

    def end(self) -> None:
        """Restore the terminal."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _to_go(self, running: int, left: int) -> str:
        """Estimate the remaining time from the mean of finished runs; running ones count half."""
        if not self.times or not running + left:
            return ""
        mean = sum(self.times) / len(self.times)
        return f" · about {duration(mean * (left + running / 2) / max(running, 1))} to go"

    def _say(self, line: str) -> None:
        self.console.print(Text(visible(line)), highlight=False, soft_wrap=True)


def _last_epoch(directory: Path) -> tuple[str, str]:
    """Return number and validation accuracy of a run's last epoch in its ``history.csv``."""
    try:
        header, *rows = (directory / "history.csv").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ValueError):
        return "0", ""
    if not rows:
        return "0", ""
    values = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    return values["epoch"], f"{float(values['val/accuracy']):.2%}"
