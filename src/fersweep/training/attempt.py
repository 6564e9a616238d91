"""One attempt at a run by one of its processes: claim the directory, train, test, record the outcome."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fersweep import build, logs, tracking
from fersweep.config import plugins
from fersweep.config.checks import validate
from fersweep.config.schema import Config, choices_of, to_dict
from fersweep.config.typed import expand_homes
from fersweep.data.samples import CLASSES, Samples
from fersweep.errors import LockLostError, NotFiniteError, UserError
from fersweep.report.summary import print_done, print_summary
from fersweep.runs.collect import result_of
from fersweep.runs.identity import run_dir
from fersweep.runs.lock import LockedError, claim
from fersweep.runs.status import FILE_NAME, Status, mark_done, mark_failed, mark_interrupted, mark_pending, mark_running
from fersweep.training import checkpoint, code, devices, fit, initial, results, teacher
from fersweep.training.disk import writable
from fersweep.training.distributed import broadcast, process_group, rank
from fersweep.training.job import Job
from fersweep.training.trainer_arguments import check_trainer_arguments

TRAIN, DONE, FAILED = range(3)
"""Decision that rank zero broadcasts to the other ranks."""

INTERRUPTED = "Interrupted. Run the same command, without force=true, to resume from the last epoch."


def stop(number: int, _: Any) -> None:
    """Handle a signal by leaving through SystemExit, which closes files and releases the lock."""
    raise SystemExit(128 + number)


def run_frozen(config: Mapping[str, Any], callbacks: Sequence[pl.Callback] = (), console: bool = False) -> float:
    """Run a resolved configuration as one of its ranks; return the validation accuracy of the best epoch.

    Args:
        config: as in ``config.yaml``, composed and checked.
        callbacks: of the caller, beside those of the configuration.
        console: print progress and summary, which otherwise only go to ``train.log``.
    """
    if "${" in json.dumps(config, default=str):
        raise UserError("The configuration of this run is not resolved: fersweep did not write this config.yaml.")
    cfg = OmegaConf.merge(OmegaConf.structured(Config), dict(config))
    assert isinstance(cfg, DictConfig)
    plugins.use(cfg.plugins)
    return attempt(cfg, to_dict(cfg), run_dir(config), callbacks, console)


def prepare(cfg: DictConfig, here: bool = True) -> tuple[dict[str, Any], Path]:
    """Check a configuration without reading data; return it resolved, and the directory of the run.

    Args:
        cfg: composed.
        here: check that this machine has the devices.

    Raises:
        UserError: wrong or incompatible settings, missing weights, missing devices.
    """
    expand_homes(cfg)
    validate(cfg)
    build.check(cfg, num_classes=len(CLASSES))
    check_trainer_arguments(cfg)
    if here:
        devices.find_device(cfg)
    tracking.check(cfg.logger, login=here)
    if cfg.weights is not None:
        checkpoint.find(Path(cfg.weights), initial.KINDS)
    config = to_dict(cfg)
    return config, run_dir(config)


def attempt(
    cfg: DictConfig, config: dict[str, Any], directory: Path, callbacks: Sequence[pl.Callback], console: bool
) -> float:
    """Train and test as one rank, or find the run done; ``config`` is ``cfg`` resolved; see `run_frozen`."""
    device = devices.find_device(cfg)
    samples = _checked_data(cfg, directory)
    with ExitStack() as stack:
        stack.enter_context(writable(directory))
        stack.enter_context(process_group(devices.num_processes(cfg), device))
        zero, owned, todo = rank() == 0, None, FAILED
        try:
            if zero:
                owned = stack.enter_context(claim(directory))
                todo = _todo(cfg, config, directory)
        finally:  # also if rank zero fails: the others must not wait for it
            todo = broadcast(todo)
        if todo == FAILED:
            raise SystemExit(2)  # rank zero has said why
        if todo == TRAIN:
            bar = bool(console and cfg.trainer.progress_bar and sys.stderr.isatty() and zero)
            job = Job(cfg, config, directory, device, bar, owned, tuple(callbacks), samples)
            result = _train_and_record(job, echo=console and not bar)
            if zero and console:
                print_summary(result, directory, tuple(result["per_class"]), Console())
        else:
            result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
            if zero and console:
                print_done(result, directory, Console())
    return float(result["metrics"]["val/accuracy"])


def _checked_data(cfg: DictConfig, directory: Path) -> Samples | None:
    """Read and split the data of a run that begins, before anything is written; return them to train on.

    Wrong data leave no failed run behind, except one that a sweep has prepared, and with ``force=true`` cost no
    results. A run that has begun is compared with its own data later.

    Raises:
        UserError: the data are missing, damaged or too few.
    """
    if not cfg.force and any((directory / name).exists() for name in ("checkpoints", "result.json")):
        return None
    before = Status.read(directory) if (directory / FILE_NAME).exists() else None
    try:
        samples = build.samples(cfg)
        build.datamodule(cfg, samples)
        initial.check(cfg)
        teacher.check(cfg, samples)
        return samples
    except UserError as error:
        if before is not None and before.state != "done":
            _mark_impossible(directory, before, error)
        raise


def _mark_impossible(directory: Path, before: Status, error: UserError) -> None:
    """Record that a prepared run has wrong data, unless another rank has done so or another process trains it."""
    with suppress(LockedError), claim(directory):
        if Status.read(directory) == before:
            mark_running(directory)
            mark_failed(directory, error)


def _todo(cfg: DictConfig, config: dict[str, Any], directory: Path) -> int:
    """Decide from the files of earlier attempts; prepare the directory for training."""
    if cfg.force:
        _clear(directory)
    status = Status.read(directory)
    if status.state == "done" and (result := result_of(directory)) is not None:
        refuse_other_data(cfg, directory, result["data_digest"])
        return DONE
    if status.error is not None and status.error["type"] == NotFiniteError.__name__:
        _clear(directory)  # its weights are useless; after any other failure the run resumes
    last = directory / "checkpoints" / "last.ckpt"
    if last.is_file():
        refuse_other_data(cfg, directory, checkpoint.load_last(last)["fersweep"]["data_digest"])
    for path in (*directory.glob(".*"), *directory.glob("checkpoints/.*")):
        if path.suffix in (".ckpt", ".csv", ".diff", ".json", ".parquet", ".png", ".yaml"):
            path.unlink()  # partly written by an attempt that was killed
    mark_pending(directory, choices_of(config), config["seed"])
    mark_running(directory, code.record(directory, config["plugins"]))
    return TRAIN


def _train_and_record(job: Job, echo: bool) -> dict[str, Any]:
    """Train and test; record the outcome in the log and, unless the lock was lost, in the status."""
    zero, directory = rank() == 0, job.directory
    with logs.to_run(directory, echo) if zero else logs.of_other_ranks(rank()) as log:
        try:
            with writable(directory):
                result = fit.train(job)
                if zero:
                    mark_done(directory)
        except LockLostError:
            log.exception("stopped")
            raise
        except UserError as error:
            _mark_failed(job, error)  # first: the log may take the rest of a full disk
            log.debug("failed", exc_info=True)
            raise
        except Exception as error:
            log.exception("failed")
            _mark_failed(job, error)
            raise
        except BaseException:
            log.warning(INTERRUPTED)
            if zero:
                mark_interrupted(directory)
            if job.progress_bar:
                print(f"\n{INTERRUPTED}", file=sys.stderr)
            raise
        return result


def _mark_failed(job: Job, error: Exception) -> None:
    """Record a failure unless another process has taken over the directory, which may have caused the failure."""
    if job.claim is None or not job.claim.lost:
        mark_failed(job.directory, error)


def _clear(directory: Path) -> None:
    """Remove the files of earlier attempts."""
    mark_pending(directory)  # first: a partly removed run is no longer done
    for path in directory.iterdir():
        if path.name in (".lock", "status.json", "train.log"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def refuse_other_data(cfg: DictConfig, directory: Path, digest: str) -> None:
    """Raise UserError if pixels, labels or ids differ from those the directory was trained on."""
    if results.data_digest(build.samples(cfg)) != digest:
        raise UserError(
            f"{directory} was trained on different data from what dataset.root={cfg.dataset.root} now holds: "
            "choose another sweep=NAME, or set force=true to replace the earlier run."
        )
