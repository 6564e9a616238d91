"""What a run does between its claim and its end: fit, choose on validation, test once, write down what came out."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from fersweep import build, compat, tracking
from fersweep.config.schema import choices_of, title, title_of
from fersweep.data import twins
from fersweep.data.datamodule import FERDataModule
from fersweep.data.samples import Samples
from fersweep.data.splits import Split, majority_accuracy, shared
from fersweep.errors import LockLostError, UserError
from fersweep.files import write_json
from fersweep.models.common import parameter_counts
from fersweep.report import figures, leaks
from fersweep.report.statistics import wilson
from fersweep.runs.identity import run_hash, slug
from fersweep.runs.lock import Claim
from fersweep.runs.status import write_config
from fersweep.text import counted, did_you_mean
from fersweep.training import calibration, checkpoint, memory
from fersweep.training import results as record
from fersweep.training.callbacks import AtomicCheckpointIO, History, callbacks, precision
from fersweep.training.distributed import sync_batch_norm
from fersweep.training.module import FERModule
from fersweep.training.ranks import Ranks

log = logging.getLogger("fersweep")

BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel.__init__).parameters
)
"""Torch's name of whether each step sends rank zero's buffers to all; it was changed in 2.15."""


@dataclass(frozen=True)
class Job:
    """One run to train, as one of its processes sees it.

    Attributes:
        cfg: the configuration, and ``config`` the same resolved.
        directory: the run's; ``held`` is rank zero's claim to it.
        device: the kind of device.
        ranks: this process's place.
        bar: whether to draw a progress bar.
        extra: callbacks of whoever started the process.
    """

    cfg: DictConfig
    config: dict[str, Any]
    directory: Path
    device: torch.device
    ranks: Ranks
    bar: bool
    held: Claim | None
    extra: tuple[pl.Callback, ...]

    @property
    def last(self) -> Path:
        """The checkpoint that training goes on from."""
        return self.directory / "checkpoints" / "last.ckpt"


class StopWhenLost(pl.Callback):
    """Ends a run whose directory another process has taken over, before it writes there again."""

    def __init__(self, held: Claim) -> None:
        self.held = held

    def on_train_batch_end(self, *_: Any) -> None:
        refuse_if_lost(self.held)

    def on_validation_batch_end(self, *_: Any) -> None:
        refuse_if_lost(self.held)

    def on_test_batch_end(self, *_: Any) -> None:
        refuse_if_lost(self.held)


def refuse_if_lost(held: Claim | None) -> None:
    """Raise LockLostError where the run's directory is another process's by now."""
    if held is not None and held.lost:
        raise LockLostError(f"The lock of the run's directory is lost, {held.lost}: this process leaves the run alone.")


class FirstStep(pl.Callback):
    """Notes in the log when training begins: everything before it is the start-up."""

    noted = False

    def on_train_batch_start(self, *_: Any) -> None:
        if not self.noted:
            log.debug("first training step")
            self.noted = True


OWNED = {
    "accelerator": "trainer.accelerator",
    "strategy": "trainer.strategy",
    "devices": "trainer.devices",
    "num_nodes": "trainer.num_nodes",
    "precision": "trainer.precision",
    "max_epochs": "recipe.max_epochs",
    "gradient_clip_val": "recipe.gradient_clip",
    "accumulate_grad_batches": "trainer.auto_microbatch",
    "callbacks": "callbacks",
    "logger": "logger",
    "profiler": "trainer.profiler",
    "limit_train_batches": "trainer.limit_batches",
    "limit_val_batches": "trainer.limit_batches",
    "limit_test_batches": "trainer.limit_batches",
    "overfit_batches": "trainer.overfit_batches",
    "enable_progress_bar": "trainer.progress_bar",
    "enable_model_summary": "callbacks=summary",
    "default_root_dir": "outputs",
    "max_steps": "recipe.max_epochs",
    "min_epochs": "recipe.max_epochs",
    "min_steps": "recipe.max_epochs",
    "max_time": "hydra.launcher.timeout",
    "val_check_interval": "",
    "check_val_every_n_epoch": "",
    "enable_checkpointing": "",
    "fast_dev_run": "experiment=debug_batch",
    "gradient_clip_algorithm": "recipe.gradient_clip",
    "inference_mode": "",
    "log_every_n_steps": "",
    "num_sanity_val_steps": "",
    "plugins": "",
    "barebones": "",
    "limit_predict_batches": "trainer.limit_batches",
    "sync_batchnorm": "trainer=ddp",
    "reload_dataloaders_every_n_epochs": "",
    "use_distributed_sampler": "",
}
"""Arguments of Lightning's Trainer that are decided here, and the setting to use instead where there is one."""


