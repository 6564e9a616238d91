"""The runs of a sweep on this machine: so many at a time, each in processes of its own, each costing itself alone."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import connection

from hydra.core.utils import JobReturn
from rich.console import Console

from fersweep.errors import UserError
from fersweep.runs.lock import is_held
from fersweep.runs.status import Status
from fersweep.sweep.local.board import Board
from fersweep.sweep.local.devices import DevicePool, gpus_needed, visible_gpus
from fersweep.sweep.local.processes import RunProcesses, cores, share_of_cores
from fersweep.sweep.plan import Outcome, Planned, already_done, conclude, done_elsewhere, finished, freeze, refuse
from fersweep.training import memory

ENOUGH_FOR_TWO = 12 * 2**30
"""Bytes of memory with which two runs at a time fit on a CPU: one of ResNet-152 at batch 64 takes 3.3 GiB."""

LOOK_AGAIN = 2.0
"""Seconds between two looks at runs that other processes train."""


@dataclass
class Running:
    """A run under way: where in the sweep, its processes, the GPUs it holds, whether it has been told to end."""

    place: int
    processes: RunProcesses
    gpus: list[str]
    need: float
    why: str | None = None


@dataclass
class LocalSweep:
    """Runs what is planned.

    Args:
        runs: in order.
        n_jobs: how many at a time; ``None``: as many as the GPUs have room for, or two on a CPU.
        gpus_per_run: GPUs of each run, or a share of one; ``None``: ``trainer.devices``.
        timeout: minutes after which a run is ended; ``None``: never.
        threads: of each process; ``None``: its share of the cores.
        board: where progress is shown.
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
        """How many like this run the machine has room for: on its GPUs, or, where none has one, on two halves of it.

        On a CPU, one computes while the other starts or draws its figures; more would take more memory.
        """
        if need:
            return int(len(self.pool.used) / need + 1e-9)
        processes = 2 * run.config["trainer"]["devices"]
        enough = processes * (self.threads or share_of_cores(processes)) <= cores()  # else each would wait for others
        return 2 if enough and memory.there() >= ENOUGH_FOR_TWO and not any(self.needs) else 1

    def run(self) -> list[Outcome]:
        """Start and watch all that is not done; returns the outcomes in order.

        Interrupted, it ends what runs and leaves every run resumable.
        """
        done = {id(outcome.planned): outcome for outcome in already_done(self.runs)}
        self.outcomes = {place: done[id(run)] for place, run in enumerate(self.runs) if id(run) in done}
        queue = deque(place for place in range(len(self.runs)) if place not in self.outcomes)
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
        return [self.outcomes[place] for place in range(len(self.runs))]

    def _start(self, queue: deque[int]) -> None:
        while queue and len(self.running) < self.slots:
            need, run = self.needs[queue[0]], self.runs[queue[0]]
            gpus = self.pool.take(need) if need else []
            if gpus is None:
                return
            place = queue.popleft()
            ranks = run.config["trainer"]["devices"]
            threads = self.threads or share_of_cores(min(self.slots, len(self.runs)) * ranks)
            self.board.started(place, run)
            try:
                processes = RunProcesses(run.config, run.directory, threads, gpus if need else None)
            except (OSError, EOFError) as error:  # the server is gone, or there is no memory for another process
                self.pool.give_back(gpus, need)
                self._conclude(place, f"its process could not be started ({error or type(error).__name__})")
                continue
            self.running.append(Running(place, processes, gpus, need))

    def _collect(self) -> None:
        """Take note of what has ended; end what has been at it for too long."""
        for each in list(self.running):
            if not each.processes.ended():
                if self.timeout is not None and each.processes.seconds > self.timeout * 60 and each.why is None:
                    each.why = f"not done after hydra.launcher.timeout={self.timeout:g} minutes, and ended"
                    each.processes.ask_to_end()
                continue
            self.running.remove(each)
            self.pool.give_back(each.gpus, each.need)
            if each.processes.elsewhere:
                self.elsewhere.append(each.place)
                self.board.moved(each.place, self.runs[each.place])
                continue
            self._conclude(each.place, each.processes.failure(each.why), each.processes.seconds)

    def _conclude(self, place: int, error: str | None, seconds: float | None = None) -> None:
        run, result = self.runs[place], None
        if error is None:
            try:
                result = finished(run)
            except UserError as damaged:
                error = str(damaged)
        self._end(place, Outcome(run, result, error), seconds)

    def _end(self, place: int, outcome: Outcome, seconds: float | None = None) -> None:
        self.outcomes[place] = outcome
        self.board.ended(place, outcome, seconds)

    def _look_elsewhere(self, queue: deque[int]) -> None:
        """What other processes train counts when they are done, and is taken over when they died."""
        if not self.elsewhere or time.monotonic() - self.looked < LOOK_AGAIN:
            return
        self.looked = time.monotonic()
        for place in list(self.elsewhere):
            directory = self.runs[place].directory
            if is_held(directory):
                continue
            self.elsewhere.remove(place)
            try:
                status = Status.read(directory)
                if status.state == "done":
                    self._end(place, done_elsewhere(self.runs[place]))
                    continue
            except UserError as damaged:
                self._conclude(place, str(damaged))
                continue
            if status.state == "failed" and status.error is not None:
                self._conclude(place, f"{status.error['type']}: {status.error['message']}")
            else:
                queue.append(place)

    def _end_all(self) -> None:
        """End every run; a second interruption does not wait for them."""
        for each in self.running:
            each.processes.ask_to_end()
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        for each in self.running:
            each.processes.end()
        signal.signal(signal.SIGINT, before)


def launch(
    runs: Sequence[Planned],
    n_jobs: int | None,
    gpus_per_run: float | None,
    timeout: float | None,
    threads: int | None,
) -> list[JobReturn]:
    """Train all ``runs`` on this machine and print what became of them; see `LocalSweep` and `plan.conclude`."""
    try:
        sweep = LocalSweep(runs, n_jobs, gpus_per_run, timeout, threads, Board(Console()))
    except UserError as error:
        refuse(str(error))
    if any(run.config["trainer"]["num_nodes"] > 1 for run in runs):
        refuse("trainer.num_nodes needs a cluster: use hydra/launcher=slurm.")
    freeze(runs)
    try:
        outcomes = sweep.run()
    except KeyboardInterrupt:
        forced = any(run.config["force"] for run in runs)
        goes_on = "without force=true the same command goes on" if forced else "the same command goes on"
        print(f"\ninterrupted; {goes_on} with the sweep", file=sys.stderr)
        raise SystemExit(130) from None
    return conclude(outcomes, skipped=sweep.skipped)
