"""A sweep before and after its runs: all composed, checked and frozen before the first starts, one table at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep.config.compose import one_sentence
from fersweep.config.schema import Config, dotted
from fersweep.errors import UserError
from fersweep.runs import status
from fersweep.runs.collect import distinguish, read, result_of
from fersweep.runs.status import Status
from fersweep.text import counted


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        overrides: those that the sweeper gave it.
        config: resolved; whatever happens to ``conf/`` meanwhile, this is what runs.
        directory: absolute.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    directory: Path


@dataclass(frozen=True)
class Outcome:
    """How a run of a sweep ended: with a result, or with the reason why there is none."""

    planned: Planned
    result: dict[str, Any] | None = None
    error: str | None = None


def plan(
    launcher_config: DictConfig, context: HydraContext, job_overrides: Sequence[Sequence[str]], here: bool
) -> list[Planned]:
    """Compose, check and freeze every run of a sweep.

    Args:
        launcher_config: the sweep's own configuration, as Hydra gives it to a launcher.
        context: Hydra's.
        job_overrides: of each run.
        here: whether the runs are for this machine.

    Raises:
        SystemExit: with code 2 and one sentence when one of them is impossible; then nothing was written.
    """
    from fersweep.training.attempt import prepare

    runs: list[Planned] = []
    looked_at: set[str] = set()
    for overrides in job_overrides:
        try:
            composed: Any = context.config_loader.load_sweep_config(launcher_config, list(overrides))
            cfg = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
            config, directory = prepare(cfg, here)
            if here:
                _look_at_data(cfg, config, looked_at)
        except (UserError, HydraException, OmegaConfBaseException) as error:
            GlobalHydra.instance().clear()  # to look for what might have been meant
            sentence = error if isinstance(error, UserError) else one_sentence(error, list(overrides))
            refuse(f"{sentence} (in {' '.join(overrides)}; nothing was started)")
        runs.append(Planned(tuple(overrides), config, directory.absolute()))
    try:
        _refuse_shared_directories(runs)
    except UserError as error:
        refuse(f"{error} (nothing was started)")
    return runs


def _refuse_shared_directories(runs: Sequence[Planned]) -> None:
    """Raise UserError where two runs differ in settings that make no other run, such as the place of the data.

    Both would want one directory, and one would be reported done with the other's result.
    """
    first: dict[Path, Planned] = {}
    for run in runs:
        other = first.setdefault(run.directory, run)
        if other.config == run.config:
            continue
        one, two = dotted(other.config), dotted(run.config)
        differing = [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]
        own = [
            " ".join(each for each in this.overrides if each not in that.overrides)
            for this, that in ((other, run), (run, other))
        ]
        raise UserError(
            f"{own[0]} and {own[1]} are the same run, {run.directory.name}: {', '.join(differing)} is no part of what "
            "is computed; start two sweeps, each with a sweep=NAME of its own"
        )


def _look_at_data(cfg: DictConfig, config: dict[str, Any], looked_at: set[str]) -> None:
    """Raise UserError where a dataset is not where it should be; each is looked for once, and none is read."""
    from fersweep import build

    dataset = json.dumps(config["dataset"], sort_keys=True)
    if dataset not in looked_at:
        build.source(cfg).fingerprint()
        looked_at.add(dataset)


def refuse(sentence: str) -> None:
    """End the program with what is wrong with the sweep."""
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def freeze(runs: Sequence[Planned]) -> None:
    """Make the directories of all runs that nobody has begun, each with its configuration and a pending status."""
    for run in runs:
        try:
            run.directory.mkdir(parents=True, exist_ok=True)
            status.freeze(run.directory, run.config)
        except OSError as error:
            refuse(f"{run.directory} cannot be written ({error.strerror}): choose another place with outputs=PATH.")


def finished(run: Planned) -> dict[str, Any] | None:
    """What ``result.json`` of a run says that is done, or ``None``.

    Raises:
        UserError: where a file of it is damaged.
    """
    return result_of(run.directory) if Status.read(run.directory).state == "done" else None


class SameData:
    """Tells whether finished runs have seen the data that their settings name now; reads each dataset once."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}

    def check(self, run: Planned, result: dict[str, Any]) -> None:
        """Raise UserError where the data differ."""
        from fersweep import build
        from fersweep.training import results as record
        from fersweep.training.attempt import refuse_other_data

        cfg = OmegaConf.merge(OmegaConf.structured(Config), run.config)
        assert isinstance(cfg, DictConfig)
        key = json.dumps(run.config["dataset"], sort_keys=True)
        if key not in self._digests:
            self._digests[key] = record.data_digest(build.samples(cfg))
        if self._digests[key] != result["data_digest"]:
            refuse_other_data(cfg, run.directory, result["data_digest"])


def done_elsewhere(run: Planned) -> Outcome:
    """The outcome of a run that somebody else has finished: its result, unless that is of other data than this sweep's.

    Raises:
        UserError: where a file of it is damaged.
    """
    result = finished(run)
    try:
        if result is not None:
            SameData().check(run, result)
    except UserError as error:
        return Outcome(run, error=str(error))
    return Outcome(run, result)


def already_done(runs: Sequence[Planned]) -> list[Outcome]:
    """The outcomes of those runs that need not be started: finished before, with the same data, and not forced.

    A run whose data have changed is an outcome too: that it cannot be done in its directory.
    """
    same, outcomes = SameData(), []
    for run in runs:
        try:
            result = None if run.config["force"] else finished(run)
            if result is None:
                continue
            same.check(run, result)
            outcomes.append(Outcome(run, result))
        except UserError as error:
            outcomes.append(Outcome(run, error=str(error)))
    return outcomes


def conclude(outcomes: Sequence[Outcome], skipped: int = 0) -> list[JobReturn]:
    """Print the table of a sweep's runs and what became of those that failed.

    Args:
        outcomes: in the order of the sweep.
        skipped: how many of them were done before.

    Returns:
        What Hydra's sweepers want: the best validation accuracy of each run.

    Raises:
        SystemExit: with code 1 if any run is not done.
    """
    from rich.console import Console

    from fersweep.report import listing

    done = [outcome for outcome in outcomes if outcome.result is not None]
    failed = [outcome for outcome in outcomes if outcome.result is None]
    if done:
        print()
        listing.show_scores(distinguish([read(outcome.planned.directory) for outcome in done]), Console())
    counts = f"{len(done)} done, {len(failed)} failed" if failed else f"{len(done)} done"
    print(f"{counted(len(outcomes), 'run')}: {counts}", flush=True)
    if skipped:
        print(f"done before: {skipped}; force=true runs them again.", flush=True)
    if failed:
        print(f"\n{len(failed)} of {len(outcomes)} runs failed:", file=sys.stderr)
        for outcome in failed:
            log = outcome.planned.directory / "train.log"
            print(f"  {log.parent.name}\n    {outcome.error}", file=sys.stderr)
            if log.exists():
                print(f"    log: {log}", file=sys.stderr)
        without = "Without force=true the" if any(each.planned.config["force"] for each in outcomes) else "The"
        print(f"{without} same command tries these again and leaves the others as they are.", file=sys.stderr)
        raise SystemExit(1)
    jobs = []
    for outcome in outcomes:
        assert outcome.result is not None
        job = JobReturn(overrides=list(outcome.planned.overrides), status=JobStatus.COMPLETED)
        job.return_value = outcome.result["metrics"]["val/accuracy"]
        jobs.append(job)
    return jobs