def check_lightning(cfg: DictConfig) -> None:
    """Refuse what ``trainer.lightning`` cannot hold.

    Raises:
        UserError: for an argument that Lightning's Trainer does not have, or that is decided elsewhere.
    """
    known = [name for name in signature(pl.Trainer.__init__).parameters if name != "self"]
    for name in cfg.trainer.lightning:
        if name not in known:
            free = [each for each in known if each not in OWNED]
            hint = did_you_mean(str(name), free)
            raise UserError(f"Lightning's Trainer has no argument {name!r}{hint}; choices: {', '.join(free)}.")
        if name in OWNED:
            instead = f": set {OWNED[name]} instead" if OWNED[name] else ""
            raise UserError(f"trainer.lightning.{name} cannot be set, fersweep decides it{instead}.")


def processes(cfg: DictConfig) -> int:
    """How many processes train the run, on all machines."""
    return int(cfg.trainer.devices * cfg.trainer.num_nodes)


def device(cfg: DictConfig) -> torch.device:
    """The kind of device a run computes on here.

    Raises:
        UserError: where the run asks for more GPUs than torch sees.
    """
    there, trainer = torch.cuda.device_count(), cfg.trainer
    if trainer.accelerator == "gpu" and there < trainer.devices:
        few = "no CUDA device" if there == 0 else counted(there, "CUDA device")
        instead = "use trainer=auto or trainer=cpu" if there == 0 else "lower trainer.devices"
        raise UserError(
            f"trainer={trainer.name} asks for trainer.devices={trainer.devices}, but torch sees {few} here: {instead}."
        )
    return torch.device("cuda" if trainer.accelerator != "cpu" and there > 0 else "cpu")


def resumable(last: Path) -> dict[str, Any]:
    """The content of ``last.ckpt``."""
    try:
        return checkpoint.load(last)
    except UserError as error:
        raise UserError(f"{error} With force=true the run starts afresh.") from error


def _earlier(last: Path) -> tuple[dict[str, Any], int] | None:
    """What the last checkpoint says of the run, and its epoch; not its weights, which would stay in memory."""
    if not last.is_file():
        return None
    content = resumable(last)
    return content["fersweep"], content["epoch"]


def train(job: Job) -> dict[str, Any]:
    """Train, test and record one run; returns what ``result.json`` holds (on rank zero, and little of it elsewhere).

    Where memory runs out and ``trainer.auto_microbatch`` is set, what is computed at once is halved and the run goes on
    from its last checkpoint.
    """
    begun = time.perf_counter()
    if job.device.type == "cpu":
        memory.keep_freed()
    if job.ranks.rank == 0:
        write_config(job.directory, job.config)
    samples = build.samples(job.cfg)
    digest = record.data_digest(samples)
    earlier = _earlier(job.last)
    logger = tracking.make_logger(
        job.config["logger"],
        job.directory,
        run_hash(job.config),
        slug(job.config),
        job.config["sweep"],
        {**job.config, "logger": None},
    )
    arithmetic, parts, exit_code = precision(job.cfg.trainer.precision, job.device), 1, 1
    if earlier:
        about, epoch = earlier
        arithmetic, parts = about.get("precision", arithmetic), about.get("parts", parts)
        if job.ranks.rank == 0:
            log.info("going on after epoch %d", epoch + 1)
    try:
        while True:
            try:
                result = _attempt(job, samples, digest, logger, arithmetic, parts, begun)
                break
            except torch.OutOfMemoryError as error:
                parts = _more_parts(job, parts, error)
                if job.last.is_file():
                    begun = time.perf_counter()  # the checkpoint knows how long it took so far
        exit_code = 0
    finally:
        tracking.finish(logger, exit_code)
    return result


