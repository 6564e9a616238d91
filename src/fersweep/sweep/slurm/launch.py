"""The runs of a sweep as jobs of a SLURM cluster: submitted as arrays, watched until each has ended."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from fersweep.errors import UserError
from fersweep.files import atomic_path
from fersweep.runs.status import Status
from fersweep.sweep.local.processes import NOT_HANDED_DOWN
from fersweep.sweep.plan import Outcome, Planned, already_done, conclude, done_elsewhere, finished, freeze, refuse
from fersweep.sweep.slurm import queue as slurm_queue
from fersweep.sweep.slurm.queue import ENDED, NEVER, Place, QueueError
from fersweep.sweep.slurm.settings import Settings, shown

PAUSES = (2.0, 30.0)
"""Seconds between two looks at the queue, from the first to the longest; a growing pause while nothing changes."""


@dataclass
class Submitted:
    """A run's job.

    Attributes:
        run: what it trains.
        job: its id.
        before: the run's status when it was submitted, which says nothing about this job.
        told: what was printed about it last.
        gone: whether it had left the queue at the last look.
        reason: why it had to wait then.
        ours: whether this sweep has submitted it; else it was in the queue before, perhaps with other data.
    """

    run: Planned
    job: str
    before: Status
    ours: bool = True
    told: str = "waits"
    gone: bool = False
    reason: str = ""

    def news(self) -> Status | None:
        """The run's status, if it has changed since the job was submitted."""
        status = Status.read(self.run.directory)
        return None if status == self.before else status


@dataclass
class SlurmSweep:
    """Submits and watches what is planned; `outcomes` are by directory, as a sweep may name a run twice.

    Args:
        runs: in order.
        settings: of the launcher.
        folder: where submitit and SLURM write.
    """

    runs: Sequence[Planned]
    settings: Settings
    folder: Path
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    jobs: list[Submitted] = field(default_factory=list)

    def submit(self) -> None:
        """Submit one array for each group of runs that ask for the same; those in the queue already are only watched.

        Raises:
            UserError: where the cluster refuses; what was submitted before is cancelled then.
        """
        groups: dict[str, dict[Path, Planned]] = defaultdict(dict)
        queue = slurm_queue.look()
        for run in self.runs:
            if run.directory in self.outcomes:
                continue
            if (job := self._queued(run, queue)) is not None:
                self.jobs.append(Submitted(run, job, Status.read(run.directory), ours=False))
            else:
                groups[repr(self.settings.sbatch(run.config))][run.directory] = run
        new: list[str] = []
        for group in groups.values():
            try:
                submitted = self._submit_array(list(group.values()))
            except UserError as error:
                slurm_queue.cancel(new)
                before = f" Jobs {', '.join(slurm_queue.arrays(new))}, just submitted, are cancelled." if new else ""
                raise UserError(f"{error}{before}") from error
            except KeyboardInterrupt:
                slurm_queue.cancel(new)
                raise
            self.jobs += submitted
            new += [each.job for each in submitted]

    def _submit_array(self, runs: Sequence[Planned]) -> list[Submitted]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from fersweep.sweep.slurm.job import Job

        before = [Status.read(run.directory) for run in runs]
        asked, allowed = self.settings.sbatch(runs[0].config), self.settings.max_requeues
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what it raises
                executor = submitit.SlurmExecutor(self.folder, max_num_timeout=allowed)
                executor.update_parameters(**asked)
                jobs = executor.submit_array([Job(run.config, str(run.directory), allowed) for run in runs])
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(f"SLURM refuses the jobs: {_reason(error)} ({shown(asked)}).") from error
        submitted = [Submitted(*each) for each in zip(runs, [job.job_id for job in jobs], before, strict=True)]
        for each in submitted:
            with atomic_path(self._note(each.run)) as note:
                note.write_text(each.job, encoding="utf-8")
        return submitted

    def _note(self, run: Planned) -> Path:
        return self.folder / f"{run.directory.name}.job"

    def _queued(self, run: Planned, queue: Mapping[str, Place]) -> str | None:
        """The job that was submitted for a run before, if it is still in the queue."""
        note = self._note(run)
        job = note.read_text(encoding="utf-8") if note.is_file() else ""
        place = queue.get(job)
        return job if place and place.name == run.config["sweep"] and place.state not in ENDED else None

    def watch(self) -> None:
        """Wait until every job has ended; one line when something changes."""
        pause, lost = PAUSES[0], False
        waiting = list(self.jobs)
        while waiting:
            try:
                queue = slurm_queue.look()
                lost = False
            except QueueError as error:
                if not lost:
                    print(f"the queue cannot be seen ({error}); looking again", file=sys.stderr, flush=True)
                lost = True
                time.sleep(PAUSES[1])
                continue
            changes = [self._look_at(job, queue.get(job.job)) for job in waiting]
            waiting = [job for job in waiting if job.run.directory not in self.outcomes]
            if waiting:
                pause = PAUSES[0] if any(changes) else min(1.2 * pause, PAUSES[1])
                time.sleep(pause)

    def _look_at(self, job: Submitted, place: Place | None) -> bool:
        """Take note of what has become of a job; returns whether that has changed."""
        gone = place is None or place.state in ENDED
        try:
            outcome = self._outcome(job, place, gone and job.gone)
        except UserError as damaged:
            outcome = Outcome(job.run, error=str(damaged))
        job.gone, job.reason = gone, "" if place is None else place.reason
        if outcome is not None:
            self.outcomes[job.run.directory] = outcome
            state = "done" if outcome.error is None else f"failed: {outcome.error}"
        elif place is None or gone:
            return True  # look again soon: the file system may be behind the queue
        elif place.state == "PENDING":
            state = "waits" if job.told == "waits" else "waits again"
        elif place.state == "COMPLETING":
            return False  # where that leads to shows next
        else:
            state = place.state.lower()
        changed, job.told = state != job.told, state
        if changed:
            print(f"job {job.job}  {job.run.directory.name}  {state}", flush=True)
        return changed

    def _outcome(self, job: Submitted, place: Place | None, over: bool) -> Outcome | None:
        """How a run has ended, or ``None`` while it has not; ``over`` says that its job has, for certain."""
        status = job.news()
        if status is None and over and not job.run.config["force"]:
            status = job.before  # somebody else may have done it before
        if status is not None and status.state == "done" and (result := finished(job.run)) is not None:
            return Outcome(job.run, result) if job.ours else done_elsewhere(job.run)
        if status is not None and status.state == "failed" and status != job.before and status.error is not None:
            trainer, others = job.run.config["trainer"], ""
            if trainer["devices"] * trainer["num_nodes"] > 1:  # what rank zero says may only follow from what they did
                others = f" (all ranks: {self.folder / job.job}_*_log.err)"
            return Outcome(job.run, error=f"{status.error['type']}: {status.error['message']}{others}")
        if place is not None and place.state == "PENDING" and place.reason in NEVER and place.reason == job.reason:
            slurm_queue.cancel([job.job])
            why = f"job {job.job} would never start ({place.reason}: {NEVER[place.reason]}) and is cancelled"
            return Outcome(job.run, error=f"{why}; it asked for {shown(self.settings.sbatch(job.run.config))}")
        if over:
            state = "it has left the queue" if place is None else place.state.lower().replace("_", " ")
            words = slurm_queue.last_words(self.folder, job.job)
            log = slurm_queue.stderr(self.folder, job.job)
            ending = f"; its log {log} ends: {words}" if words else ""
            return Outcome(job.run, error=f"job {job.job} ended without a result ({state}){ending}")
        return None


