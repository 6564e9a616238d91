"""Places where runs are trained: this machine, a cluster, or one of your own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fersweep.errors import UserError
from fersweep.runs.lock import is_locked
from fersweep.runs.status import Status
from fersweep.sweep.plan import DataCheck, Outcome, Planned

POLL_ELSEWHERE = 2.0
"""Seconds between two checks of runs that other processes train."""


@dataclass(frozen=True)
class Ended:
    """A run that a place has ceased to train.

    Attributes:
        run: the same object that was started.
        outcome: its result or error; ``None`` if it was stopped on request or is trained elsewhere.
        seconds: since its start; ``None`` if it did not start.
        elsewhere: another process is training it.
    """

    run: Planned
    outcome: Outcome | None
    seconds: float | None = None
    elsewhere: bool = False


class Place(Protocol):
    """A place that trains frozen runs, several at a time.

    A run tells its history through its directory: ``history.csv`` grows by a row per epoch, ``status.json`` has its
    state. The directory must exist, with its ``config.yaml`` (`fersweep.sweep.plan.freeze`), before the run starts.
    """

    def has_room(self, run: Planned) -> bool:
        """Return whether the run can start now."""
        ...

    def holds(self, run: Planned) -> bool:
        """Return whether an earlier command has left the run here, where it may go on by itself."""
        ...

    def start(self, run: Planned) -> None:
        """Start or resume a run, or watch it if the place holds it; there must be room.

        A failure to start is an outcome that `ended` returns.
        """
        ...

    def stop(self, run: Planned) -> None:
        """Ask a running run to end such that it can be resumed; its end comes from `ended`."""
        ...

    def ended(self, seconds: float) -> Sequence[Ended]:
        """Wait up to ``seconds`` and return the runs that have ended."""
        ...

    def close(self) -> None:
        """Leave: end or leave behind what still runs, such that every run can be resumed."""
        ...


class Elsewhere:
    """Runs that other processes train."""

    def __init__(self) -> None:
        self.runs: list[Planned] = []
        self._looked = 0.0

    def look(self) -> list[tuple[Planned, Outcome | None]]:
        """Return the runs that nobody trains any more: with their outcome, or ``None`` if they can be started here."""
        if not self.runs or time.monotonic() - self._looked < POLL_ELSEWHERE:
            return []
        self._looked = time.monotonic()
        free = [run for run in self.runs if not is_locked(run.directory)]
        self.runs = [run for run in self.runs if not any(run is each for each in free)]
        return [(run, left_by_another(run)) for run in free]


def left_by_another(run: Planned) -> Outcome | None:
    """Return the outcome of a run that another process has trained; ``None`` if it has none."""
    try:
        status = Status.read(run.directory)
    except UserError as damaged:
        return Outcome(run, error=str(damaged))
    if status.state == "done":
        return DataCheck().outcome(run)
    if status.state == "failed" and status.error is not None:
        return Outcome(run, error=f"{status.error['type']}: {status.error['message']}")
    return None
