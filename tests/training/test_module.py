"""Training, validation and testing in numbers, on networks small enough to check by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.nn import functional as F

from fersweep.data.datamodule import Batch, FERDataModule
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split
from fersweep.training import results as record
from fersweep.training.module import FERModule
from fersweep.training.schedule import learning_rate_factor

RECIPE: dict[str, Any] = {
    "max_epochs": 4,
    "schedule": "constant",
    "warmup_epochs": 0,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "convolution_l2": 0.0,
    "test_crops": 1,
}


def made(weights: Tensor | None = None, **recipe: Any) -> FERModule:
    """A linear classifier of 8×8 images."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    nn.init.normal_(model[1].weight)
    return FERModule(
        model, lambda params: torch.optim.SGD(params, lr=0.5), {**RECIPE, **recipe}, CLASSES, weights, seed=3
    )


def batch(count: int = 12) -> Batch:
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 7, count))
    return Batch(images, labels, torch.arange(count), labels)


@torch.no_grad()
def log_probabilities(module: FERModule, images: Tensor) -> Tensor:
    """By hand, in float64: the logarithm of softmax(W x / 255 + b)."""
    linear = module.model[1]  # type: ignore[index]
    logits = images.double().flatten(1) / 255 @ linear.weight.double().T + linear.bias.double()
    return logits - logits.exp().sum(dim=1, keepdim=True).log()


@pytest.mark.parametrize(
    ("step", "warmup", "schedule", "factor"),
    [
        (0, 4, "constant", 1 / 5),
        (3, 4, "constant", 4 / 5),
        (4, 4, "constant", 1.0),
        (99, 4, "constant", 1.0),
        (0, 0, "constant", 1.0),
        (0, 0, "cosine", 1.0),
        (50, 0, "cosine", 0.5),
        (25, 0, "cosine", 0.5 * (1 + math.sqrt(0.5))),
        (100, 0, "cosine", 0.0),
        (120, 0, "cosine", 0.0),
        (19, 20, "cosine", 20 / 21),
        (20, 20, "cosine", 1.0),
        (60, 20, "cosine", 0.5),
        (100, 20, "cosine", 0.0),
        (1, 2.5, "cosine", 2 / 3.5),
    ],
)
def test_learning_rate_factors(step: int, warmup: float, schedule: str, factor: float) -> None:
    assert learning_rate_factor(step, 100, warmup, schedule) == pytest.approx(factor, abs=1e-12)


def test_the_rate_changes_with_every_step_and_warm_up_counts_epochs() -> None:
    module = made(schedule="cosine", warmup_epochs=1.5)
    module._trainer = SimpleNamespace(estimated_stepping_batches=40)  # type: ignore[assignment] - four epochs of ten
    configured = module.configure_optimizers()
    assert configured["lr_scheduler"]["interval"] == "step"
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(41):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.5 / 16)
    assert rates[14] == pytest.approx(0.5 * 15 / 16)
    assert rates[15] == pytest.approx(0.5)
    assert rates[27] == pytest.approx(0.25 * (1 + math.cos(math.pi * 12 / 25)))
    assert rates[40] == pytest.approx(0)


def test_training_loss_is_cross_entropy() -> None:
    module, data = made(), batch()
    logs = log_probabilities(module, data.images)
    expected = -logs[torch.arange(12), data.labels].mean()
    assert module.training_step(data, 0).item() == pytest.approx(float(expected), rel=1e-5)


def test_label_smoothing_mixes_in_the_uniform_distribution() -> None:
    module, data = made(label_smoothing=0.1), batch()
    logs = log_probabilities(module, data.images)
    target = torch.full((12, 7), 0.1 / 7, dtype=torch.float64)
    target[torch.arange(12), data.labels] += 0.9
    assert module.training_step(data, 0).item() == pytest.approx(float(-(target * logs).sum(dim=1).mean()), rel=1e-5)


