"""This machine as a place for runs: each in fresh processes, so that a failure costs one run only."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection

from fersweep.errors import UserError
from fersweep.runs.status import Status
from fersweep.sweep.local.devices import DevicePool, gpus_needed, visible_gpus
from fersweep.sweep.local.processes import SERVER_DIED, RunProcesses, cores, share_of_cores
from fersweep.sweep.place import Ended
from fersweep.sweep.plan import Outcome, Planned, finished
from fersweep.training import memory

ENOUGH_FOR_TWO = 12 * 2**30
"""Bytes of memory for two runs at a time on a CPU; one of ResNet-152 at batch 64 takes 3.3 GiB."""


@dataclass
class Running:
    """A running run.

    Attributes:
        run: as it was started.
        processes: of the run.
        gpus: ids of its GPUs.
        need: number of GPUs, or the fraction of one.
        why: reason for which this place ended it, if it did.
        stopped: it was asked to stop.
    """

    run: Planned
    processes: RunProcesses
    gpus: list[str]
    need: float
    why: str | None = None
    stopped: bool = False


class LocalPlace:
    """This machine.

    Args:
        runs: those to come, or one for many like it.
        n_jobs: runs at a time; ``None``: as many as the GPUs have room for, or up to two on a CPU.
        gpus_per_run: GPUs of each run, or the fraction of one; ``None``: ``trainer.devices``.
        timeout: minutes after which a run is ended; ``None``: never.
        threads: of each process; ``None``: an equal share of the cores.
        expected: how many runs are to come; ``None``: ``runs``.

    Raises:
        UserError: settings that cannot work, or a run that needs more GPUs than there are.
    """

    def __init__(
        self,
        runs: Sequence[Planned],
        n_jobs: int | None = None,
        gpus_per_run: float | None = None,
        timeout: float | None = None,
        threads: int | None = None,
        expected: int | None = None,
    ) -> None:
        for name, value, least in (("n_jobs", n_jobs, 1), ("threads", threads, 1)):
            if value is not None and value < least:
                raise UserError(f"hydra.launcher.{name}={value} is out of range: null, or {least} or more.")
        if timeout is not None and timeout <= 0:
            raise UserError(f"hydra.launcher.timeout={timeout:g} is out of range: null, or minutes above 0.")
        if any(run.config["trainer"]["num_nodes"] > 1 for run in runs):
            raise UserError("trainer.num_nodes needs a cluster: use hydra/launcher=slurm.")
        self.n_jobs, self.gpus_per_run, self.timeout, self.threads = n_jobs, gpus_per_run, timeout, threads
        self.pool = DevicePool(visible_gpus())
        needs = [self._need(run) for run in runs]
        self.slots = n_jobs or max((self._room(*each, any(needs)) for each in zip(runs, needs, strict=True)), default=1)
        if gpus_per_run is not None and not any(needs):
            raise UserError(
                f"hydra.launcher.gpus_per_run={gpus_per_run:g} has no effect: no run of this sweep uses a GPU."
            )
        self.expected = len(runs) if expected is None else expected
        self.running: list[Running] = []
        self._not_started: list[Ended] = []

    def _need(self, run: Planned) -> float:
        return gpus_needed(run.config, self.gpus_per_run, len(self.pool.used))

    def _room(self, run: Planned, need: float, with_gpus: bool) -> int:
        """Return how many runs like this one fit on the machine at a time.

        On a CPU these are at most two: one computes while the other starts or draws figures. More need more memory.
        """
        if need:
            return int(len(self.pool.used) / need + 1e-9)
        processes = 2 * run.config["trainer"]["devices"]
        enough = processes * (self.threads or share_of_cores(processes)) <= cores()  # else they would compete for cores
        return 2 if enough and memory.there() >= ENOUGH_FOR_TWO and not with_gpus else 1

    def has_room(self, run: Planned) -> bool:
        """Return whether a slot and the GPUs of the run are free."""
        if len(self.running) >= self.slots:
            return False
        need = self._need(run)
        gpus = self.pool.take(need) if need else []
        self.pool.give_back(gpus or [], need)
        return gpus is not None

    def holds(self, run: Planned) -> bool:
        """Return False: runs end with the command that started them."""
        return False

    def start(self, run: Planned) -> None:
        """Start the processes of a run; there must be room for it."""
        need = self._need(run)
        gpus = (self.pool.take(need) if need else []) or []
        threads = self.threads or share_of_cores(min(self.slots, self.expected) * run.config["trainer"]["devices"])
        try:
            processes = RunProcesses(run.config, run.directory, threads, gpus if need else None)
        except (OSError, EOFError) as error:  # the server has died, or memory is short
            self.pool.give_back(gpus, need)
            why = SERVER_DIED if isinstance(error, EOFError | ConnectionError) else error
            outcome = Outcome(run, error=f"its process could not be started ({why})")
            self._not_started.append(Ended(run, outcome))
            return
        self.running.append(Running(run, processes, gpus, need))

    def stop(self, run: Planned) -> None:
        """Send SIGTERM to the processes of a running run, and SIGKILL to those that do not end."""
        for each in self.running:
            if each.run is run and not each.stopped:
                each.stopped = True
                each.processes.ask_to_end()

    def ended(self, seconds: float) -> list[Ended]:
        """Return the runs that have ended within ``seconds``, and end those past the timeout."""
        sentinels = [each for running in self.running for each in running.processes.sentinels]
        connection.wait(sentinels, timeout=0 if self._not_started else seconds)
        ended, self._not_started = self._not_started, []
        for each in list(self.running):
            if each.processes.ended():
                self.running.remove(each)
                self.pool.give_back(each.gpus, each.need)
                ended.append(_end(each))
            elif self.timeout is not None and each.processes.seconds > self.timeout * 60 and each.why is None:
                each.why = f"ended after hydra.launcher.timeout={self.timeout:g} minutes"
                each.processes.ask_to_end()
        return ended

    def close(self) -> None:
        """End every run; a second Ctrl-C does not wait for them."""
        for each in self.running:
            each.processes.ask_to_end()
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        for each in self.running:
            each.processes.end()
        signal.signal(signal.SIGINT, before)


def _end(each: Running) -> Ended:
    """Return the end of a run whose processes have ended."""
    if each.processes.elsewhere:
        return Ended(each.run, None, elsewhere=True)
    seconds = each.processes.seconds
    try:
        if each.stopped and Status.read(each.run.directory).state not in ("done", "failed"):
            return Ended(each.run, None, seconds)
        error = each.processes.failure(each.why)
        result = None if error is not None else finished(each.run)
    except UserError as damaged:
        result, error = None, str(damaged)
    return Ended(each.run, Outcome(each.run, result, error), seconds)
