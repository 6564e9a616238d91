"""A run on three processes computes what one process computes from the same batches, an uneven or empty share included.

The processes are started once, by the fixture `outcomes`; the tests compare what they left.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import warnings
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import quickly_composed
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, distributed, nn

from fersweep import build
from fersweep.data.datamodule import Batch, FERDataModule
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split
from fersweep.errors import NotFiniteError
from fersweep.sweep.local.processes import warm_up
from fersweep.training import results as record
from fersweep.training.callbacks import AtomicCheckpointIO, History, callbacks
from fersweep.training.distributed import (
    GPUSyncBatchNorm,
    SyncBatchNorm2d,
    gather_to_all,
    summed,
    sync_batch_norm,
    world_size,
)
from fersweep.training.fit import BUFFERS
from fersweep.training.module import FERModule

WORLD = 3
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 1.0, 0.25, 1.5, 3.0])
RECIPE: dict[str, Any] = {
    "schedule": "cosine",
    "warmup_epochs": 1,
    "label_smoothing": 0.1,
    "mixup": 0.0,
    "convolution_l2": 0.01,
    "test_crops": 10,
    "early_stopping_patience": 5,
    "ema_decay": 0.9,
}
IGNORED = (
    "The '.*_dataloader' does not have many workers",
    "`isinstance.treespec, LeafSpec.` is deprecated",
    "Checkpoint directory .* exists and is not empty",
    "The `srun` command is available",
)
pytestmark = [pytest.mark.filterwarnings(f"ignore:{each}") for each in IGNORED]


class Recorder(pl.Callback):
    """Keeps gradients of every step, and what an epoch ends with."""

    def __init__(self, stop: bool) -> None:
        self.stop = stop
        self.gradients: list[list[Tensor]] = []
        self.rates: list[float] = []
        self.metrics: list[dict[str, float]] = []
        self.state: dict[str, Tensor] = {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.gradients.append([_gradient(parameter).clone() for parameter in pl_module.parameters()])
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.metrics.append({key: float(value) for key, value in trainer.callback_metrics.items()})
        self.state = {key: value.clone() for key, value in pl_module.state_dict().items()}
        trainer.should_stop = trainer.should_stop or self.stop


def _gradient(parameter: Tensor) -> Tensor:
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
    folder: Path, count: int, norm: bool = True, parts: int = 1, stop: bool = False, last: str | None = None
) -> dict[str, Any]:
    """Train for two epochs on ``count`` images in batches of 8, validate on 10, test on 17; what there is to compare.

    With ``stop`` the first epoch is the end; a second training goes on from ``last``.
    """
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    size = count + 27
    images, labels = rng.integers(0, 256, (size, 8, 8), dtype=np.uint8), rng.integers(0, 7, size)
    samples = Samples(images, labels, np.array([f"{index}" for index in range(size)]), CLASSES)
    split = Split(np.arange(count), np.arange(count, count + 10), np.arange(count + 10, size))
    data = FERDataModule(samples, split, None, 8, seed=1, workers=0, microbatches=parts)
    model, recipe = sync_batch_norm(network(norm), "cpu"), {**RECIPE, "max_epochs": 2}
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    module = FERModule(model, optimizer, recipe, CLASSES, WEIGHTS, seed=3)
    recorder, made = Recorder(stop), callbacks(recipe, folder, progress_bar=False)
    several = world_size() > 1
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=world_size(),
        strategy=DDPStrategy(**{BUFFERS: False}, gradient_as_bucket_view=True) if several else "auto",
        plugins=[AtomicCheckpointIO(), TorchElasticEnvironment() if several else LightningEnvironment()],
        max_epochs=2,
        gradient_clip_val=1.0,
        accumulate_grad_batches=parts,
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


def mine(whole: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """This process's share of ``whole``; the whole in a single process."""
    if world_size() == 1:
        return whole
    return whole.split(list(sizes))[distributed.get_rank()]


