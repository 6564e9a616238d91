"""Work of each of three processes, and of one, for `training/test_distributed.py`."""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from torch import Tensor, distributed, nn

from fersweep.data.datamodule import Batch, FERDataModule
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split
from fersweep.errors import NotFiniteError
from fersweep.training import results as record
from fersweep.training.batch_norm import sync_batch_norm
from fersweep.training.callbacks import AtomicCheckpointIO, History, callbacks
from fersweep.training.distributed import all_gather_cat, all_reduce_sum, world_size
from fersweep.training.module import FERModule
from fersweep.training.trainer import ddp_strategy

WORLD = 3
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 1.0, 0.25, 1.5, 3.0])
RECIPE: dict[str, Any] = {
    "schedule": "cosine",
    "warmup_epochs": 1,
    "label_smoothing": 0.1,
    "mixup": 0.0,
    "cutmix": 0.0,
    "convolution_l2": 0.01,
    "test_crops": 10,
    "crop": None,
    "early_stopping_patience": 5,
    "ema_decay": 0.9,
    "layer_decay": 1.0,
    "decay_biases": True,
}
IGNORED = (
    "The '.*_dataloader' does not have many workers",
    "`isinstance.treespec, LeafSpec.` is deprecated",
    "Checkpoint directory .* exists and is not empty",
    "The `srun` command is available",
)


class Recorder(pl.Callback):
    """Records gradients of every step, and metrics and weights of every epoch."""

    def __init__(self, stop: bool) -> None:
        self.stop = stop
        self.gradients: list[list[Tensor]] = []
        self.rates: list[float] = []
        self.metrics: list[dict[str, float]] = []
        self.state: dict[str, Tensor] = {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.gradients.append([grad_of(parameter).clone() for parameter in pl_module.parameters()])
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.metrics.append({key: float(value) for key, value in trainer.callback_metrics.items()})
        self.state = {key: value.clone() for key, value in pl_module.state_dict().items()}
        trainer.should_stop = trainer.should_stop or self.stop


def grad_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def network(norm: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6) if norm else nn.Identity(),
        nn.ELU(),
        nn.Flatten(),
        nn.Linear(96, 7),
    )


def train(
    folder: Path, count: int, norm: bool = True, microbatches: int = 1, stop: bool = False, last: str | None = None
) -> dict[str, Any]:
    """Train for two epochs on ``count`` images in batches of 8, validate on 10, test on 17; return all outcomes.

    With ``stop`` it ends after one epoch; a second training resumes from ``last``.
    """
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    size = count + 27
    images, labels = rng.integers(0, 256, (size, 8, 8), dtype=np.uint8), rng.integers(0, 7, size)
    samples = Samples(images, labels, np.array([f"{index}" for index in range(size)]), CLASSES)
    split = Split(np.arange(count), np.arange(count, count + 10), np.arange(count + 10, size))
    data = FERDataModule(samples, split, None, 8, seed=1, workers=0, microbatches=microbatches)
    model, recipe = sync_batch_norm(network(norm), "cpu"), {**RECIPE, "max_epochs": 2}
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    module = FERModule(model, optimizer, recipe, CLASSES, WEIGHTS, seed=3)
    recorder, made = Recorder(stop), callbacks(recipe, folder, progress_bar=False)
    several = world_size() > 1
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=world_size(),
        strategy=ddp_strategy() if several else "auto",
        plugins=[AtomicCheckpointIO(), TorchElasticEnvironment() if several else LightningEnvironment()],
        max_epochs=2,
        gradient_clip_val=1.0,
        accumulate_grad_batches=microbatches,
        callbacks=[*made, recorder],
        logger=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    averaged = {key: value.clone() for key, value in module.state_dict().items()}
    trainer.test(module, datamodule=data, verbose=False)
    history = next(each for each in made if isinstance(each, History))
    best = trainer.checkpoint_callback
    return {
        "gradients": recorder.gradients,
        "rates": recorder.rates,
        "metrics": recorder.metrics,
        "state": recorder.state,
        "averaged": averaged,
        "images": history.images,
        "rows": [{key: row[key] for key in ("epoch", "val/loss", "lr")} for row in history.rows],
        "best": (Path(best.best_model_path).name, float(best.best_model_score)),  # type: ignore[union-attr,arg-type]
        "own_tested": sum(len(indices) for indices, *_ in module.test_outputs),
        "tested": record.gather(module.test_outputs),
    }


