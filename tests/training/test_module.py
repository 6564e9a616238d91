"""Learning rates, logged metrics and test outputs of the module, in numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from linear import batch, log_probabilities, made
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch.nn import functional as F

from fersweep.data.datamodule import FERDataModule
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split
from fersweep.training.optim import learning_rate_factor


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


def test_steps_are_those_of_the_public_recipe() -> None:
    """Epoch 85 is the first that WuJie1010's code trains at nine tenths: 0.9 ** ((epoch - 80) // 5) after epoch 80."""
    module = made(schedule="step", max_epochs=250, step_start=80, step_epochs=5, step_factor=0.9)
    module._trainer = SimpleNamespace(estimated_stepping_batches=250 * 7)  # type: ignore[assignment]
    scheduler = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    (factor,) = scheduler.lr_lambdas
    for epoch in range(250):
        expected = 0.9 ** ((epoch - 80) // 5) if epoch > 80 else 1.0
        assert [factor(7 * epoch), factor(7 * epoch + 6)] == pytest.approx([expected] * 2, rel=1e-12)


def test_steps_from_the_start_are_those_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.1)
    for step in range(20):
        ours = learning_rate_factor(step, 20, 0, "step", (0, 3, 0.1))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(ours, rel=1e-12)
        optimizer.step()
        scheduler.step()


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


def test_dropout_of_an_epoch_does_not_depend_on_earlier_draws() -> None:
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


def test_with_a_crop_the_network_sees_its_side_in_training_validation_and_test() -> None:
    """The linear network takes 8×8 pixels; of images of 11×11 they are the centre, and in the test five places too."""
    module, given = made(crop=8, test_crops=10), batch()
    images = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (12, 1, 11, 11), dtype=np.uint8))
    centre = images[..., 1:9, 1:9]
    expected = log_probabilities(module, centre)
    assert torch.allclose(module(images).log_softmax(1).double(), expected, atol=1e-5)
    assert torch.allclose(module(images.float() / 255).log_softmax(1).double(), expected, atol=1e-5)
    losses = [float(module.training_step(given._replace(images=each), 0).detach()) for each in (images, centre)]
    assert losses[0] == losses[1]
    module.validation_step(given._replace(images=images), 0)
    assert torch.equal(module.val_outputs[0][0], module(centre))
    module.test_step(given._replace(images=images), 0)
    ((_, single, final),) = module.test_outputs
    assert torch.allclose(single.double(), expected.exp(), atol=1e-6)
    corners = [(0, 0), (0, 3), (3, 0), (3, 3), (1, 1)]
    views = [images[..., top : top + 8, left : left + 8] for top, left in corners]
    ten = [log_probabilities(module, each).exp() for view in views for each in (view, view.flip(3))]
    assert torch.allclose(final.double(), torch.stack(ten).mean(dim=0), atol=1e-6)


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


class Rows(pl.Callback):
    """Records the metrics of every epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rows.append({key: float(value) for key, value in trainer.callback_metrics.items()})


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.filterwarnings("ignore:The `srun` command is available")  # on a machine of a cluster
def test_metrics_of_an_epoch_cover_all_images_and_validation_is_plain(tmp_path: Any) -> None:
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
