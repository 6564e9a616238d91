"""Training of a run: fit, choose the epoch on validation, test once, record the result."""

from __future__ import annotations

import gc
import logging
import time
from typing import Any

import pytorch_lightning as pl
import torch

from fersweep import build, tracking
from fersweep.data.datamodule import FERDataModule
from fersweep.data.samples import Samples
from fersweep.models.common import parameter_counts
from fersweep.runs.identity import run_hash, slug
from fersweep.runs.status import Status, write_config
from fersweep.training import artifacts, checkpoint, memory, results, teacher
from fersweep.training.callbacks import History
from fersweep.training.devices import precision
from fersweep.training.distributed import barrier, rank, world_size
from fersweep.training.job import Job
from fersweep.training.losses import class_weights
from fersweep.training.module import FERModule
from fersweep.training.network import network_for_training, operations
from fersweep.training.targets import SoftTargets
from fersweep.training.trainer import build_trainer

log = logging.getLogger("fersweep")


def train(job: Job) -> dict[str, Any]:
    """Train, test and record a run; return the content of ``result.json``.

    If memory runs out and ``trainer.auto_microbatch`` is set, the microbatch is halved and the run resumes from its
    last checkpoint.
    """
    started = time.perf_counter()
    if job.device.type == "cpu":
        memory.keep_freed()
    if rank() == 0:
        write_config(job.directory, job.config)
        left_out, missing = build.left_out(job.cfg)
        if left_out:
            log.log(logging.WARNING if missing else logging.INFO, "%s", left_out)
    samples = build.samples(job.cfg) if job.samples is None else job.samples
    metadata = _metadata(job, samples)
    config = {**job.config, "logger": None}
    names = run_hash(job.config), slug(job.config), job.config["sweep"]
    logger, exit_code = tracking.make_logger(job.config["logger"], job.directory, *names, config), 1
    try:
        while True:
            try:
                result = _fit_and_test(job, samples, metadata, logger, started)
                break
            except torch.OutOfMemoryError as error:
                metadata["parts"] = _more_microbatches(job, metadata["parts"], error)
                if job.last.is_file():
                    started = time.perf_counter()  # earlier seconds are in the checkpoint
        exit_code = 0
    finally:
        tracking.finish(logger, exit_code, job.directory)
    return result


def _metadata(job: Job, samples: Samples) -> dict[str, Any]:
    """Return the metadata of checkpoints; a resumed run keeps its precision and microbatches."""
    digest, framing = results.data_digest(samples), build.framing(job.cfg)
    choice, microbatches = precision(job.cfg.trainer.precision, job.device), 1
    if job.last.is_file():
        last = checkpoint.load_last(job.last)
        choice = last["fersweep"].get("precision", choice)
        microbatches = last["fersweep"].get("parts", microbatches)
        if rank() == 0:
            log.info("resuming after epoch %d", last["epoch"] + 1)
    return checkpoint.stored(job.config, samples.class_names, digest, choice, microbatches, framing)


def _more_microbatches(job: Job, microbatches: int, error: torch.OutOfMemoryError) -> int:
    """Return twice the microbatches, each of two images or more; raise ``error`` if impossible or not asked for."""
    batch_size, more = job.cfg.recipe.batch_size, 2 * microbatches
    if not job.cfg.trainer.auto_microbatch or batch_size // more < 2:
        raise error
    log.warning(
        "out of memory with microbatches of %d images: resuming with %d",
        batch_size // microbatches,
        batch_size // more,
    )
    error.__traceback__ = None  # its frames refer to the network
    gc.collect()
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    return more


def _fit_and_test(job: Job, samples: Samples, metadata: dict[str, Any], logger: Any, started: float) -> dict[str, Any]:
    """Fit, from the last checkpoint if one exists; test the best; write the result."""
    microbatches = metadata["parts"]
    data = build.datamodule(job.cfg, samples, microbatches)
    pl.seed_everything(job.cfg.seed, workers=True, verbose=False)
    module = _module(job, data, metadata)
    trainer = build_trainer(job, logger, metadata["precision"], microbatches)
    last = str(job.last) if job.last.is_file() else None
    trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    barrier()
    best_epoch, tested, temperature = _test(job, trainer, module, data)
    (history,) = (each for each in trainer.callbacks if isinstance(each, History))  # type: ignore[attr-defined]
    val_accuracy = next(row["val/accuracy"] for row in history.rows if row["epoch"] == best_epoch)
    flops = operations(job.cfg, len(data.samples.class_names), history.images)
    result = results.summary(job.config, tested, val_accuracy, temperature) | {
        "best_epoch": best_epoch,
        "epochs": len(history.rows),
        **parameter_counts(module.model),
        **flops,
        "seconds": round(history.earlier + time.perf_counter() - started, 3),
        "images_per_second": round(history.images_per_second(), 2),
        "data_digest": metadata["data_digest"],
        "microbatch": job.cfg.recipe.batch_size // (world_size() * microbatches),
        "environment": results.environment(job.device, metadata["precision"], world_size()),
    }
    if rank() == 0:
        artifacts.write(job, result | {"code": Status.read(job.directory).code}, tested, history, logger)
    return result


def _module(job: Job, data: FERDataModule, metadata: dict[str, Any]) -> FERModule:
    names = data.samples.class_names
    return FERModule(
        network_for_training(job.cfg, len(names), job.device, resumed=job.last.is_file()),
        build.optimizer_factory(job.cfg),
        job.config["recipe"],
        names,
        class_weights(job.cfg.recipe.class_weights, data.train_class_counts()),
        job.cfg.seed,
        metadata,
        teacher.soft_labels(job.cfg, data.samples, data.split.train, job.device),
        SoftTargets.of(data.samples, job.cfg.seed),
    )


def _test(job: Job, trainer: pl.Trainer, module: FERModule, data: FERDataModule) -> tuple[int, results.Tested, float]:
    """Test the best checkpoint; return its epoch, counted from 1, the outcome and the temperature."""
    best = checkpoint.load_weights(module.model, job.best)
    best_epoch, temperature = best["epoch"] + 1, best["fersweep"].get("temperature", 1.0)
    del best  # a second copy of the weights
    if job.cfg.recipe.augment_validation:  # the epoch's temperature was fitted on augmented images
        trainer.predict(module, datamodule=data, return_predictions=False)
        temperature = module.metadata["temperature"]
    return best_epoch, results.test(trainer, module, data), temperature
