"""Settings that must reach network, module and Trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TinyNetwork, plain
from linear import batch, made
from omegaconf import DictConfig
from torch import nn

from fersweep import build
from fersweep.training import fit
from fersweep.training.batch_norm import GPUSyncBatchNorm, SyncBatchNorm2d
from fersweep.training.job import Job
from fersweep.training.network import network_for_training, operations
from fersweep.training.trainer import build_trainer

Small = Callable[..., DictConfig]
CPU = torch.device("cpu")


def prepared(cfg: DictConfig, monkeypatch: pytest.MonkeyPatch, device: str = "cpu", world_size: int = 1) -> TinyNetwork:
    monkeypatch.setattr(build, "model", lambda _, classes: TinyNetwork(3, classes))
    monkeypatch.setattr("fersweep.training.network.world_size", lambda: world_size)
    network = network_for_training(cfg, 7, torch.device(device))
    assert isinstance(network, TinyNetwork)
    return network


def job(cfg: DictConfig, tmp_path: Path) -> Job:
    return Job(cfg, plain(cfg), tmp_path, CPU, False, None, ())


@pytest.mark.parametrize(
    ("memory_format", "stride"), [("channels_last", (75, 1, 15, 3)), ("contiguous", (75, 25, 5, 1))]
)
def test_the_memory_format_is_that_of_the_kernels(
    small: Small, monkeypatch: pytest.MonkeyPatch, memory_format: str, stride: tuple[int, ...]
) -> None:
    network = prepared(small(f"trainer.memory_format={memory_format}"), monkeypatch)
    assert network.features[0].weight.stride() == stride


@pytest.mark.parametrize("compiled", [True, False])
def test_a_compiled_network_calls_what_torch_compiled(
    small: Small, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    calls: list[tuple[int, ...]] = []

    def compile(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def call(images: torch.Tensor) -> Any:
            calls.append(tuple(images.shape))
            return function(images)

        return call

    monkeypatch.setattr(torch, "compile", compile)
    network = prepared(small(f"trainer.compile={str(compiled).lower()}"), monkeypatch)
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 7)
    assert calls == [(2, 3, 8, 8)] * compiled


@pytest.mark.parametrize(
    ("device", "world_size", "kind"),
    [("cpu", 1, nn.BatchNorm2d), ("cpu", 2, SyncBatchNorm2d), ("cuda", 2, GPUSyncBatchNorm)],
)
def test_batch_norm_is_synchronised_over_several_processes(
    small: Small, monkeypatch: pytest.MonkeyPatch, device: str, world_size: int, kind: type[nn.Module]
) -> None:
    assert type(prepared(small(), monkeypatch, device, world_size).features[1]) is kind


@pytest.mark.usefixtures("tiny_network")
def test_the_module_has_class_weights_of_training_images_and_the_seed_of_the_run(small: Small, tmp_path: Path) -> None:
    cfg = small("recipe.class_weights=balanced", "seed=5")
    samples = build.samples(cfg)
    data = build.datamodule(cfg, samples)
    of_first = samples.labels[data.split.train] == 0
    data.split = replace(
        data.split, train=np.concatenate([data.split.train[~of_first], data.split.train[of_first][:4]])
    )
    counts = np.bincount(samples.labels[data.split.train], minlength=7)
    assert counts[0] == 4
    module = fit._module(job(cfg, tmp_path), data, {"format": 1})
    assert module.class_weights is not None
    assert module.class_weights.tolist() == pytest.approx((counts.sum() / (7 * counts)).tolist())
    assert (module.seed, module.metadata) == (5, {"format": 1})
    assert module.recipe == plain(cfg)["recipe"]


def test_the_data_have_the_seed_and_the_transforms_of_the_recipe(small: Small) -> None:
    samples = build.samples(small())
    plain_val, both = (
        build.datamodule(small("seed=7", f"recipe.augment_validation={each}"), samples) for each in ("false", "true")
    )
    assert (plain_val.seed, plain_val.batch_size) == (7, 16)
    assert plain_val.train_transform is not None
    assert (plain_val.val_transform, both.val_transform) == (None, both.train_transform)
    few = build.datamodule(small("trainer.overfit_batches=2"), samples).split
    assert len(few.train) == 32
    assert np.array_equal(few.val, few.train)


def test_the_trainer_has_the_limits_of_recipe_and_trainer(small: Small, tmp_path: Path) -> None:
    cfg = small("recipe.gradient_clip=0.25", "recipe.max_epochs=9", "trainer.limit_batches=3", "recipe.ema_decay=0.9")
    trainer = build_trainer(job(cfg, tmp_path), None, "bf16-mixed", microbatches=2)
    assert (trainer.gradient_clip_val, trainer.max_epochs, trainer.precision) == (0.25, 9, "bf16-mixed")
    assert trainer.accumulate_grad_batches == 2
    limits = trainer.limit_train_batches, trainer.limit_val_batches, trainer.limit_test_batches
    assert (*limits, trainer.limit_predict_batches) == (6, 6, 6, 6)  # of two microbatches each


def test_gradients_are_clipped_by_value() -> None:
    module = made()
    module.training_step(batch(), 0).backward()
    before = [parameter.grad.clone() for parameter in module.parameters()]  # type: ignore[union-attr]
    assert max(float(each.abs().max()) for each in before) > 0.01
    module.configure_gradient_clipping(torch.optim.SGD(module.parameters()), 0.01, "value")
    for parameter, gradient in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter.grad, gradient.clamp(-0.01, 0.01))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["norm", "value"])
def test_the_trainer_clips_as_the_recipe_says(small: Small, tmp_path: Path, mode: str) -> None:
    cfg = small("recipe.gradient_clip=0.25", f"recipe.gradient_clip_mode={mode}")
    assert build_trainer(job(cfg, tmp_path), None, "32-true", 1).gradient_clip_algorithm == mode


def test_a_network_that_torch_cannot_count_is_trained_all_the_same(
    small: Small, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Uncountable(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :7] * float(images.mean())  # a value, which the meta device has not

    monkeypatch.setattr(build, "model", lambda *_: Uncountable())
    with caplog.at_level("WARNING", logger="fersweep"):
        assert operations(small(), 7, 100) == {"forward_flops": None, "training_flops": None}
    assert "the operations of the network cannot be counted: " in caplog.text


def test_gradients_are_clipped_to_a_global_norm() -> None:
    module = made()
    module.training_step(batch(), 0).backward()
    before = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])  # type: ignore[union-attr]
    module.configure_gradient_clipping(torch.optim.SGD(module.parameters()), 0.01)
    after = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])  # type: ignore[union-attr]
    assert before.norm() > 0.1
    torch.testing.assert_close(after, before * 0.01 / before.norm(), rtol=1e-4, atol=1e-7)
