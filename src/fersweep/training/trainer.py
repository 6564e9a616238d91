"""Lightning's Trainer, set up for a run."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, SimpleProfiler
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from fersweep import build, compat
from fersweep.training.callbacks import AtomicCheckpointIO, callbacks
from fersweep.training.distributed import world_size
from fersweep.training.job import Job
from fersweep.training.trainer_arguments import check_trainer_arguments

BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel.__init__).parameters
)
"""Argument of DDP that broadcasts rank zero's buffers at every step; torch renamed it in 2.15."""


def ddp_strategy() -> DDPStrategy:
    """Return DDP without broadcasts of buffers: synchronised batch norm keeps them equal on all ranks."""
    options: dict[str, Any] = {BUFFERS: False, "gradient_as_bucket_view": True}
    return DDPStrategy(**options)


def build_trainer(job: Job, logger: Any, precision: str, microbatches: int) -> pl.Trainer:
    """Build the Trainer of a run.

    Args:
        job: the run.
        logger: Lightning's, or ``None``.
        precision: Lightning's name, such as ``bf16-mixed``.
        microbatches: per batch, whose gradients are accumulated.
    """
    cfg, distributed = job.cfg, world_size() > 1
    limit = cfg.trainer.limit_batches * microbatches if cfg.trainer.limit_batches else 1.0
    check = {f"on_{stage}_batch_end": lambda *_: job.check_claim() for stage in ("train", "validation", "test")}
    own = callbacks(job.config["recipe"], job.directory, job.progress_bar)
    trainer = pl.Trainer(
        **dict(job.config["trainer"]["lightning"]),
        accelerator="gpu" if job.device.type == "cuda" else "cpu",
        strategy=ddp_strategy() if distributed else "auto",
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=cfg.recipe.max_epochs,
        gradient_clip_val=cfg.recipe.gradient_clip,
        gradient_clip_algorithm=cfg.recipe.gradient_clip_mode,
        accumulate_grad_batches=microbatches,
        callbacks=[*own, *build.callbacks(cfg), *job.callbacks, LambdaCallback(**check)],
        logger=logger or False,
        profiler=_profiler(job),
        limit_train_batches=limit,
        limit_val_batches=limit,
        limit_test_batches=limit,
        limit_predict_batches=limit,
        default_root_dir=job.directory,
        enable_progress_bar=job.progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        # never a cluster's environment, which would requeue the job
        plugins=[AtomicCheckpointIO(), TorchElasticEnvironment() if distributed else LightningEnvironment()],
    )
    if distributed:
        compat.disable_signal_handlers(trainer)
    return trainer


def build_tester(cfg: DictConfig, device: torch.device, precision: str) -> pl.Trainer:
    """Build the Trainer that tests a trained network, in this process, as that of its run did.

    Args:
        cfg: of the run; its ``trainer.limit_batches`` does not count: all images are tested.
        device: to test on.
        precision: Lightning's name, such as ``bf16-mixed``.
    """
    check_trainer_arguments(cfg)
    return pl.Trainer(
        **dict(cfg.trainer.lightning),
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[LightningEnvironment()],
    )


def _profiler(job: Job) -> Profiler | None:
    if job.cfg.trainer.profiler is None:
        return None
    kind = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}[job.cfg.trainer.profiler]
    return kind(dirpath=job.directory, filename="profile")
