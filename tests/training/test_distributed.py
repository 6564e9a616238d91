"""A run on three processes equals a run on one process with the same batches, uneven and empty shares included.

The processes are started once, by the fixture `outcomes`; the tests compare what they left.
"""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import quickly_composed
from three_processes import IGNORED, RECIPE, WEIGHTS, WORLD, everything, grad_of, train, work
from torch import Tensor, nn

from fersweep import build
from fersweep.data.datamodule import Batch
from fersweep.data.samples import CLASSES
from fersweep.sweep.local.processes import warm_up
from fersweep.training import results as record
from fersweep.training.batch_norm import GPUSyncBatchNorm, SyncBatchNorm2d, sync_batch_norm
from fersweep.training.module import FERModule

pytestmark = [pytest.mark.filterwarnings(f"ignore:{each}") for each in IGNORED]


Outcomes = tuple[dict[str, Any], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Outcomes of one process, and of each of three."""
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
    """Greatest difference between the numbers of two equal structures."""
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


TRAININGS = ("trained", "microbatches", "interrupted", "resumed")
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
    """Batches of 8, 8 and 2 images are (3, 3, 2), (3, 3, 2) and (1, 1, 0) per process."""
    alone, (zero, *_) = outcomes
    assert len(alone[name]["gradients"]) == 3 * len(alone[name]["metrics"])
    assert max(float(each.abs().max()) for each in alone[name]["gradients"][0]) > 0.01
    for key in SHARED:
        assert difference(alone[name][key], zero[name][key]) < 1e-6, key


def test_a_resumed_run_equals_an_uninterrupted_one(outcomes: Outcomes) -> None:
    """Up to rounding: DDP rebuilds its buckets after the first step and then adds in another order."""
    _, ranks = outcomes
    for each in ranks:
        for key in ("state", "averaged", "images", "rows", "best", "tested"):
            assert difference(each["resumed"][key], each["trained"][key]) < 1e-6, key
        assert difference(each["resumed"]["gradients"], each["trained"]["gradients"][3:]) < 1e-6
        assert difference(each["trained"]["state"], each["trained"]["averaged"]) > 1e-3


def test_microbatches_make_one_step(outcomes: Outcomes, tmp_path: Path) -> None:
    """Of 21 images: 4 + 4, 4 + 4 and 3 + 2; rate and averaged weights change once per batch."""
    alone, _ = outcomes
    whole = train(tmp_path / "whole", 21, norm=False)
    for key in SHARED:
        assert difference(alone["microbatches"][key], whole[key]) < 1e-6, key
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
def test_batch_norm_has_global_statistics(outcomes: Outcomes, name: str) -> None:
    alone, ranks = outcomes
    for each in ranks:
        assert each[name]["dtypes"] == alone[name]["dtypes"]
        for key in ("output", "gradient", "weight", "bias", "state", "evaluated"):
            assert difference(alone[name][key], each[name][key]) < 1e-5, key
    assert alone[name]["dtypes"][1] == torch.float32
    assert list(alone[name]["state"]) == list(nn.BatchNorm2d(4).state_dict())


def test_batch_norm_keeps_a_small_variance_beside_a_large_mean(outcomes: Outcomes) -> None:
    """In float32 the mean of squares minus the squared mean would be wrong by more than the variance."""
    alone, (zero, *_) = outcomes
    one, other = (each["norm far from zero"] for each in (alone, zero))
    assert torch.allclose(one["state"]["running_var"], other["state"]["running_var"], rtol=1e-3)
    assert torch.allclose(one["output"], other["output"], atol=5e-3)


def test_tensors_of_different_length_are_gathered(outcomes: Outcomes) -> None:
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
def test_a_norm_that_cannot_be_synchronised_is_refused(norm: nn.Module) -> None:
    with pytest.raises(TypeError, match="several devices"):
        sync_batch_norm(nn.Sequential(norm), "cpu")


@pytest.mark.parametrize(
    ("backbone", "attention"), [("resnet50", "cbam"), ("resnet50", "eca"), ("resnetv2_50", "se"), ("vgg16", "cbam")]
)
def test_a_share_without_images_adds_nothing(backbone: str, attention: str) -> None:
    """Every layer must take an empty batch; norms are in evaluation because one process has no statistics of it."""
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
    assert all(not grad_of(parameter).any() for parameter in module.parameters())
    with torch.no_grad():
        module.validation_step(empty, 0)
        module.test_step(empty, 0)
    assert [tuple(each.shape) for each in module.test_outputs[0]] == [(0,), (0, 7), (0, 7)]