def test_class_weights_are_scikit_learns_and_weigh_the_training_loss() -> None:
    counts = np.array([2, 1, 4, 0, 1, 1, 3])
    weights = record.class_weights("balanced", counts)
    assert weights is not None
    assert weights.tolist() == pytest.approx([12 / (7 * max(n, 1)) for n in counts])  # 0 in debugging runs: finite
    assert record.class_weights("none", counts) is None
    module, data = made(weights), batch()
    logs = log_probabilities(module, data.images)[torch.arange(12), data.labels]
    own = weights.double()[data.labels]
    assert module.training_step(data, 0).item() == pytest.approx(float(-(own * logs).sum() / own.sum()), rel=1e-5)
    assert "class_weights" not in module.state_dict()  # a checkpoint does not depend on them


def test_mixup_is_the_loss_of_mixed_images_under_both_labels() -> None:
    module, data = made(mixup=0.4), batch()
    loss = module.training_step(data, 5).item()
    rng = np.random.default_rng([3, 0, 5, 0])  # seed, epoch, batch, rank
    share = rng.beta(0.4, 0.4)
    share = max(share, 1 - share)
    partner = rng.permutation(12)
    assert 0.5 <= share < 1
    mixed = share * data.images.double() + (1 - share) * data.images.double()[partner]
    logs = log_probabilities(module, mixed)
    rows = torch.arange(12)
    expected = -(share * logs[rows, data.labels] + (1 - share) * logs[rows, data.labels[partner]]).mean()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert module.training_step(data, 5).item() == loss  # the same batch again
    assert module.training_step(data, 6).item() != loss
    assert data.images.dtype == torch.uint8  # the batch itself is left alone


def test_mixup_has_one_share_for_a_batch_and_pairs_within_each_part() -> None:
    module, data = made(mixup=0.4), batch()
    images = data.images.float()
    found = [module._mixup(images, data.labels, 5, place) for place in (0, 1, 2)]
    assert len({share for _, _, share in found}) == 1
    assert not torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[1][0], found[2][0])
    for mixed, other, share in found:
        partner = (mixed - share * images) / (1 - share)
        assert sorted(other.tolist()) == sorted(data.labels.tolist())
        assert torch.allclose(partner.sum(), images.sum(), rtol=1e-4)
    assert module._mixup(images, data.labels, 6, 1)[2] != found[0][2]


@pytest.mark.parametrize("weights", [None, torch.arange(1.0, 8.0)])
@pytest.mark.parametrize("parts", [1, 3])
def test_shares_of_a_batch_add_up_to_its_loss(weights: Tensor | None, parts: int) -> None:
    """Shares of 7, 4, 1 and 0 images; Lightning divides the gradient by the number of parts."""
    data = batch()
    module = made(weights, label_smoothing=0.1)
    module.training_step(data, 0).backward()
    expected = [parameter.grad.clone() for parameter in module.parameters()]  # type: ignore[union-attr]
    loss, accuracy = module.train_loss.compute(), module.train_metrics.compute()["train/accuracy"]

    module = made(weights, label_smoothing=0.1)
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        accumulate_grad_batches=parts, current_epoch=0, global_rank=0
    )
    for number, share in enumerate((slice(0, 7), slice(7, 11), slice(11, 12), slice(12, 12))):
        one = Batch(data.images[share], data.labels[share], data.indices[share], data.labels)
        (module.training_step(one, number) / parts).backward()
    for parameter, gradient in zip(module.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-5, atol=1e-7)
    assert module.train_loss.compute().item() == pytest.approx(loss.item(), rel=1e-6)
    assert module.train_metrics.compute()["train/accuracy"] == accuracy


