"""SLURM's queue as its commands show it: states of jobs, jobs that can never start, last errors of a job."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)
"""Final states, in which no pending, running or requeued job is."""

NEVER = {
    "PartitionNodeLimit": "its partition has fewer nodes",
    "PartitionTimeLimit": "the time limit of its partition is shorter",
    "PartitionConfig": "its partition does not allow the request",
    "BadConstraints": "no node has these features",
}
"""Pending reasons of jobs that can never start."""


@dataclass(frozen=True)
class QueueEntry:
    """Entry of a job in the queue: state, pending reason and name."""

    state: str
    reason: str
    name: str


class QueueError(RuntimeError):
    """The queue cannot be read at the moment."""


def look() -> dict[str, QueueEntry]:
    """Return this user's jobs that the controller remembers, by id: ``12``, or ``12_0`` in an array.

    Raises:
        QueueError: ``squeue`` fails, as while the controller is busy or restarts.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%j"]
    try:
        seen = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except subprocess.CalledProcessError as error:
        raise QueueError(last_line(error.stderr)) from error
    except subprocess.TimeoutExpired as error:
        raise QueueError("squeue did not answer for two minutes") from error
    rows = [line.strip().split("|", 3) for line in seen.stdout.splitlines() if line.strip()]
    return {job: QueueEntry(state, reason, name) for job, state, reason, name in rows}


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs; those that have ended are ignored."""
    subprocess.run(["scancel", "--quiet", *jobs], capture_output=True, timeout=120, check=False)


def arrays(jobs: Iterable[str]) -> list[str]:
    """Return the distinct array ids of jobs, in order: ``12`` for ``12_0`` and ``12_1``."""
    return list(dict.fromkeys(job.partition("_")[0] for job in jobs))


def stderr(folder: Path, job: str) -> Path:
    """Return the error log of a job's first task, to which SLURM writes too; it exists once the job starts."""
    return folder / f"{job}_0_log.err"


def last_words(folder: Path, job: str) -> str:
    """Return the last telling line of a job's error logs, of the first task that has one; else an empty string."""
    logs = sorted(folder.glob(f"{job}_*_log.err"), key=lambda log: int(log.name.split("_")[-2]))
    words = [last_line(log.read_text(encoding="utf-8", errors="replace")) for log in logs]
    return next((word for word in words if word), "")


def last_line(text: str) -> str:
    """Return the last line of a log, preferably not one of srun or submitit; else an empty string."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("srun: ", "submitit "))]
    return next(iter([*telling[-1:], *lines[-1:]]), "")
