"""One run: claim its directory, seed, build, fit, test the best checkpoint once, record."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from filelock import FileLock, Timeout
from omegaconf import DictConfig
from rich.console import Console

from fersweep import build, checkpoint, logs, record, tracking
from fersweep.callbacks import AtomicCheckpointIO, History, callbacks, precision
from fersweep.config import choices_of, to_dict, validate
from fersweep.data.datamodule import FERDataModule
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import majority_accuracy, shared_subjects
from fersweep.errors import NotFiniteError, UserError
from fersweep.module import FERModule
from fersweep.report import figures
from fersweep.report.statistics import wilson
from fersweep.report.summary import print_done, print_summary
from fersweep.sweep.identity import run_dir as run_directory
from fersweep.sweep.identity import run_hash, slug
from fersweep.sweep.status import Status, atomic_path, mark_done, mark_failed, mark_pending, mark_running, write_json


def run(cfg: DictConfig) -> float:
    """Run what ``train.py`` was asked for; a user's mistake ends it with one sentence and exit code 2.

    Returns:
        The best checkpoint's validation accuracy: what a sweeper may optimise. Never a test score.
    """
    try:
        return run_one(cfg)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except SystemExit as stop:  # Lightning's, on a signal that ends the process
        raise SystemExit(stop.code or 143) from None


def run_one(cfg: DictConfig) -> float:
    """Train and test one configuration, or find it done; see `run`.

    Raises:
        UserError: for what the user can put right; ``status.json`` then says ``failed``, if the run had begun.
    """
    config, directory = prepare(cfg)
    with _claimed(directory):
        if cfg.force:
            build.datamodule(cfg, build.samples(cfg))  # so that wrong data do not cost what is there
            _clear(directory)
        status = Status.read(directory)
        if status.state == "done" and (directory / "result.json").is_file():
            return _already_done(cfg, directory)
        if status.error is not None and status.error["type"] == NotFiniteError.__name__:
            _clear(directory)  # its weights are spoilt; any other failure goes on from the last epoch
        last = directory / "checkpoints" / "last.ckpt"
        if last.is_file():
            _refuse_other_data(cfg, directory, lambda: _resumable(last)["fersweep"]["data_digest"])
        mark_running(directory)
        bar = cfg.trainer.progress_bar and sys.stderr.isatty()
        with logs.to_run(directory, echo=not bar) as log:
            try:
                result, class_names = _train(cfg, config, directory, bar)
            except UserError as error:
                log.debug("failed", exc_info=True)
                mark_failed(directory, error)
                raise
            except Exception as error:
                log.exception("failed")
                mark_failed(directory, error)
                raise
            except BaseException:
                log.warning("interrupted; the same command goes on from the last epoch")
                mark_pending(directory)
                raise
        mark_done(directory)
    print_summary(result, directory, class_names, Console())
    return float(result["metrics"]["val/accuracy"])


def prepare(cfg: DictConfig) -> tuple[dict[str, Any], Path]:
    """Refuse what can be known to fail before any data are read; return the resolved configuration and the directory.

    Raises:
        UserError: for settings that are wrong or do not fit each other, missing weights, a missing device.
    """
    validate(cfg)
    build.check(cfg, num_classes=len(CLASSES))
    _device(cfg.trainer.accelerator)
    if cfg.weights is not None:
        checkpoint.find(Path(cfg.weights))
    config = to_dict(cfg)
    return config, run_directory(config)


@contextmanager
def _claimed(directory: Path) -> Iterator[None]:
    """Make the run's directory and hold its lock, or say why not; the lock of a dead process is free."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{directory} is being trained by another process: wait for it, or end it.") from error
    except OSError as error:
        raise UserError(
            f"{directory} cannot be written ({error.strerror}): choose another place with outputs=PATH."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _clear(directory: Path) -> None:
    """Remove what an earlier attempt left, so that it cannot be mistaken for this one's."""
    for path in directory.iterdir():
        if path.name in (".lock", "status.json", "train.log"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    mark_pending(directory)


def _already_done(cfg: DictConfig, directory: Path) -> float:
    """Report a finished run again, after making sure that it is of the same data."""
    result: dict[str, Any] = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    _refuse_other_data(cfg, directory, lambda: result["data_digest"])
    print_done(result, directory, Console())
    return float(result["metrics"]["val/accuracy"])


def _resumable(last: Path) -> dict[str, Any]:
    try:
        return checkpoint.load(last)
    except UserError as error:
        raise UserError(f"{error} With force=true the run starts afresh.") from error


def _refuse_other_data(cfg: DictConfig, directory: Path, digest: Callable[[], str]) -> None:
    """Keep two datasets out of one directory, wherever they lie: pixels, labels and ids must be the same."""
    if record.data_digest(build.samples(cfg)) != digest():
        raise UserError(
            f"{directory} was trained on other data than dataset.root={cfg.dataset.root} holds now: "
            "give this run its own sweep=NAME, or force=true to replace that one."
        )


def _train(
    cfg: DictConfig, config: dict[str, Any], directory: Path, bar: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Train, test and record; return what ``result.json`` holds, and the class names."""
    begun = time.perf_counter()
    with atomic_path(directory / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    device = _device(cfg.trainer.accelerator)
    samples = build.samples(cfg)
    data = build.datamodule(cfg, samples)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    digest = record.data_digest(samples)
    module = _module(cfg, config, data, digest)
    kept = callbacks(config["recipe"], directory, bar)
    history = next(each for each in kept if isinstance(each, History))
    logger = tracking.make_logger(
        config["logger"], directory, run_hash(config), slug(config), config["sweep"], {**config, "logger": None}
    )
    exit_code = 1
    try:
        trainer = _trainer(cfg, directory, kept, logger, device, bar)
        last = directory / "checkpoints" / "last.ckpt"
        resume = str(last) if last.is_file() else None
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        best = directory / "checkpoints" / "best.ckpt"
        best_epoch = checkpoint.slim(best)["epoch"] + 1
        checkpoint.load_weights(module.model, best)
        trainer.test(module, datamodule=data, verbose=False)
        result, counts = _result(config, samples, data, module, directory)
        validation = next(row["val/accuracy"] for row in history.rows if row["epoch"] == best_epoch)
        result["metrics"] = record.jsonable({"val/accuracy": validation, **result["metrics"]})
        result |= {
            "best_epoch": best_epoch,
            "epochs": len(history.rows),
            **record.parameters(module.model),
            "seconds": round(history.earlier + time.perf_counter() - begun, 3),
            "images_per_second": round(history.images_per_second(), 2),
            "environment": record.environment(device, str(trainer.precision)),
        }
        _figures(config, result, counts, samples, history, directory)
        _log_result(logger, result, module, samples, directory)
        write_json(directory / "result.json", result)
        exit_code = 0
    finally:
        tracking.finish(logger, exit_code)
    return result, samples.class_names


def _device(accelerator: str) -> torch.device:
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer=gpu: torch sees no CUDA device here; use trainer=auto or trainer=cpu.")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def _module(cfg: DictConfig, config: dict[str, Any], data: FERDataModule, digest: str) -> FERModule:
    """The network with its recipe, laid out and compiled as asked, started from ``weights`` if given."""
    names = data.samples.class_names
    model = build.model(cfg, len(names))
    if cfg.weights is not None:
        checkpoint.load_weights(model, Path(cfg.weights))
    if cfg.trainer.memory_format == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    if cfg.trainer.compile:
        model.compile()
    return FERModule(
        model,
        build.optimizer_factory(cfg),
        config["recipe"],
        names,
        record.class_weights(cfg.recipe.class_weights, data.train_class_counts()),
        cfg.seed,
        checkpoint.stored(config, names, digest),
    )


def _trainer(
    cfg: DictConfig, directory: Path, kept: list[pl.Callback], logger: Any, device: torch.device, bar: bool
) -> pl.Trainer:
    limit = cfg.trainer.limit_batches or 1.0
    profiler: Any = None
    if cfg.trainer.profiler is not None:
        kind = {"simple": pl.profilers.SimpleProfiler, "advanced": pl.profilers.AdvancedProfiler}
        profiler = kind[cfg.trainer.profiler](dirpath=directory, filename="profile")
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision(cfg.trainer.precision, device),  # type: ignore[arg-type]
        max_epochs=cfg.recipe.max_epochs,
        gradient_clip_val=cfg.recipe.gradient_clip,
        callbacks=kept,
        logger=logger or False,
        profiler=profiler,
        limit_train_batches=limit,
        limit_val_batches=limit,
        limit_test_batches=limit,
        default_root_dir=directory,
        enable_progress_bar=bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        plugins=[AtomicCheckpointIO()],
    )


def _result(
    config: dict[str, Any], samples: Samples, data: FERDataModule, module: FERModule, directory: Path
) -> tuple[dict[str, Any], Any]:
    """Write the predictions; return what they say, and the confusion matrix."""
    indices, single, final = record.gather(module.test_outputs)
    record.write_predictions(directory / "predictions.parquet", samples, indices, final)
    metrics, counts = record.test_metrics(torch.from_numpy(samples.labels[indices.numpy()]), single, final)
    result = {
        "run": run_hash(config),
        "choices": choices_of(config),
        "seed": config["seed"],
        "metrics": metrics,
        "accuracy_interval": list(wilson(int(counts.trace()), int(counts.sum()))),
        "majority_baseline": majority_accuracy(samples, data.split),
        "shared_subjects": shared_subjects(samples, data.split),
        "train_n": len(data.split.train),
        "val_n": len(data.split.val),
        "data_digest": module.stored["data_digest"],
        "per_class": record.per_class(counts, samples.class_names),
        "confusion_matrix": counts.tolist(),
    }
    return result, counts


def _figures(
    config: dict[str, Any], result: dict[str, Any], counts: Any, samples: Samples, history: History, directory: Path
) -> None:
    choices = result["choices"]
    title = f"{choices['backbone']} + {choices['attention']}"
    subtitle = f"{choices['dataset']}, split {choices['split']}, recipe {choices['recipe']}, seed {config['seed']}"
    figures.confusion_matrix(counts, samples.class_names, directory / "confusion_matrix.png", title, subtitle)
    figures.learning_curves(history.frame(), directory / "learning_curves.png", result["best_epoch"])


def _log_result(logger: Any, result: dict[str, Any], module: FERModule, samples: Samples, directory: Path) -> None:
    """Put the run's figures and the numbers that stand for it into W&B or TensorBoard, where one is used."""
    if logger is None:
        return
    indices, _, final = record.gather(module.test_outputs)
    labels = samples.labels[indices.numpy()]
    tracking.log_confusion_matrix(logger, labels.tolist(), final.argmax(dim=1).tolist(), samples.class_names)
    shown = ("confusion_matrix", "learning_curves")
    tracking.log_figures(logger, {f"figures/{name}": directory / f"{name}.png" for name in shown})
    tracking.log_summary(logger, {**result["metrics"], "best_epoch": result["best_epoch"]})