def convolutional(l2: float) -> FERModule:
    """Two convolutions with norm and bias and a linear layer, for 8×8 images."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ELU(), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3, groups=2), nn.ELU())
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(144, 7))
    return FERModule(model, torch.optim.SGD, {**RECIPE, "convolution_l2": l2}, CLASSES, seed=3)


def gradients(module: FERModule) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


KERNELS = ("model.0.weight", "model.3.weight")
"""Of `convolutional`."""


def test_the_l2_penalty_adds_2_lambda_w_to_the_gradient_of_convolutions_alone() -> None:
    data, plain, penalised = batch(), convolutional(0.0), convolutional(0.01)
    losses = [module.training_step(data, 0) for module in (plain, penalised)]
    for loss in losses:
        loss.backward()
    weights = dict(penalised.named_parameters())
    total = sum(float(weights[name].detach().double().square().sum()) for name in KERNELS)
    assert losses[1].item() - losses[0].item() == pytest.approx(0.01 * total, rel=1e-4)
    before, after = gradients(plain), gradients(penalised)
    assert set(before) == set(after) == set(weights)
    assert len(before) == 8
    for name, weight in weights.items():
        if name in KERNELS:
            assert torch.allclose(after[name] - before[name], 0.02 * weight, rtol=1e-3, atol=1e-7)
        else:
            assert torch.equal(after[name], before[name])
    assert penalised.train_loss.compute() == plain.train_loss.compute()  # what is logged is the cross-entropy


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (1, 4), (2, 2), (4, 1)])
def test_a_step_has_the_l2_penalty_once(monkeypatch: pytest.MonkeyPatch, world: int, parts: int) -> None:
    """Shares of 5, 4, 2 and 1 images, or all at once: DDP takes the mean over processes, Lightning over parts."""
    data = batch()
    whole = convolutional(0.01)
    whole.training_step(data, 0).backward()
    monkeypatch.setattr("fersweep.training.module.world_size", lambda: world)
    shares = [slice(0, 12)] if world * parts == 1 else [slice(0, 5), slice(5, 9), slice(9, 11), slice(11, 12)]
    module = convolutional(0.01)
    for number, share in enumerate(shares):
        part, rank = divmod(number, world)
        module._trainer = SimpleNamespace(accumulate_grad_batches=parts, current_epoch=0, global_rank=rank)
        one = Batch(data.images[share], data.labels[share], data.indices[share], data.labels)
        (module.training_step(one, part) / (world * parts)).backward()
    expected, found = gradients(whole), gradients(module)
    assert set(expected) == set(found)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6)
    assert module.train_loss.compute().item() == pytest.approx(whole.train_loss.compute().item(), rel=1e-5)


def test_dropout_of_an_epoch_does_not_depend_on_what_was_drawn_before() -> None:
    module = made()
    draws = []
    for before in (1, 2):
        torch.manual_seed(before)
        module.on_train_batch_start(batch(), 0)
        draws.append(torch.rand(3))
        module.on_train_batch_start(batch(), 1)
        draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[1], draws[3])
    assert not torch.equal(draws[0], draws[1])


def test_ten_crops_are_four_corners_the_centre_and_their_mirror_images() -> None:
    module = made()
    images = torch.rand(2, 1, 8, 8)
    views = []
    for top, left in ((0, 0), (0, 2), (2, 0), (2, 2), (1, 1)):
        view = images[:, :, top : top + 6, left : left + 6]
        view = F.interpolate(view, size=(8, 8), mode="bilinear", align_corners=False)
        views += [view, view.flip(3)]
    assert len(views) == 10
    expected = torch.stack([log_probabilities(module, view * 255).exp() for view in views]).mean(dim=0)
    found = module.ten_crop_probabilities(images, fraction=0.75)
    assert torch.allclose(found.double(), expected, atol=1e-6)
    assert torch.allclose(found.sum(dim=1), torch.ones(2))
    whole = (images * 255).round().to(torch.uint8)
    assert torch.allclose(module.ten_crop_probabilities(whole), module.ten_crop_probabilities(whole.float() / 255))


@pytest.mark.parametrize("crops", [1, 10])
def test_testing_keeps_the_single_view_beside_the_ten_crops(crops: int) -> None:
    module, data = made(test_crops=crops), batch()
    with torch.no_grad():
        module.test_step(data, 0)
    ((indices, single, final),) = module.test_outputs
    assert torch.equal(indices, data.indices)
    assert torch.allclose(single.double(), log_probabilities(module, data.images).exp(), atol=1e-6)
    if crops == 1:
        assert torch.equal(final, single)
    else:
        assert torch.allclose(final, module.ten_crop_probabilities(data.images))
        assert not torch.allclose(final, single)
    module.on_test_epoch_start()
    assert module.test_outputs == []


class Rows(pl.Callback):
    """Keeps what is logged at the end of every epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rows.append({key: float(value) for key, value in trainer.callback_metrics.items()})


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.filterwarnings("ignore:The `srun` command is available")  # on a machine of a cluster
def test_an_epochs_numbers_are_those_of_all_its_images_and_validation_is_plain(tmp_path: Any) -> None:
    """Smoothing and weights belong to training alone; batches of different size count by their images."""
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = rng.integers(0, 7, 40)
    samples = Samples(images, labels, np.array([str(index) for index in range(40)]), CLASSES)
    data = FERDataModule(
        samples, Split(np.arange(10), np.arange(10, 33), np.arange(33, 40)), None, 8, seed=1, workers=0
    )
    module = made(torch.arange(1.0, 8.0), label_smoothing=0.3, mixup=0.0)
    module.optimizer_factory = lambda params: torch.optim.SGD(params, lr=0.0)
    kept = Rows()
    trainer = pl.Trainer(
        accelerator="cpu",
        plugins=[LightningEnvironment()],  # whatever cluster the machine belongs to
        max_epochs=2,
        logger=False,
        callbacks=[kept],
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, datamodule=data)

    logs = log_probabilities(module, torch.from_numpy(images[10:33]))
    truth, predicted = labels[10:33], logs.argmax(dim=1).numpy()
    f1 = []
    for k in range(7):
        hits = ((truth == k) & (predicted == k)).sum()
        total = (truth == k).sum() + (predicted == k).sum()
        f1.append(2 * hits / total if total else None)
    assert len(kept.rows) == 2
    loss = float(-logs[torch.arange(23), torch.from_numpy(truth)].mean())
    for number, row in enumerate(kept.rows):  # the second epoch starts from nothing
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        parts = [(log_probabilities(module, each.images), each.labels) for each in loader]
        weights = torch.arange(1.0, 8.0).double()
        losses = [F.cross_entropy(one, target, weights, label_smoothing=0.3) for one, target in parts]
        sizes = [len(target) for _, target in parts]
        assert sizes == [8, 2]
        assert row["train/loss"] == pytest.approx(float(losses[0] * 8 + losses[1] * 2) / 10, rel=1e-5)
        assert row["val/loss"] == pytest.approx(loss, rel=1e-5)
        assert row["val/accuracy"] == pytest.approx((truth == predicted).mean())
        assert row["val/macro_f1"] == pytest.approx(np.mean([score for score in f1 if score is not None]), rel=1e-5)
        train = log_probabilities(module, torch.from_numpy(images[:10])).argmax(dim=1).numpy()
        assert row["train/accuracy"] == pytest.approx((train == labels[:10]).mean())


def test_test_metrics_by_hand() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    final = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    single = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    metrics, counts = record.test_metrics(labels, single, final)
    assert metrics["test/accuracy"] == 0.75
    assert metrics["test/accuracy_single_view"] == 1.0
    assert metrics["test/n"] == 4
    assert metrics["test/macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert metrics["test/loss"] == pytest.approx(-(math.log(0.7) + math.log(0.1) + math.log(0.5)) / 4)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    metrics, _ = record.test_metrics(labels, single, 1 - final)  # certain and wrong: large, not infinite
    assert 1 < metrics["test/loss"] < 100
