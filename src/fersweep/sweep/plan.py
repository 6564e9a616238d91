"""Plan and result of a sweep: all runs composed and checked before the first starts, one table at the end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep.config.compose import one_sentence
from fersweep.config.schema import Config, dotted, to_dict
from fersweep.errors import UserError
from fersweep.runs import status
from fersweep.runs.collect import distinguish, read, result_of
from fersweep.runs.identity import run_dir
from fersweep.runs.status import Status
from fersweep.sweep.order import TYPED, ordered
from fersweep.text import command, counted, shortened, visible


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        overrides: those that the sweeper gave it.
        config: resolved; later changes of ``conf/`` do not affect it.
        directory: absolute.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    directory: Path


@dataclass(frozen=True)
class Outcome:
    """End of a run: its result, or the error that prevented one."""

    planned: Planned
    result: dict[str, Any] | None = None
    error: str | None = None


def plan(
    launcher_config: DictConfig, context: HydraContext, job_overrides: Sequence[Sequence[str]], here: bool
) -> list[Planned]:
    """Compose and check every run of a sweep.

    Args:
        launcher_config: the sweep's own configuration, as Hydra gives it to a launcher.
        context: Hydra's.
        job_overrides: overrides of each run.
        here: the runs will use this machine.

    Returns:
        The runs in the order in which they start, ``hydra.sweeper.order``.

    Raises:
        SystemExit: with code 2 and one sentence if a run is impossible; nothing is written then.
    """
    planner = Planner(launcher_config, context, here)
    runs: list[Planned] = []
    for overrides in job_overrides:
        try:
            runs.append(planner.plan(overrides))
        except UserError as error:
            refuse(f"{error} (in {' '.join(overrides)}; nothing was started)")
    try:
        _refuse_shared_directories(runs)
        return ordered(runs, OmegaConf.select(launcher_config, "hydra.sweeper.order") or TYPED)
    except UserError as error:
        refuse(f"{error} (nothing was started)")


class Planner:
    """Composes and checks the runs of a sweep.

    Args:
        launcher_config: the sweep's own configuration, as Hydra gives it to a launcher.
        context: Hydra's.
        here: the runs will use this machine.
    """

    def __init__(self, launcher_config: DictConfig, context: HydraContext, here: bool) -> None:
        self.launcher_config, self.context, self.here = launcher_config, context, here
        self._checked: set[str] = set()

    def plan(self, overrides: Sequence[str]) -> Planned:
        """Return the run of some overrides; UserError says in one sentence why it is impossible."""
        from fersweep.training.attempt import prepare

        cfg = self._composed(overrides)
        try:
            config, directory = prepare(cfg, self.here)
            if self.here:
                _check_dataset_exists(cfg, config, self._checked)
        except (HydraException, OmegaConfBaseException) as error:
            raise self._sentence(error, overrides) from error
        return Planned(tuple(overrides), config, directory.absolute())

    def unchecked(self, overrides: Sequence[str]) -> Planned:
        """Return the run of some overrides, which may be impossible.

        Raises:
            UserError: it cannot be composed, or its dataset or weights do not exist.
        """
        from fersweep.training import checkpoint

        cfg = self._composed(overrides)
        config = to_dict(cfg)
        if config["weights"] is not None:
            checkpoint.find(Path(config["weights"]))
        if self.here:
            _check_dataset_exists(cfg, config, self._checked)
        return Planned(tuple(overrides), config, run_dir(config).absolute())

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        try:
            composed: Any = self.context.config_loader.load_sweep_config(self.launcher_config, list(overrides))
            return OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
        except (HydraException, OmegaConfBaseException) as error:
            raise self._sentence(error, overrides) from error

    def _sentence(self, error: Exception, overrides: Sequence[str]) -> UserError:
        GlobalHydra.instance().clear()  # one_sentence composes again to find the closest setting
        return UserError(one_sentence(error, list(overrides)))


def _refuse_shared_directories(runs: Sequence[Planned]) -> None:
    """Raise UserError if runs differ only in settings outside their identity, such as the path of the data.

    They would share a directory, and one would be reported with the result of the other.
    """
    first: dict[Path, Planned] = {}
    for run in runs:
        other = first.setdefault(run.directory, run)
        if other.config == run.config:
            continue
        one, two = dotted(other.config), dotted(run.config)
        differing = [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]
        left, right = (
            " ".join(each for each in this.overrides if each not in that.overrides)
            for this, that in ((other, run), (run, other))
        )
        raise UserError(
            f"{left} and {right} are the same run, {run.directory.name}: {', '.join(differing)} is not part of a run's "
            "identity; start two sweeps with different sweep=NAME"
        )


def _check_dataset_exists(cfg: DictConfig, config: dict[str, Any], checked: set[str]) -> None:
    """Raise UserError if the dataset does not exist; each is checked once, and none is read."""
    from fersweep import build

    dataset = json.dumps(config["dataset"], sort_keys=True)
    if dataset not in checked:
        build.source(cfg).fingerprint()
        checked.add(dataset)


def refuse(sentence: str) -> NoReturn:
    """Print an error about the sweep and exit with code 2."""
    print(f"error: {visible(shortened(sentence))}", file=sys.stderr)
    raise SystemExit(2)


def freeze(runs: Sequence[Planned]) -> None:
    """Create the directories of new runs, each with its ``config.yaml`` and a pending ``status.json``."""
    for run in runs:
        try:
            run.directory.mkdir(parents=True, exist_ok=True)
            status.freeze(run.directory, run.config)
        except OSError as error:
            refuse(f"{run.directory} cannot be written ({error.strerror}): choose another folder with outputs=PATH.")


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """Print ``sentence`` when Ctrl-C or SIGTERM ends the block, and exit with code 130 or 143."""
    from fersweep.training.attempt import stop

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as end:
        print(f"\n{sentence}", file=sys.stderr)
        raise SystemExit(end.code if isinstance(end, SystemExit) else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def finished(run: Planned) -> dict[str, Any] | None:
    """Return ``result.json`` of a run that is done, else ``None``; UserError for a damaged file."""
    return result_of(run.directory) if Status.read(run.directory).state == "done" else None


class DataCheck:
    """Checks finished runs against the data that their settings name now; reads each dataset once."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}

    def outcome(self, run: Planned) -> Outcome:
        """Return the outcome of a run: its result if it is done, an error if its data changed or a file is damaged."""
        try:
            result = finished(run)
            if result is not None:
                self._check(run, result["data_digest"])
        except UserError as error:
            return Outcome(run, error=str(error))
        return Outcome(run, result)

    def _check(self, run: Planned, digest: str) -> None:
        from fersweep import build
        from fersweep.training import results as record
        from fersweep.training.attempt import refuse_other_data

        cfg = OmegaConf.merge(OmegaConf.structured(Config), run.config)
        assert isinstance(cfg, DictConfig)
        key = json.dumps(run.config["dataset"], sort_keys=True)
        if key not in self._digests:
            self._digests[key] = record.data_digest(build.samples(cfg))
        if self._digests[key] != digest:
            refuse_other_data(cfg, run.directory, digest)


