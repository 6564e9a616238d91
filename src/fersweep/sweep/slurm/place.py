"""A SLURM cluster as a place for runs that are started one by one, each as a job of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fersweep.runs.status import Status
from fersweep.sweep.local.processes import environment
from fersweep.sweep.place import Ended
from fersweep.sweep.plan import Outcome, Planned
from fersweep.sweep.slurm import queue as slurm_queue
from fersweep.sweep.slurm.launch import SlurmSweep, Submitted, check_slurm, of_a_job
from fersweep.sweep.slurm.queue import QueueEntry, QueueError
from fersweep.sweep.slurm.settings import Settings

AT_ONCE = 8
"""Jobs in the queue at a time: a search learns nothing from jobs that only wait."""

LOOK = 2.0
"""Seconds between two looks at the queue."""


@dataclass
class Job:
    """A job of this place: the run, the job, and the time at which it was submitted."""

    run: Planned
    submitted: Submitted
    began: float


class SlurmPlace:
    """A cluster.

    Args:
        like: a run that requests the same resources as those to come.
        settings: of the launcher.
        at_once: jobs in the queue at a time.

    Raises:
        SystemExit: with one sentence if SLURM does not answer or the settings cannot work.
    """

    def __init__(self, like: Planned, settings: Settings, at_once: int | None = None) -> None:
        check_slurm([like], settings)
        folder = like.directory.parent / ".slurm"
        folder.mkdir(parents=True, exist_ok=True)
        self.at_once = at_once or AT_ONCE
        self.sweep = SlurmSweep([], settings, folder)
        self.jobs: list[Job] = []
        self._looked = 0.0
        self._lost = False

    def has_room(self, run: Planned) -> bool:
        """Return whether fewer jobs than allowed are in the queue."""
        return len(self.jobs) < self.at_once

    def holds(self, run: Planned) -> bool:
        """Return whether the job of an earlier command is still in the queue."""
        return self.sweep.queued(run, self._queue()) is not None

    def start(self, run: Planned) -> None:
        """Submit a job, or watch the one that an earlier command has submitted.

        Raises:
            UserError: the cluster refuses the job.
        """
        job = self.sweep.queued(run, self._queue())
        if job is not None:
            submitted = Submitted(run, job, Status.read(run.directory), ours=False)
        else:
            new: list[str] = []
            try:
                with environment({}, without=of_a_job()):
                    (submitted,) = self.sweep.submit_array([run], new)
            except BaseException:
                slurm_queue.cancel(new)  # without a note nothing would watch it
                raise
        self.jobs.append(Job(run, submitted, time.monotonic()))

    def stop(self, run: Planned) -> None:
        """Cancel a job: SIGTERM, on which its run can be resumed."""
        for each in self.jobs:
            if each.run is run and not each.submitted.stopped:
                each.submitted.stopped = True
                slurm_queue.cancel([each.submitted.job])

    def ended(self, seconds: float) -> Sequence[Ended]:
        """Wait, look at the queue if that is due, and return the runs whose jobs have ended."""
        time.sleep(seconds)
        if not self.jobs or time.monotonic() - self._looked < LOOK:
            return []
        try:
            queue = slurm_queue.look()
        except QueueError:  # the controller is busy
            return []
        self._looked = time.monotonic()
        for each in self.jobs:
            self.sweep.look_at(each.submitted, queue.get(each.submitted.job))
        over = [each for each in self.jobs if each.run.directory in self.sweep.outcomes]
        self.jobs = [each for each in self.jobs if each.run.directory not in self.sweep.outcomes]
        return [self._end(each, self.sweep.outcomes.pop(each.run.directory)) for each in over]

    def _end(self, job: Job, outcome: Outcome) -> Ended:
        asked = job.submitted.stopped or not job.submitted.ours  # by this command, or by the one that submitted it
        unfinished = asked and Status.read(job.run.directory).state not in ("done", "failed")
        return Ended(job.run, None if unfinished else outcome, time.monotonic() - job.began)

    def _queue(self) -> dict[str, QueueEntry]:
        """Return the queue; empty while it cannot be read, and a run that is in it waits for the lock of its job."""
        try:
            return slurm_queue.look()
        except QueueError:
            return {}

    def close(self) -> None:
        """Leave the jobs in the queue: the same command watches them."""