def mine(total: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Share of this process in ``total``, all of it in a single process."""
    if world_size() == 1:
        return total
    return total.split(list(sizes))[distributed.get_rank()]


def normalise(sizes: tuple[int, ...], mean: float = 1.0, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Forward and backward of batch norm on 7 maps, in shares of ``sizes``, gathered."""
    generator = torch.Generator().manual_seed(5)
    whole = torch.randn(7, 4, 3, 2, generator=generator) * torch.tensor([1, 2, 0.5, 3]).view(1, 4, 1, 1) + mean
    target = torch.randn(7, 4, 3, 2, generator=generator)
    norm = sync_batch_norm(nn.BatchNorm2d(4, momentum=0.3), "cpu")
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, 3.0]))
    x = mine(whole, sizes).to(dtype).requires_grad_()
    y = norm(x)
    (y.float() * mine(target, sizes)).sum().backward()
    return {
        "dtypes": (y.dtype, norm.running_mean.dtype),
        "output": all_gather_cat(y.detach().float()),
        "gradient": all_gather_cat(grad_of(x).float()),
        "weight": all_reduce_sum(grad_of(norm.weight)),
        "bias": all_reduce_sum(grad_of(norm.bias)),
        "state": norm.state_dict(),
        "evaluated": norm.eval()(whole).detach(),
    }


def step_with_nan() -> str:
    """Return the error of each process when the loss of the last one is NaN."""
    module = FERModule(network(norm=False), torch.optim.SGD, {**RECIPE, "mixup": 0.0}, CLASSES)
    images, labels = torch.full((2, 1, 8, 8), 7, dtype=torch.uint8), torch.tensor([1, 2])
    if world_size() > 1 and distributed.get_rank() == WORLD - 1:
        nn.init.constant_(next(module.parameters()), float("nan"))
    try:
        module.training_step(Batch(images, labels, labels, labels.repeat(world_size())), 0)
    except NotFiniteError as error:
        return str(error)
    return "finite"


def everything(folder: Path) -> dict[str, Any]:
    """Work of every process."""
    whole = torch.arange(24.0).view(8, 3)
    return {
        "norm": normalise((3, 2, 2)),
        "norm with an empty share": normalise((3, 4, 0)),
        "norm of bf16": normalise((3, 4, 0), dtype=torch.bfloat16),
        "norm far from zero": normalise((3, 2, 2), mean=3000.0),
        "gathered": all_gather_cat(mine(whole, (5, 0, 3))),
        "summed": all_reduce_sum(mine(whole, (2, 2, 4))[:2].sum(dim=0)),
        "nan": step_with_nan(),
        "trained": train(folder / "whole", 18),
        "microbatches": train(folder / "microbatches", 21, norm=False, microbatches=2),
        "interrupted": train(folder / "interrupted", 18, stop=True),
        "resumed": train(folder / "interrupted", 18, last=str(folder / "interrupted/checkpoints/last.ckpt")),
    }


def work(folder: Path, rank: int) -> None:
    """Entry point of a process."""
    with (folder / f"{rank}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29500}
    os.environ.update({key: str(value) for key, value in place.items()})
    warnings.simplefilter("error")
    for each in IGNORED:
        warnings.filterwarnings("ignore", each)
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", meeting, timeout=timedelta(seconds=100), rank=rank, world_size=WORLD)
    torch.save(everything(folder), folder / f"{rank}.pt")
    distributed.destroy_process_group()
