"""Sweeps on this machine: several runs at a time, each in fresh processes, so that a failure costs one run only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from rich.console import Console

from fersweep.errors import UserError
from fersweep.sweep import notify
from fersweep.sweep.local.board import Board
from fersweep.sweep.local.place import LocalPlace
from fersweep.sweep.place import Elsewhere
from fersweep.sweep.plan import Outcome, Planned, already_done, conclude, freeze, interruptible, refuse


class LocalSweep:
    """Runs the planned runs on this machine.

    Args:
        runs: in order.
        place: where they are trained.
        board: shows the progress.
    """

    def __init__(self, runs: Sequence[Planned], place: LocalPlace, board: Board) -> None:
        self.runs, self.place, self.board = runs, place, board
        self.outcomes: dict[int, Outcome] = {}
        self.elsewhere = Elsewhere()
        self.skipped = 0
        self._index = {id(run): index for index, run in enumerate(runs)}

    def run(self) -> list[Outcome]:
        """Run everything that is not done and return the outcomes in order; an interruption leaves runs resumable."""
        self.outcomes = {self._index[id(outcome.planned)]: outcome for outcome in already_done(self.runs)}
        queue = deque(run for index, run in enumerate(self.runs) if index not in self.outcomes)
        self.skipped = sum(outcome.result is not None for outcome in self.outcomes.values())
        self.board.begin(len(self.runs), self.skipped)
        try:
            while queue or self.place.running or self.elsewhere.runs:
                while queue and self.place.has_room(queue[0]):
                    self._start(queue.popleft())
                self._collect()
                for run, outcome in self.elsewhere.look():
                    if outcome is None:
                        queue.append(run)
                    else:
                        self._end(outcome)
                self.board.show(self.place.running)
        except BaseException:
            self.place.close()
            raise
        finally:
            self.board.end()
        return [self.outcomes[index] for index in range(len(self.runs))]

    def _start(self, run: Planned) -> None:
        self.board.started(self._index[id(run)], run)
        self.place.start(run)

    def _collect(self) -> None:
        for each in self.place.ended(0.5):
            if each.outcome is not None:
                self._end(each.outcome, each.seconds)
            else:
                self.elsewhere.runs.append(each.run)
                self.board.moved(self._index[id(each.run)], each.run)

    def _end(self, outcome: Outcome, seconds: float | None = None) -> None:
        index = self._index[id(outcome.planned)]
        self.outcomes[index] = outcome
        self.board.ended(index, outcome, seconds)


def launch(runs: Sequence[Planned], on_end: Any = None, **settings: Any) -> list[JobReturn]:
    """Train ``runs`` on this machine and print the outcomes; see `notify`, `LocalPlace` and `plan.conclude`."""
    try:
        notice = notify.words(on_end)
        sweep = LocalSweep(runs, LocalPlace(runs, **settings), Board(Console()))
    except UserError as error:
        refuse(str(error))
    freeze(runs)
    forced = any(run.config["force"] for run in runs)
    command = "the same command without force=true" if forced else "the same command"
    with notify.at_end(notice) as begun:
        begun.runs, begun.folders = zip(*((run.directory, run.directory.parent) for run in runs), strict=True)
        with interruptible(f"Interrupted. Run {command} to resume the sweep."):
            outcomes = sweep.run()
        return conclude(outcomes, skipped=sweep.skipped)