def normalise(sizes: tuple[int, ...], mean: float = 1.0, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Forward and backward of batch norm on 7 maps, in shares of ``sizes``; everything joined again."""
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
        "output": gather_to_all(y.detach().float()),
        "gradient": gather_to_all(_gradient(x).float()),
        "weight": summed(_gradient(norm.weight)),
        "bias": summed(_gradient(norm.bias)),
        "state": norm.state_dict(),
        "evaluated": norm.eval()(whole).detach(),
    }


def step_with_nan() -> str:
    """The last process's loss is not a number: what each of them says."""
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
    """What all processes do, and one process alone."""
    whole = torch.arange(24.0).view(8, 3)
    return {
        "norm": normalise((3, 2, 2)),
        "norm with an empty share": normalise((3, 4, 0)),
        "norm of bf16": normalise((3, 4, 0), dtype=torch.bfloat16),
        "norm far from zero": normalise((3, 2, 2), mean=3000.0),
        "gathered": gather_to_all(mine(whole, (5, 0, 3))),
        "summed": summed(mine(whole, (2, 2, 4))[:2].sum(dim=0)),
        "nan": step_with_nan(),
        "trained": train(folder / "whole", 18),
        "parts": train(folder / "parts", 21, norm=False, parts=2),
        "interrupted": train(folder / "interrupted", 18, stop=True),
        "resumed": train(folder / "interrupted", 18, last=str(folder / "interrupted/checkpoints/last.ckpt")),
    }


def work(folder: Path, rank: int) -> None:
    """Be one of the processes."""
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


Outcomes = tuple[dict[str, Any], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What one process computes, and what each of three does together."""
    folder = tmp_path_factory.mktemp("ranks")
    warm_up()
    context = multiprocessing.get_context("forkserver")
    started = [context.Process(target=work, args=(folder, rank)) for rank in range(WORLD)]
    try:
        for process in started:
            process.start()
        alone = everything(tmp_path_factory.mktemp("alone"))
        for process in started:
            process.join(timeout=120)
        codes = [process.exitcode for process in started]
        logs = "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("*.log")))
        assert codes == [0] * WORLD, logs
        yield alone, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    finally:
        for process in started:
            if process.pid is not None:
                process.kill()
                process.join()


def difference(one: Any, other: Any) -> float:
    """The greatest difference between the numbers of two structures, which must be of one form."""
    if isinstance(one, Tensor):
        assert one.shape == other.shape
        return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
    if isinstance(one, dict):
        assert list(one) == list(other)
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list | tuple):
        return max((difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, int | float):
        return float(abs(one - other))
    assert one == other
    return 0.0


TRAININGS = ("trained", "parts", "interrupted", "resumed")
SHARED = ("gradients", "rates", "metrics", "state", "averaged", "images", "rows", "best", "tested")


@pytest.mark.parametrize("name", TRAININGS)
def test_processes_agree_to_the_last_bit(outcomes: Outcomes, name: str) -> None:
    """Weights, moving statistics, averaged weights, and every number that decides something."""
    _, (zero, *others) = outcomes
    for other in others:
        for key in SHARED:
            assert difference(zero[name][key], other[name][key]) == 0, key


@pytest.mark.parametrize("name", TRAININGS)
def test_three_processes_compute_what_one_does(outcomes: Outcomes, name: str) -> None:
    """Batches of 8, 8 and 2 images are (3, 3, 2), (3, 3, 2) and (1, 1, 0) a process."""
    alone, (zero, *_) = outcomes
    assert len(alone[name]["gradients"]) == 3 * len(alone[name]["metrics"])
    assert max(float(each.abs().max()) for each in alone[name]["gradients"][0]) > 0.01
    for key in SHARED:
        assert difference(alone[name][key], zero[name][key]) < 1e-6, key


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(outcomes: Outcomes) -> None:
    """But for rounding: DDP arranges gradients anew after its first step, and adds three in another order then."""
    _, ranks = outcomes
    for each in ranks:
        for key in ("state", "averaged", "images", "rows", "best", "tested"):
            assert difference(each["resumed"][key], each["trained"][key]) < 1e-6, key
        assert difference(each["resumed"]["gradients"], each["trained"]["gradients"][3:]) < 1e-6
        assert difference(each["trained"]["state"], each["trained"]["averaged"]) > 1e-3


def test_parts_of_a_batch_are_one_step(outcomes: Outcomes, tmp_path: Path) -> None:
    """Of 21 images: 4 + 4, 4 + 4 and 3 + 2; the rate and the averaged weights move once a batch."""
    alone, _ = outcomes
    whole = train(tmp_path / "whole", 21, norm=False)
    for key in SHARED:
        assert difference(alone["parts"][key], whole[key]) < 1e-6, key
    assert len(whole["gradients"]) == 6
    assert whole["rates"][:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert whole["images"] == 42


def test_every_test_image_is_counted_once(outcomes: Outcomes) -> None:
    _, ranks = outcomes
    assert [each["trained"]["own_tested"] for each in ranks] == [7, 6, 4]  # of 8, 8 and 1
    for each in ranks:
        assert each["trained"]["tested"][0].tolist() == list(range(28, 45))


def test_an_image_tested_twice_is_refused() -> None:
    one = (torch.tensor([4, 5]), torch.rand(2, 7), torch.rand(2, 7))
    indices, *_ = record.gather([(torch.tensor([9]), torch.rand(1, 7), torch.rand(1, 7)), one])
    assert indices.tolist() == [4, 5, 9]
    with pytest.raises(RuntimeError, match="more than once"):
        record.gather([one, one])


@pytest.mark.parametrize("name", ["norm", "norm with an empty share", "norm of bf16"])
def test_batch_norm_takes_its_statistics_over_all_processes(outcomes: Outcomes, name: str) -> None:
    alone, ranks = outcomes
    for each in ranks:
        assert each[name]["dtypes"] == alone[name]["dtypes"]
        for key in ("output", "gradient", "weight", "bias", "state", "evaluated"):
            assert difference(alone[name][key], each[name][key]) < 1e-5, key
    assert alone[name]["dtypes"][1] == torch.float32
    assert list(alone[name]["state"]) == list(nn.BatchNorm2d(4).state_dict())


def test_batch_norm_keeps_a_small_variance_beside_a_large_mean(outcomes: Outcomes) -> None:
    """A mean of squares less a squared mean, in float32, would be off by more than the variance itself."""
    alone, (zero, *_) = outcomes
    one, other = (each["norm far from zero"] for each in (alone, zero))
    assert torch.allclose(one["state"]["running_var"], other["state"]["running_var"], rtol=1e-3)
    assert torch.allclose(one["output"], other["output"], atol=5e-3)


def test_tensors_of_different_length_are_joined(outcomes: Outcomes) -> None:
    alone, ranks = outcomes
    for each in ranks:
        assert torch.equal(each["gathered"], alone["gathered"])
        assert each["summed"].tolist() == [45, 51, 57]  # rows 0 and 1, 2 and 3, 4 and 5 of 8


def test_all_processes_refuse_a_loss_that_is_not_finite_on_one(outcomes: Outcomes) -> None:
    alone, ranks = outcomes
    assert alone["nan"] == "finite"
    assert [each["nan"] for each in ranks] == [ranks[0]["nan"]] * WORLD
    assert ranks[0]["nan"].startswith("The training loss became nan in epoch 1, batch 1:")


def test_sync_batch_norm_keeps_parameters_and_names() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.3))).eval()
    before, names, found = list(model.parameters()), list(model.state_dict()), nn.BatchNorm2d(2)
    for device, kind in (("cpu", SyncBatchNorm2d), ("cuda", GPUSyncBatchNorm)):
        made = sync_batch_norm(copy.deepcopy(model), device)
        norm = made[1][0]  # type: ignore[index]
        assert type(norm) is kind
        assert (norm.eps, norm.momentum, norm.training) == (1e-3, 0.3, False)
        assert list(made.state_dict()) == names
        assert type(sync_batch_norm(found, device)) is kind
    assert sync_batch_norm(model, "cpu") is model
    assert all(one is other for one, other in zip(model.parameters(), before, strict=True))


def test_in_one_process_sync_batch_norm_is_plain() -> None:
    plain = nn.BatchNorm2d(4)
    shared, x = sync_batch_norm(copy.deepcopy(plain), "cpu"), torch.rand(3, 4, 6, 6)
    for _ in range(2):
        assert torch.equal(shared(x), plain(x))
        assert difference(shared.state_dict(), plain.state_dict()) == 0
        shared.eval()
        plain.eval()


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, momentum=None)])
def test_a_norm_that_cannot_be_shared_is_refused(norm: nn.Module) -> None:
    with pytest.raises(TypeError, match="several devices"):
        sync_batch_norm(nn.Sequential(norm), "cpu")


@pytest.mark.parametrize(
    ("backbone", "attention"), [("resnet50", "cbam"), ("resnet50", "eca"), ("resnetv2_50", "se"), ("vgg16", "cbam")]
)
def test_a_share_without_images_adds_nothing(backbone: str, attention: str) -> None:
    """Every layer must take a batch of none; norms are in evaluation here, as one process alone has no statistics."""
    depths = "[1,1,1,1,1]" if backbone == "vgg16" else "[1,1,1,1]"
    cfg = quickly_composed(f"backbone={backbone}", f"attention={attention}", f"backbone.model.depths={depths}")
    recipe = {**RECIPE, "mixup": 0.2, "convolution_l2": 0.0}
    module = FERModule(build.model(cfg, 7), torch.optim.SGD, recipe, CLASSES, WEIGHTS)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.eval()
    none = torch.zeros(0, dtype=torch.int64)
    empty = Batch(torch.zeros(0, 1, 48, 48, dtype=torch.uint8), none, none, torch.tensor([1, 2]))
    loss = module.training_step(empty, 0)
    loss.backward()
    assert loss.item() == 0
    assert all(not _gradient(parameter).any() for parameter in module.parameters())
    with torch.no_grad():
        module.validation_step(empty, 0)
        module.test_step(empty, 0)
    assert [tuple(each.shape) for each in module.test_outputs[0]] == [(0,), (0, 7), (0, 7)]
