"""What a SLURM job does with the run it was submitted for, as one of its tasks. Importing this imports no torch."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import UncompletedJobError
from submitit.helpers import DelayedSubmission

from fersweep import compat
from fersweep.errors import LockLostError, UserError
from fersweep.runs.lock import LEASE, is_held
from fersweep.runs.status import Status, mark_failed, mark_pending

PORTS = range(15000, 25000)
"""Of the rank zeros: the end of the job's number chooses, so that jobs which share a node do not share a port."""


@dataclass(frozen=True)
class Job:
    """What submitit pickles and calls in every task of a job; plain data alone.

    Attributes:
        config: of the run, resolved.
        directory: of the run.
        max_requeues: how often the job may go back into the queue, for the message when it may not any more.
    """

    config: Mapping[str, Any]
    directory: str
    max_requeues: int

    def checkpoint(self) -> DelayedSubmission:
        """What submitit calls in a job that goes back into the queue: the same again, it goes on by itself."""
        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Run it; ends with an exit code other than 0 unless it is done, so that SLURM knows too."""
        compat.count_every_requeue()
        here = submitit.JobEnvironment()
        rank, world = here.global_rank, here.num_tasks
        _tell_torch(here)

        from fersweep.sweep.slurm.preemption import END, GO_ON, REQUEUE, LeftError, Preemption
        from fersweep.training.attempt import run_frozen

        preemption = Preemption(rank, world)
        with preemption.heeded():
            try:
                if rank == 0:
                    _wait_for_lock(Path(self.directory))
                run_frozen(self._config(), [preemption])
                return
            except LeftError:
                if preemption.agreed:
                    _part()
            except LockLostError as error:
                _fail(error)
            except Exception as error:
                if preemption.asked == GO_ON:
                    if isinstance(error, UserError):
                        _fail(error)
                    raise
                # what goes wrong after a signal goes wrong because others have left; if not, it will again
        state = Status.read(Path(self.directory)).state
        of_another = world > 1 and state == "failed" and preemption.asked == END  # the cause of the signal
        if rank == 0 and state != "done" and not of_another:
            mark_pending(Path(self.directory))
            if preemption.asked == REQUEUE:
                self._requeue()
        # 0 of any other rank: it must not end the one that is just asking for the requeue
        raise SystemExit(128 + signal.SIGTERM if preemption.asked == END else 0)

    def _config(self) -> dict[str, Any]:
        """The run's; ``force`` starts it afresh once, not each time that its job comes back from the queue."""
        return {**self.config, "force": self.config["force"] and not int(os.environ.get("SLURM_RESTART_COUNT", "0"))}

    def _requeue(self) -> None:
        """Hand the signal on to submitit, the one owner of requeues, which ends the process."""
        try:
            signal.raise_signal(signal.SIGUSR2)
        except UncompletedJobError:
            error = UserError(
                f"It was interrupted more than {self.max_requeues} times: give its job more time "
                "(hydra.launcher.time), or raise hydra.launcher.max_requeues."
            )
            mark_failed(Path(self.directory), error)
            _fail(error)


def _tell_torch(here: submitit.JobEnvironment) -> None:
    """Set torch's variables: this task's place, where rank zero listens, and as many threads as it has cores."""
    local_world = here.num_tasks // here.num_nodes
    cores = int(os.environ.get("SLURM_CPUS_ON_NODE", 1))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // local_world)))
    if here.num_tasks == 1:
        return
    os.environ.setdefault("MASTER_ADDR", here.hostnames[0])  # the set-up may know a better one
    os.environ.setdefault("MASTER_PORT", str(PORTS[int(here.raw_job_id) % len(PORTS)]))
    os.environ |= {
        "RANK": str(here.global_rank),
        "LOCAL_RANK": str(here.local_rank),
        "GROUP_RANK": str(here.node),
        "WORLD_SIZE": str(here.num_tasks),
        "LOCAL_WORLD_SIZE": str(local_world),
    }


def _wait_for_lock(directory: Path) -> None:
    """Wait for the lock of an attempt that was killed on another node; it counts until its lease has run out."""
    end = time.monotonic() + 1.5 * LEASE
    while is_held(directory) and time.monotonic() < end:
        time.sleep(1)


def _part() -> None:
    """Close the connections among the ranks, which have left together."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _fail(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2) from error
