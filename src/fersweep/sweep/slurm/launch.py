"""Sweeps on a SLURM cluster: runs are submitted as job arrays and watched until each has ended."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from fersweep.errors import UserError
from fersweep.files import atomic_path
from fersweep.runs.status import Status
from fersweep.sweep import notify
from fersweep.sweep.local.processes import NOT_INHERITED, environment
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
from fersweep.sweep.slurm import frozen
from fersweep.sweep.slurm import queue as slurm_queue
from fersweep.sweep.slurm.queue import ENDED, NEVER, QueueEntry, QueueError
from fersweep.sweep.slurm.settings import Settings

PAUSES = (2.0, 30.0)
"""Shortest and longest time in seconds between two looks at the queue; it grows while nothing changes."""


@dataclass
class Submitted:
    """A run's job.

    Attributes:
        run: the run it trains.
        job: its id.
        before: status of the run at submission.
        ours: this sweep submitted it; otherwise it was in the queue before, perhaps with other data.
        printed: the state printed last.
        gone: it had left the queue at the last look.
        reason: why it was pending at the last look.
        stopped: this command has cancelled it, because its run is behind in a search.
    """

    run: Planned
    job: str
    before: Status
    ours: bool = True
    printed: str = "waits"
    gone: bool = False
    reason: str = ""
    stopped: bool = False

    def news(self) -> Status | None:
        """Return the run's status if it has changed since submission."""
        status = Status.read(self.run.directory)
        return None if status == self.before else status


@dataclass
class SlurmSweep:
    """Submits and watches the planned runs.

    Args:
        runs: in order.
        settings: of the launcher.
        folder: for the files of submitit and SLURM.
        outcomes: by directory, as a sweep may name a run twice.
        copies: of the code, that its jobs use.
    """

    runs: Sequence[Planned]
    settings: Settings
    folder: Path
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    jobs: list[Submitted] = field(default_factory=list)
    copies: set[Path] = field(default_factory=set)

    def submit(self) -> None:
        """Submit one array per group of runs with equal resources; runs already in the queue are only watched.

        Raises:
            UserError: the cluster refuses a job. After this and any other error, those just submitted are cancelled.
        """
        groups: dict[str, dict[Path, Planned]] = defaultdict(dict)
        queue = slurm_queue.look()
        for run in self.runs:
            if run.directory in self.outcomes:
                continue
            if (job := self.queued(run, queue)) is not None:
                self.jobs.append(Submitted(run, job, Status.read(run.directory), ours=False))
            else:
                groups[repr(self.settings.sbatch(run.config))][run.directory] = run
        new: list[str] = []
        for group in groups.values():
            try:
                self.jobs += self.submit_array(list(group.values()), new)
            except UserError as error:
                slurm_queue.cancel(new)
                before = f" Jobs {', '.join(slurm_queue.arrays(new))}, just submitted, are cancelled." if new else ""
                raise UserError(f"{error}{before}") from error
            except BaseException:
                slurm_queue.cancel(new)
                raise

    def submit_array(self, runs: Sequence[Planned], new: list[str]) -> list[Submitted]:
        """Submit runs of equal resources as one array, with a note of each job.

        Args:
            runs: of equal resources.
            new: gets the ids of the jobs as soon as they are known.

        Raises:
            UserError: the cluster refuses the jobs.
        """
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from fersweep.sweep.slurm.job import Job

        use_copy: list[str] = []
        if self.settings.freeze_code:
            use_copy = frozen.lines(self.folder.parent, runs[0].config["plugins"], self.copies)
        before = [Status.read(run.directory) for run in runs]
        allowed, argv = self.settings.max_requeues, tuple(sys.argv)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints the errors it raises
                executor = submitit.SlurmExecutor(self.folder, max_num_timeout=allowed)
                executor.update_parameters(**self.settings.sbatch(runs[0].config, use_copy))
                jobs = executor.submit_array([Job(run.config, str(run.directory), allowed, argv) for run in runs])
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(
                f"SLURM refuses the jobs: {_reason(error)} ({self.settings.request(runs[0].config)})."
            ) from error
        new += [job.job_id for job in jobs]
        submitted = [Submitted(*each) for each in zip(runs, new[-len(runs) :], before, strict=True)]
        for each in submitted:
            with atomic_path(self._note(each.run)) as note:
                note.write_text(each.job, encoding="utf-8")
        return submitted

    def _note(self, run: Planned) -> Path:
        return self.folder / f"{run.directory.name}.job"

    def queued(self, run: Planned, queue: Mapping[str, QueueEntry]) -> str | None:
        """Return the id of a run's earlier job if it is still in the queue."""
        note = self._note(run)
        job = note.read_text(encoding="utf-8") if note.is_file() else ""
        entry = queue.get(job)
        return job if entry and entry.name == run.config["sweep"] and entry.state not in ENDED else None

    def watch(self) -> None:
        """Wait until every job has ended, printing a line per change."""
        pause, lost = PAUSES[0], False
        waiting = list(self.jobs)
        while waiting:
            try:
                queue = slurm_queue.look()
                lost = False
            except QueueError as error:
                if not lost:
                    print(f"The queue cannot be read ({error}); retrying.", file=sys.stderr, flush=True)
                lost = True
                time.sleep(PAUSES[1])
                continue
            changes = [self.look_at(job, queue.get(job.job)) for job in waiting]
            waiting = [job for job in waiting if job.run.directory not in self.outcomes]
            if waiting:
                pause = PAUSES[0] if any(changes) else min(1.2 * pause, PAUSES[1])
                time.sleep(pause)

    def look_at(self, job: Submitted, entry: QueueEntry | None) -> bool:
        """Update a job from its entry in the queue; return whether its state has changed."""
        gone = entry is None or entry.state in ENDED
        try:
            outcome = self._outcome(job, entry, gone and job.gone)
        except UserError as damaged:
            outcome = Outcome(job.run, error=str(damaged))
        job.gone, job.reason = gone, "" if entry is None else entry.reason
        if outcome is not None:
            self.outcomes[job.run.directory] = outcome
            failed = "is cancelled" if job.stopped else f"failed: {outcome.error}"
            state = "done" if outcome.error is None else failed
        elif entry is None or gone:
            return True  # look again soon: the file system may lag behind the queue
        elif entry.state == "PENDING":
            state = "waits" if job.printed == "waits" else "waits again"
        elif entry.state == "COMPLETING":
            return False  # its next state will tell
        else:
            state = entry.state.lower()
        changed, job.printed = state != job.printed, state
        if changed:
            print(f"job {job.job}  {job.run.directory.name}  {state}", flush=True)
        return changed

    def _outcome(self, job: Submitted, entry: QueueEntry | None, over: bool) -> Outcome | None:
        """Return the outcome of a job's run, or ``None`` before its end; ``over``: the job has certainly ended."""
        status = job.news()
        if status is None and over and not job.run.config["force"]:
            status = job.before  # another process may have finished it
        if status is not None and status.state == "done" and (result := finished(job.run)) is not None:
            return Outcome(job.run, result) if job.ours else DataCheck().outcome(job.run)
        if status is not None and status.state == "failed" and status != job.before and status.error is not None:
            trainer, others = job.run.config["trainer"], ""
            if trainer["devices"] * trainer["num_nodes"] > 1:  # another rank may have caused the error of rank zero
                others = f" (all ranks: {self.folder / job.job}_*_log.err)"
            return Outcome(job.run, error=f"{status.error['type']}: {status.error['message']}{others}")
        if entry is not None and entry.state == "PENDING" and entry.reason in NEVER and entry.reason == job.reason:
            slurm_queue.cancel([job.job])
            why = f"job {job.job} would never start ({entry.reason}: {NEVER[entry.reason]}) and is cancelled"
            return Outcome(job.run, error=f"{why}; it requested {self.settings.request(job.run.config)}")
        if over:
            state = "it has left the queue" if entry is None else entry.state.lower().replace("_", " ")
            words = slurm_queue.last_words(self.folder, job.job)
            log = slurm_queue.stderr(self.folder, job.job)
            ending = f"; its log {log} ends: {words}" if words else ""
            return Outcome(job.run, error=f"job {job.job} ended without a result ({state}){ending}")
        return None