def already_done(runs: Sequence[Planned]) -> list[Outcome]:
    """Return the outcomes of the runs that need not start: done on the same data, or impossible in their directory.

    With ``force=true`` a run starts in any case.
    """
    check = DataCheck()
    outcomes = [check.outcome(run) for run in runs if not run.config["force"]]
    return [each for each in outcomes if each.result is not None or each.error is not None]


def conclude(outcomes: Sequence[Outcome], skipped: int = 0) -> list[JobReturn]:
    """Print the table of a sweep's runs, their folder, the command that compares them, and the errors of failed ones.

    Args:
        outcomes: in the order of the sweep.
        skipped: how many of them were done before.

    Returns:
        For Hydra's sweepers, the best validation accuracy of each run.

    Raises:
        SystemExit: with code 1 if any run is not done.
    """
    from rich.console import Console

    from fersweep.report import listing, summary

    done = [outcome for outcome in outcomes if outcome.result is not None]
    failed = [outcome for outcome in outcomes if outcome.result is None]
    if done:
        print()
        listing.show_scores(distinguish([read(outcome.planned.directory) for outcome in done]), Console())
    counts = f"{len(done)} done, {len(failed)} failed" if failed else f"{len(done)} done"
    print(f"{counted(len(outcomes), 'run')}: {counts}", flush=True)
    if skipped:
        print(f"done before: {skipped}; force=true runs them again.", flush=True)
    for folder in dict.fromkeys(outcome.planned.directory.parent for outcome in done):
        place = summary.shown(folder)
        print(f"Folder: {place}{os.sep}\nNext: {command('report')} {shlex.quote(place)}", flush=True)
    if failed:
        _print_failures(failed, len(outcomes))
        raise SystemExit(1)
    return [_job_return(outcome) for outcome in outcomes]


def _print_failures(failed: Sequence[Outcome], total: int) -> None:
    print(f"\n{len(failed)} of {total} runs failed:", file=sys.stderr)
    for outcome in failed:
        log = outcome.planned.directory / "train.log"
        print(f"  {log.parent.name}\n    {visible(outcome.error or '')}", file=sys.stderr)
        if log.exists():
            print(f"    log: {log}", file=sys.stderr)
    again = "The same command without force=true" if failed[0].planned.config["force"] else "The same command"
    print(f"{again} retries these and skips the others.", file=sys.stderr)


def _job_return(outcome: Outcome) -> JobReturn:
    assert outcome.result is not None
    job = JobReturn(overrides=list(outcome.planned.overrides), status=JobStatus.COMPLETED)
    job.return_value = outcome.result["metrics"]["val/accuracy"]
    return job
