"""Sweeps on this machine: several runs at a time, each in fresh processes, so that a failure costs one run only."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from hydra.core.utils import JobReturn
from rich.console import Console

from fersweep.errors import UserError
from fersweep.runs.lock import is_locked
from fersweep.runs.status import Status
from fersweep.sweep.local.board import Board
from fersweep.sweep.local.devices import DevicePool, gpus_needed, visible_gpus
from fersweep.sweep.local.processes import SERVER_DIED, RunProcesses, cores, share_of_cores
from fersweep.sweep.plan import (
    DataCheck,
    Outcome,
    Planned,
    already_done,
    conclude,
    finished,
    freeze,
    interruptible,
    refuse,
)
from fersweep.training import memory

ENOUGH_FOR_TWO = 12 * 2**30
"""Bytes of memory for two runs at a time on a CPU; one of ResNet-152 at batch 64 takes 3.3 GiB."""

POLL_ELSEWHERE = 2.0
"""Seconds between two checks of runs that other processes train."""


@dataclass
class Running:
    """A running run.

    Attributes:
        index: in the sweep.
        processes: of the run.
        gpus: ids of its GPUs.
        need: number of GPUs, or the fraction of one.
        why: reason for which this sweep ended it, if it did.
    """

    index: int
    processes: RunProcesses
    gpus: list[str]
    need: float
    why: str | None = None


@dataclass
class LocalSweep:
    """Runs the planned runs on this machine.

    Args:
        runs: in order.
        n_jobs: runs at a time; ``None``: as many as the GPUs have room for, or up to two on a CPU.
        gpus_per_run: GPUs of each run, or the fraction of one; ``None``: ``trainer.devices``.
        timeout: minutes after which a run is ended; ``None``: never.
        threads: of each process; ``None``: an equal share of the cores.
        board: shows the progress.
    """

    runs: Sequence[Planned]
    n_jobs: int | None
    gpus_per_run: float | None
    timeout: float | None
    threads: int | None
    board: Board
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    elsewhere: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, value, least in (("n_jobs", self.n_jobs, 1), ("threads", self.threads, 1)):
            if value is not None and value < least:
                raise UserError(f"hydra.launcher.{name}={value} is out of range: null, or {least} or more.")
        if self.timeout is not None and self.timeout <= 0:
            raise UserError(f"hydra.launcher.timeout={self.timeout:g} is out of range: null, or minutes above 0.")
        gpus = visible_gpus()
        self.pool = DevicePool(gpus)
        self.needs = [gpus_needed(run.config, self.gpus_per_run, len(gpus)) for run in self.runs]
        self.slots = self.n_jobs or max(map(self._room, self.runs, self.needs), default=1)
        if self.gpus_per_run is not None and not any(self.needs):
            raise UserError(
                f"hydra.launcher.gpus_per_run={self.gpus_per_run:g} has no effect: no run of this sweep uses a GPU."
            )
        self.looked, self.skipped = 0.0, 0

    def _room(self, run: Planned, need: float) -> int:
        """Return how many runs like this one fit on the machine at a time.

        On a CPU these are at most two: one computes while the other starts or draws figures. More need more memory.
        """
        if need:
            return int(len(self.pool.used) / need + 1e-9)
        processes = 2 * run.config["trainer"]["devices"]
        enough = processes * (self.threads or share_of_cores(processes)) <= cores()  # else they would compete for cores
        return 2 if enough and memory.there() >= ENOUGH_FOR_TWO and not any(self.needs) else 1

    def run(self) -> list[Outcome]:
        """Run everything that is not done and return the outcomes in order; an interruption leaves runs resumable."""
        done = {id(outcome.planned): outcome for outcome in already_done(self.runs)}
        self.outcomes = {index: done[id(run)] for index, run in enumerate(self.runs) if id(run) in done}
        queue = deque(index for index in range(len(self.runs)) if index not in self.outcomes)
        self.skipped = sum(outcome.result is not None for outcome in self.outcomes.values())
        self.board.begin(len(self.runs), self.skipped)
        try:
            while queue or self.running or self.elsewhere:
                self._start(queue)
                connection.wait([each for run in self.running for each in run.processes.sentinels], timeout=0.5)
                self._collect()
                self._look_elsewhere(queue)
                self.board.show(self.running, self.runs)
        except BaseException:
            self._end_all()
            raise
        finally:
            self.board.end()
        return [self.outcomes[index] for index in range(len(self.runs))]

    def _start(self, queue: deque[int]) -> None:
        while queue and len(self.running) < self.slots:
            need, run = self.needs[queue[0]], self.runs[queue[0]]
            gpus = self.pool.take(need) if need else []
            if gpus is None:
                return
            index = queue.popleft()
            ranks = run.config["trainer"]["devices"]
            threads = self.threads or share_of_cores(min(self.slots, len(self.runs)) * ranks)
            self.board.started(index, run)
            try:
                processes = RunProcesses(run.config, run.directory, threads, gpus if need else None)
            except (OSError, EOFError) as error:  # the server has died, or memory is short
                self.pool.give_back(gpus, need)
                dead = isinstance(error, EOFError | ConnectionError)
                why = SERVER_DIED if dead else error
                self._conclude(index, f"its process could not be started ({why})")
                continue
            self.running.append(Running(index, processes, gpus, need))

    def _collect(self) -> None:
        """Collect the runs that have ended, and end those past the timeout."""
        for each in list(self.running):
            if not each.processes.ended():
                if self.timeout is not None and each.processes.seconds > self.timeout * 60 and each.why is None:
                    each.why = f"ended after hydra.launcher.timeout={self.timeout:g} minutes"
                    each.processes.ask_to_end()
                continue
            self.running.remove(each)
            self.pool.give_back(each.gpus, each.need)
            if each.processes.elsewhere:
                self.elsewhere.append(each.index)
                self.board.moved(each.index, self.runs[each.index])
                continue
            self._conclude(each.index, each.processes.failure(each.why), each.processes.seconds)

    def _conclude(self, index: int, error: str | None, seconds: float | None = None) -> None:
        run, result = self.runs[index], None
        if error is None:
            try:
                result = finished(run)
            except UserError as damaged:
                error = str(damaged)
        self._end(index, Outcome(run, result, error), seconds)

    def _end(self, index: int, outcome: Outcome, seconds: float | None = None) -> None:
        self.outcomes[index] = outcome
        self.board.ended(index, outcome, seconds)

    def _look_elsewhere(self, queue: deque[int]) -> None:
        """Collect runs that other processes have finished; queue those whose processes died."""
        if not self.elsewhere or time.monotonic() - self.looked < POLL_ELSEWHERE:
            return
        self.looked = time.monotonic()
        for index in list(self.elsewhere):
            directory = self.runs[index].directory
            if is_locked(directory):
                continue
            self.elsewhere.remove(index)
            try:
                status = Status.read(directory)
            except UserError as damaged:
                self._conclude(index, str(damaged))
                continue
            if status.state == "done":
                self._end(index, DataCheck().outcome(self.runs[index]))
            elif status.state == "failed" and status.error is not None:
                self._conclude(index, f"{status.error['type']}: {status.error['message']}")
            else:
                queue.append(index)

    def _end_all(self) -> None:
        """End every run; a second Ctrl-C does not wait for them."""
        for each in self.running:
            each.processes.ask_to_end()
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        for each in self.running:
            each.processes.end()
        signal.signal(signal.SIGINT, before)


def launch(runs: Sequence[Planned], **settings: Any) -> list[JobReturn]:
    """Train ``runs`` on this machine and print the outcomes; see `LocalSweep` and `plan.conclude`."""
    try:
        sweep = LocalSweep(runs, **settings, board=Board(Console()))
    except UserError as error:
        refuse(str(error))
    if any(run.config["trainer"]["num_nodes"] > 1 for run in runs):
        refuse("trainer.num_nodes needs a cluster: use hydra/launcher=slurm.")
    freeze(runs)
    forced = any(run.config["force"] for run in runs)
    command = "the same command without force=true" if forced else "the same command"
    with interruptible(f"Interrupted. Run {command} to resume the sweep."):
        outcomes = sweep.run()
    return conclude(outcomes, skipped=sweep.skipped)
