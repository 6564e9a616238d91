"""One task of a SLURM job, which trains one rank of its run. Importing this imports no torch."""

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
from fersweep.runs.lock import LEASE, is_locked
from fersweep.runs.status import Status, mark_failed, mark_pending

PORTS = range(15000, 25000)
"""Ports for ``MASTER_PORT``, chosen by the job's number, so that jobs on the same node use different ones."""


@dataclass(frozen=True)
class Job:
    """Callable that submitit pickles and calls in every task of a job; holds plain data only.

    Attributes:
        config: of the run, resolved.
        directory: of the run.
        max_requeues: how often the job may be requeued, for the error message.
        argv: the command line that submitted it, which the run records.
    """

    config: Mapping[str, Any]
    directory: str
    max_requeues: int
    argv: tuple[str, ...] = ()

    def checkpoint(self) -> DelayedSubmission:
        """Return what submitit runs after a requeue: the same job, which resumes its run."""
        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Train the run; the exit code is 0 only if it is done, so that SLURM shows failures."""
        compat.count_every_requeue()
        sys.argv = list(self.argv) or sys.argv
        here = submitit.JobEnvironment()
        rank, world = here.global_rank, here.num_tasks
        _set_torch_environment(here)

        from fersweep.sweep.slurm.preemption import CONTINUE, END, REQUEUE, LeftError, Preemption
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
                    _destroy_process_group()
            except LockLostError as error:
                _fail(error)
            except Exception as error:
                if preemption.asked == CONTINUE:
                    if isinstance(error, UserError):
                        _fail(error)
                    raise
                # after a signal an error usually means that other ranks have left; a real one will recur
        state = Status.read(Path(self.directory)).state
        of_another = world > 1 and state == "failed" and preemption.asked == END  # its failure caused the signal
        if rank == 0 and state != "done" and not of_another:
            mark_pending(Path(self.directory))
            if preemption.asked == REQUEUE:
                self._requeue()
        # other ranks exit with 0: a failed task would end rank zero while it requests the requeue
        raise SystemExit(128 + signal.SIGTERM if preemption.asked == END else 0)

    def _config(self) -> dict[str, Any]:
        """Return the run's configuration; after a requeue ``force`` is off, so that the run resumes."""
        return {**self.config, "force": self.config["force"] and not int(os.environ.get("SLURM_RESTART_COUNT", "0"))}

    def _requeue(self) -> None:
        """Raise the signal again for submitit, which alone requeues jobs and ends the process."""
        try:
            signal.raise_signal(signal.SIGUSR2)
        except UncompletedJobError:
            error = UserError(
                f"It was interrupted more than {self.max_requeues} times: raise the time limit "
                "(hydra.launcher.time) or hydra.launcher.max_requeues."
            )
            mark_failed(Path(self.directory), error)
            _fail(error)


def _set_torch_environment(here: submitit.JobEnvironment) -> None:
    """Set torch's variables: the ranks of this task, the address of rank zero, a thread per core."""
    local_world = here.num_tasks // here.num_nodes
    cores = int(os.environ.get("SLURM_CPUS_ON_NODE", 1))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // local_world)))
    if here.num_tasks == 1:
        return
    os.environ.setdefault("MASTER_ADDR", here.hostnames[0])  # hydra.launcher.setup may export another
    os.environ.setdefault("MASTER_PORT", str(PORTS[int(here.raw_job_id) % len(PORTS)]))
    os.environ |= {
        "RANK": str(here.global_rank),
        "LOCAL_RANK": str(here.local_rank),
        "GROUP_RANK": str(here.node),
        "WORLD_SIZE": str(here.num_tasks),
        "LOCAL_WORLD_SIZE": str(local_world),
    }


def _wait_for_lock(directory: Path) -> None:
    """Wait until the lock of an attempt killed on another node expires."""
    end = time.monotonic() + 1.5 * LEASE
    while is_locked(directory) and time.monotonic() < end:
        time.sleep(1)


def _destroy_process_group() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _fail(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2) from error