def launch(runs: Sequence[Planned], settings: Settings) -> list[JobReturn]:
    """Have all ``runs`` trained by the cluster and print what became of them; see `Settings` and `plan.conclude`."""
    try:
        settings.check(runs)
        for each in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(each) is None:
                raise UserError(
                    f"hydra/launcher=slurm needs SLURM, and there is no {each} here: start the sweep where jobs are "
                    "submitted, or use hydra/launcher=local."
                )
        slurm_queue.look()
    except UserError as error:
        refuse(str(error))
    except QueueError as error:
        refuse(
            f"SLURM does not answer here ({error}): start the sweep where jobs are submitted, or use "
            "hydra/launcher=local; nothing was submitted."
        )
    freeze(runs)
    folder = runs[0].directory.parent / ".slurm"
    done = already_done(runs)
    sweep = SlurmSweep(runs, settings, folder, {outcome.planned.directory: outcome for outcome in done})
    try:
        with _plain_environment():
            folder.mkdir(exist_ok=True)
            sweep.submit()
    except (UserError, QueueError, OSError) as error:
        refuse(str(error))
    ids = slurm_queue.arrays(job.job for job in sweep.jobs)
    commands = f"  look:    fersweep collect {folder.parent}\n  cancel:  scancel {' '.join(ids)}"
    try:
        if sweep.jobs:
            print(f"in the queue: {', '.join(ids)} ({len(sweep.jobs)} of {len(runs)} runs)", flush=True)
        if sweep.jobs and not settings.wait:
            print(f"{commands}\nThe same command with hydra.launcher.wait=true waits for them.")
            return [_unknown(run) for run in runs]
        sweep.watch()
    except KeyboardInterrupt:
        print(f"\nnot waiting any longer; the jobs go on\n{commands}\nThe same command waits again.", file=sys.stderr)
        raise SystemExit(130) from None
    skipped = sum(outcome.result is not None for outcome in done)
    return conclude([sweep.outcomes[run.directory] for run in runs], skipped=skipped)


def _unknown(run: Planned) -> JobReturn:
    """What Hydra gets for a run nobody waits for: that nothing went wrong, and no score."""
    return JobReturn(overrides=list(run.overrides), status=JobStatus.COMPLETED)


@contextmanager
def _plain_environment() -> Iterator[None]:
    """Hide what a job or a distributed run that this may be started from would hand down to the jobs."""
    before = dict(os.environ)
    for name in before:
        inherited = name.startswith(("SLURM_", "SUBMITIT_")) and name not in ("SLURM_CONF", "SLURM_CLUSTERS")
        if inherited or name in NOT_HANDED_DOWN:
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _reason(error: Exception) -> str:
    """What sbatch said, in one line."""
    lines = [line.removeprefix("sbatch: error: ").strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines).rstrip(".") or type(error).__name__