def _more_parts(job: Job, parts: int, error: torch.OutOfMemoryError) -> int:
    """Twice as many parts to a batch, none of a single image; or the error, where that is not wanted or possible."""
    size = job.cfg.recipe.batch_size
    if not job.cfg.trainer.auto_microbatch or size // (2 * parts) < 2:
        raise error
    log.warning("memory ran out with %d images at once: going on with %d", size // parts, size // (2 * parts))
    error.__traceback__ = None  # its frames hold the network
    gc.collect()
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    return 2 * parts


def _attempt(
    job: Job, samples: Samples, digest: str, logger: Any, arithmetic: str, parts: int, begun: float
) -> dict[str, Any]:
    """Fit from the last checkpoint, if there is one, to the end; test the best; write what there is to see."""
    cfg, zero = job.cfg, job.ranks.rank == 0
    data = build.datamodule(cfg, samples, parts)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    shown = build.framing(cfg)
    about = checkpoint.stored(job.config, samples.class_names, digest, arithmetic, parts, shown)
    module = _module(job, data, about)
    kept = callbacks(job.config["recipe"], job.directory, job.bar)
    history = next(each for each in kept if isinstance(each, History))
    trainer = _trainer(job, kept, logger, arithmetic, parts)
    if job.ranks.world > 1:  # Lightning's on SIGTERM waits for the other ranks, which may be waiting for this one
        compat.disable_signal_handlers(trainer)
    trainer.fit(module, datamodule=data, ckpt_path=str(job.last) if job.last.is_file() else None, weights_only=True)
    best = job.directory / "checkpoints" / "best.ckpt"
    job.ranks.meet()
    chosen = checkpoint.load_weights(module.model, best)
    best_epoch, temperature = chosen["epoch"] + 1, chosen["fersweep"].get("temperature", 1.0)
    del chosen  # a second copy of the weights
    if cfg.recipe.augment_validation:  # the epoch was chosen on augmented images; nobody will ask about such
        trainer.predict(module, datamodule=data, return_predictions=False)
        temperature = module.stored["temperature"]
    trainer.test(module, datamodule=data, verbose=False)
    outputs = record.gather(module.test_outputs)
    tested = replace(data.split, test=outputs[0].numpy())  # fewer than all where trainer.limit_batches says so
    found = twins.find(samples, tested)
    result, counts = _result(job.config, samples, tested, outputs, found)
    validation = next(row["val/accuracy"] for row in history.rows if row["epoch"] == best_epoch)
    result["metrics"] = record.jsonable({"val/accuracy": validation, **result["metrics"]})
    indices, single, _ = outputs
    labels = torch.from_numpy(samples.labels[indices.numpy()])
    result["calibration"] = calibration.summary(single, labels, temperature)
    result |= {
        "best_epoch": best_epoch,
        "epochs": len(history.rows),
        **parameter_counts(module.model),
        "seconds": round(history.earlier + time.perf_counter() - begun, 3),
        "images_per_second": round(history.images_per_second(), 2),
        "data_digest": digest,
        "microbatch": cfg.recipe.batch_size // (job.ranks.world * parts),
        "environment": record.environment(job.device, arithmetic, job.ranks.world),
    }
    if zero:
        _write(job, result, samples, outputs, found.any, counts, history, logger, temperature)
    return result


def _module(job: Job, data: FERDataModule, about: dict[str, Any]) -> FERModule:
    """The network with its recipe, laid out and compiled as asked, started from ``weights`` if given."""
    cfg, names = job.cfg, data.samples.class_names
    model = build.model(cfg, len(names))
    if cfg.weights is not None:
        checkpoint.load_weights(model, Path(cfg.weights))
    if job.ranks.world > 1:
        model = sync_batch_norm(model, job.device.type)
    if cfg.trainer.memory_format == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    if cfg.trainer.compile:
        model.compile()
    return FERModule(
        model,
        build.optimizer_factory(cfg),
        job.config["recipe"],
        names,
        record.class_weights(cfg.recipe.class_weights, data.train_class_counts()),
        cfg.seed,
        about,
    )


def _trainer(job: Job, kept: list[pl.Callback], logger: Any, arithmetic: str, parts: int) -> pl.Trainer:
    cfg = job.cfg
    limit = cfg.trainer.limit_batches
    profiler: Any = None
    if cfg.trainer.profiler is not None:
        kind = {"simple": pl.profilers.SimpleProfiler, "advanced": pl.profilers.AdvancedProfiler}
        profiler = kind[cfg.trainer.profiler](dirpath=job.directory, filename="profile")
    several = job.ranks.world > 1
    own = build.callbacks(cfg)
    # buffers: batch norm's are equal on all ranks already; the environment: never a cluster's own, which would requeue
    options: dict[str, Any] = {BUFFERS: False, "gradient_as_bucket_view": True}
    ddp = DDPStrategy(**options) if several else "auto"
    environment = TorchElasticEnvironment() if several else LightningEnvironment()
    return pl.Trainer(
        **dict(job.config["trainer"]["lightning"]),
        accelerator="gpu" if job.device.type == "cuda" else "cpu",
        strategy=ddp,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        precision=arithmetic,  # type: ignore[arg-type]
        max_epochs=cfg.recipe.max_epochs,
        gradient_clip_val=cfg.recipe.gradient_clip,
        accumulate_grad_batches=parts,
        callbacks=[*kept, FirstStep(), *own, *job.extra, *([StopWhenLost(job.held)] if job.held else [])],
        logger=logger or False,
        profiler=profiler,
        limit_train_batches=limit * parts if limit else 1.0,
        limit_val_batches=limit * parts if limit else 1.0,
        limit_test_batches=limit * parts if limit else 1.0,
        limit_predict_batches=limit * parts if limit else 1.0,
        default_root_dir=job.directory,
        enable_progress_bar=job.bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        plugins=[AtomicCheckpointIO(), environment],
    )


def _result(
    config: Mapping[str, Any],
    samples: Samples,
    split: Split,
    outputs: tuple[torch.Tensor, ...],
    found: twins.Twins,
) -> tuple[dict[str, Any], Any]:
    """What the test says, and the confusion matrix."""
    indices, single, final = outputs
    labels = torch.from_numpy(samples.labels[indices.numpy()])
    metrics, counts = record.test_metrics(labels, single, final)
    metrics |= record.without_twins(labels, final, found.any[indices.numpy()])
    (people, of_people), (sequences, of_sequences) = (
        shared(names, split) for names in (samples.subjects, samples.sequences)
    )
    result = {
        "run": run_hash(config),
        "title": title(config),
        "choices": choices_of(config),
        "seed": config["seed"],
        "metrics": metrics,
        "accuracy_interval": list(wilson(int(counts.trace()), int(counts.sum()))),
        "majority_baseline": majority_accuracy(samples, split),
        "shared_subjects": people,
        "shared_subject_images": of_people,
        "shared_sequences": sequences,
        "shared_sequence_images": of_sequences,
        "twins": {**found.counts(), "dropped": split.dropped},
        "fold": split.fold,
        "folds": split.folds,
        "train_n": len(split.train),
        "val_n": len(split.val),
        "per_class": record.per_class(counts, samples.class_names),
        "confusion_matrix": counts.tolist(),
    }
    return result, counts


def _write(
    job: Job,
    result: dict[str, Any],
    samples: Samples,
    outputs: tuple[torch.Tensor, ...],
    twin: Any,
    counts: Any,
    history: History,
    logger: Any,
    temperature: float,
) -> None:
    """The run's files, ``result.json`` last; and the same for W&B or TensorBoard, where one is used."""
    refuse_if_lost(job.held)
    directory, (indices, _, final) = job.directory, outputs
    record.write_predictions(directory / "predictions.parquet", samples, indices, final, twin)
    choices = result["choices"]
    data = title_of(job.config, "dataset")
    part = ", ".join(each for each in (choices["split"], leaks.fold(result)) if each)
    subtitle = f"{data}, split {part}, recipe {choices['recipe']}, seed {result['seed']}"
    figures.confusion_matrix(counts, samples.class_names, directory / "confusion_matrix.png", result["title"], subtitle)
    figures.learning_curves(history.frame(), directory / "learning_curves.png", result["best_epoch"])
    if logger is not None:
        labels = samples.labels[indices.numpy()].tolist()
        tracking.log_confusion_matrix(logger, labels, final.argmax(dim=1).tolist(), samples.class_names)
        shown = ("confusion_matrix", "learning_curves")
        tracking.log_figures(logger, {f"figures/{name}": directory / f"{name}.png" for name in shown})
        also = ("best_epoch", "params_total", "params_trainable", "images_per_second")
        tracking.log_summary(logger, {**result["metrics"], **{key: result[key] for key in also}})
    kept = {**result["metrics"], "majority_baseline": result["majority_baseline"]}
    tested = {key: kept[key] for key in checkpoint.TESTED if key in kept}
    checkpoint.add(directory / "checkpoints" / "best.ckpt", tested=tested, temperature=temperature)
    write_json(directory / "result.json", result)
