"""SLURM's queue as its commands show it: states of jobs, what will never start, what a job said last."""

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
"""The states that are final; a job that waits, runs or goes back into the queue is in none of them."""

NEVER = {
    "PartitionNodeLimit": "its partition does not have so many nodes",
    "PartitionTimeLimit": "its partition does not give a job so much time",
    "PartitionConfig": "its partition does not allow what it asks for",
    "BadConstraints": "no node is like that",
}
"""Reasons to wait that waiting does not end."""


@dataclass(frozen=True)
class Place:
    """Where a job is in the queue: its state, the reason for which it waits, its name."""

    state: str
    reason: str
    name: str


class QueueError(RuntimeError):
    """The queue cannot be seen now; it may be later."""


def look() -> dict[str, Place]:
    """All jobs of this user that the controller remembers, by id: ``12``, or ``12_0`` in an array.

    Raises:
        QueueError: where ``squeue`` fails, as it does while the controller is busy or restarted.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%j"]
    try:
        seen = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except subprocess.CalledProcessError as error:
        raise QueueError(last_line(error.stderr)) from error
    except subprocess.TimeoutExpired as error:
        raise QueueError("squeue did not answer for two minutes") from error
    rows = [line.strip().split("|", 3) for line in seen.stdout.splitlines() if line.strip()]
    return {job: Place(state, reason, name) for job, state, reason, name in rows}


def cancel(jobs: Iterable[str]) -> None:
    """Take jobs out of the queue, running or not; those that have ended are no matter."""
    subprocess.run(["scancel", "--quiet", *jobs], capture_output=True, timeout=120, check=False)


def arrays(jobs: Iterable[str]) -> list[str]:
    """The ids that stand for several jobs at once, in order: ``12_0`` and ``12_1`` are both of 12."""
    return list(dict.fromkeys(job.partition("_")[0] for job in jobs))


def stderr(folder: Path, job: str) -> Path:
    """The file that the first task of a job wrote its errors to, and SLURM its own; made when the job starts."""
    return folder / f"{job}_0_log.err"


def last_words(folder: Path, job: str) -> str:
    """The last line of a job's errors that says why, whichever task wrote it; empty where there is none."""
    logs = sorted(folder.glob(f"{job}_*_log.err"), key=lambda log: int(log.name.split("_")[-2]))
    words = [last_line(log.read_text(encoding="utf-8", errors="replace")) for log in logs]
    return next((word for word in words if word), "")


def last_line(text: str) -> str:
    """The last line that is not a mere consequence; empty where there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("srun: ", "submitit "))]
    return next(iter([*telling[-1:], *lines[-1:]]), "")