def launch(runs: Sequence[Planned], settings: Settings, on_end: Any = None) -> list[JobReturn]:
    """Train ``runs`` on the cluster and print the outcomes; see `notify`, `Settings` and `plan.conclude`."""
    try:
        notice = notify.words(on_end, settings.wait)
    except UserError as error:
        refuse(str(error))
    check_slurm(runs, settings)
    freeze(runs)
    folder = runs[0].directory.parent / ".slurm"
    done = already_done(runs)
    sweep = SlurmSweep(runs, settings, folder, {outcome.planned.directory: outcome for outcome in done})
    try:
        with environment({}, without=of_a_job()):
            folder.mkdir(exist_ok=True)
            sweep.submit()
    except (UserError, QueueError, OSError) as error:
        refuse(str(error))
    ids = slurm_queue.arrays(job.job for job in sweep.jobs)
    commands = f"  status:  fersweep collect {folder.parent}\n  cancel:  scancel {' '.join(ids)}"
    with notify.at_end(notice) as begun:
        with interruptible(f"Stopped waiting; the jobs continue.\n{commands}\nThe same command waits again."):
            if sweep.jobs:
                print(f"in the queue: {', '.join(ids)} ({len(sweep.jobs)} of {len(runs)} runs)", flush=True)
            if sweep.jobs and not settings.wait:
                print(f"{commands}\nThe same command with hydra.launcher.wait=true waits for them.")
                return [JobReturn(overrides=list(run.overrides), status=JobStatus.COMPLETED) for run in runs]
            begun.runs, begun.folders = zip(*((run.directory, run.directory.parent) for run in runs), strict=True)
            sweep.watch()
        skipped = sum(outcome.result is not None for outcome in done)
        return conclude([sweep.outcomes[run.directory] for run in runs], skipped=skipped)


def check_slurm(runs: Sequence[Planned], settings: Settings) -> None:
    """Exit with one sentence if the settings cannot work or SLURM does not answer."""
    try:
        settings.check(runs)
        for each in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(each) is None:
                raise UserError(
                    f"hydra/launcher=slurm needs SLURM, but {each} is not installed here: start the sweep on a node "
                    "that submits jobs, or use hydra/launcher=local."
                )
        slurm_queue.look()
    except UserError as error:
        refuse(str(error))
    except QueueError as error:
        refuse(
            f"SLURM does not answer here ({error}): start the sweep on a node that submits jobs, or use "
            "hydra/launcher=local; nothing was submitted."
        )


def of_a_job() -> list[str]:
    """Return the variables of a job or run around this process, which its own jobs must not inherit."""
    prefixes, kept = ("SLURM_", "SUBMITIT_"), ("SLURM_CONF", "SLURM_CLUSTERS")
    return [*NOT_INHERITED, *(name for name in os.environ if name.startswith(prefixes) and name not in kept)]


def _reason(error: Exception) -> str:
    """Return the message of sbatch in one line."""
    lines = [line.removeprefix("sbatch: error: ").strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines).rstrip(".") or type(error).__name__
