"""One attempt at a run, as one of its processes: claim the directory, train what is left, test, record the end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fersweep import build, logs
from fersweep.config import plugins
from fersweep.config.checks import validate
from fersweep.config.schema import Config, choices_of, to_dict
from fersweep.data.samples import CLASSES
from fersweep.errors import LockLostError, NotFiniteError, UserError
from fersweep.report.summary import print_done, print_summary
from fersweep.runs.collect import result_of
from fersweep.runs.identity import run_dir
from fersweep.runs.lock import claim
from fersweep.runs.status import Status, mark_done, mark_failed, mark_pending, mark_running
from fersweep.training import checkpoint, ranks
from fersweep.training import fit as training
from fersweep.training import results as record

TRAIN, DONE, FAILED = range(3)
"""What rank zero finds that there is to do, for the other ranks to follow."""

INTERRUPTED = "interrupted; the same command goes on from the last epoch"


def stop(number: int, _: Any) -> None:
    """Handle a signal as an end: what is open is closed, and the run goes on another time."""
    raise SystemExit(128 + number)


def run_frozen(config: Mapping[str, Any], callbacks: Sequence[pl.Callback] = (), console: bool = False) -> float:
    """Run a configuration that was composed, checked and resolved before, as one rank of it; see `run_one`.

    Args:
        config: as in ``config.yaml``.
        callbacks: further ones of whoever started the process.
        console: print progress and the summary; without, they go to ``train.log`` alone.
    """
    cfg = OmegaConf.merge(OmegaConf.structured(Config), dict(config))
    assert isinstance(cfg, DictConfig)
    plugins.use(cfg.plugins)
    return attempt(cfg, to_dict(cfg), run_dir(config), callbacks, console)


def prepare(cfg: DictConfig, here: bool = True) -> tuple[dict[str, Any], Path]:
    """Refuse what can be known to fail before any data are read; return the resolved configuration and the directory.

    Args:
        cfg: composed.
        here: whether the run is for this machine, which must then have the devices.

    Raises:
        UserError: for settings that are wrong or do not fit each other, missing weights, a missing device.
    """
    validate(cfg)
    build.check(cfg, num_classes=len(CLASSES))
    training.check_lightning(cfg)
    if here:
        training.device(cfg)
    if cfg.weights is not None:
        checkpoint.find(Path(cfg.weights))
    config = to_dict(cfg)
    return config, run_dir(config)


def attempt(
    cfg: DictConfig, config: dict[str, Any], directory: Path, callbacks: Sequence[pl.Callback], console: bool
) -> float:
    """Train and test, as one rank; see `run_frozen`.

    Args:
        cfg: composed and checked.
        config: ``cfg`` resolved.
        directory: of the run.
        callbacks: further ones.
        console: print progress and the summary.
    """
    device = training.device(cfg)
    with ExitStack() as stack:
        place = stack.enter_context(ranks.joined(training.processes(cfg), device))
        held, todo = None, FAILED
        try:
            if place.rank == 0:
                held = stack.enter_context(claim(directory))
                todo = _todo(cfg, config, directory)
        finally:  # also where rank zero gives up: the others must not wait for it
            todo = place.from_zero(todo)
        if todo == FAILED:
            raise SystemExit(2)  # rank zero has said why
        if todo == TRAIN:
            bar = bool(console and cfg.trainer.progress_bar and sys.stderr.isatty() and place.rank == 0)
            job = training.Job(cfg, config, directory, device, place, bar, held, tuple(callbacks))
            result = _recorded(job, echo=console and not bar)
            if place.rank == 0 and console:
                names = tuple(result["per_class"])
                print_summary(result, directory, names, Console())
        else:
            result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
            if place.rank == 0 and console:
                print_done(result, directory, Console())
    return float(result["metrics"]["val/accuracy"])


def _todo(cfg: DictConfig, config: dict[str, Any], directory: Path) -> int:
    """Look at what earlier attempts left; make the directory ready for this one, or find the run done."""
    if cfg.force:
        build.datamodule(cfg, build.samples(cfg))  # so that wrong data do not cost what is there
        _clear(directory)
    status = Status.read(directory)
    if status.state == "done" and (result := result_of(directory)) is not None:
        refuse_other_data(cfg, directory, result["data_digest"])
        return DONE
    if status.error is not None and status.error["type"] == NotFiniteError.__name__:
        _clear(directory)  # its weights are spoilt; any other failure goes on from the last epoch
    last = directory / "checkpoints" / "last.ckpt"
    if last.is_file():
        refuse_other_data(cfg, directory, training.resumable(last)["fersweep"]["data_digest"])
    for path in (*directory.glob(".*"), *directory.glob("checkpoints/.*")):
        if path.suffix in (".ckpt", ".csv", ".json", ".parquet", ".png", ".yaml"):
            path.unlink()  # half written by an attempt that was killed
    mark_pending(directory, choices_of(config), config["seed"])
    mark_running(directory)
    return TRAIN


def _recorded(job: training.Job, echo: bool) -> dict[str, Any]:
    """Train and test; whatever happens stands in the log and, unless another process has the run now, in its status."""
    zero, directory = job.ranks.rank == 0, job.directory
    with logs.to_run(directory, echo) if zero else logs.of_other_ranks(job.ranks.rank) as log:
        try:
            result = training.train(job)
            if zero:
                mark_done(directory)
        except LockLostError:
            log.exception("stopped")
            raise
        except UserError as error:
            log.debug("failed", exc_info=True)
            _mark_failed(job, error)
            raise
        except Exception as error:
            log.exception("failed")
            _mark_failed(job, error)
            raise
        except BaseException:
            log.warning(INTERRUPTED)
            if zero and Status.read(directory).state == "running":  # not failed, as another rank may have said
                mark_pending(directory)
            if job.bar:
                print(f"\n{INTERRUPTED}", file=sys.stderr)
            raise
        return result


def _mark_failed(job: training.Job, error: Exception) -> None:
    """Record a failure, unless the directory is another process's by now, which may be why it failed."""
    if job.held is None or not job.held.lost:
        mark_failed(job.directory, error)


def _clear(directory: Path) -> None:
    """Remove what an earlier attempt left, so that it cannot be mistaken for this one's."""
    mark_pending(directory)  # first: what is only half removed is not done any more
    for path in directory.iterdir():
        if path.name in (".lock", "status.json", "train.log"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def refuse_other_data(cfg: DictConfig, directory: Path, digest: str) -> None:
    """Keep two datasets out of one directory, wherever they lie: pixels, labels and ids must be the same."""
    if record.data_digest(build.samples(cfg)) != digest:
        raise UserError(
            f"{directory} was trained on other data than dataset.root={cfg.dataset.root} holds now: "
            "give this run its own sweep=NAME, or force=true to replace that one."
        )
