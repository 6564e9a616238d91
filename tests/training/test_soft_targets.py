"""Soft targets in the loss: by hand in float64, in microbatches, mixed, drawn by epoch, and in a run that resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import plain
from ferplus_drawn import drawn
from linear import batch, log_probabilities, made
from omegaconf import DictConfig
from outcomes import assert_same_outcome, end_of, run_here
from torch import Tensor

from fersweep import build
from fersweep.data.datamodule import Batch
from fersweep.data.samples import OBJECTIVES
from fersweep.run import run_one
from fersweep.runs.identity import run_dir
from fersweep.training.losses import cross_entropy_share
from fersweep.training.module import FERModule
from fersweep.training.targets import EPSILON, SoftTargets

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.25, 1.5, 1.0, 0.75])


def values(objective: str, count: int = 12) -> Tensor:
    drawn = torch.rand(count, 7, generator=torch.Generator().manual_seed(4))
    return (
        (drawn > 0.6).float() + torch.eye(7)[torch.arange(count) % 7] * (drawn <= 0.6)
        if (objective == "multi_target")
        else (drawn * 6).softmax(dim=1)
    )


def soft(objective: str, weights: Tensor | None = None, **recipe: Any) -> FERModule:
    module = made(weights, **recipe)
    module.targets = SoftTargets(values(objective), objective, module.seed)
    return module


def by_hand(logs: Tensor, targets: Tensor, objective: str, weights: Tensor, smoothing: float) -> Tensor:
    """The loss of each image; the last term is the smoothing's."""
    if objective == "multi_target":
        allowed = torch.where(targets > 0, 1.0, EPSILON).double()
        scores = allowed * logs.exp()
        place = scores.argmax(dim=1)
        losses = -weights[place] * scores.max(dim=1).values.log()
    else:
        losses = -(weights * targets * logs).sum(dim=1)
    return (1 - smoothing) * losses - smoothing * (weights * logs).mean(dim=1)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_training_loss_is_that_of_the_targets(objective: str, weights: Tensor | None, smoothing: float) -> None:
    module, data = soft(objective, weights, label_smoothing=smoothing), batch()
    assert module.targets is not None
    each = torch.ones(7).double() if weights is None else weights.double()
    logs, targets = log_probabilities(module, data.images), module.targets.rows(data.indices, 0).double()
    total = by_hand(logs, targets, objective, each, smoothing).sum()
    expected = total / each[data.labels].sum()
    assert module.training_step(data, 3).item() == pytest.approx(float(expected), rel=1e-5)
    hits = (logs.argmax(dim=1) == data.labels).double().mean()  # against the labels
    assert float(module.train_metrics.compute()["train/accuracy"]) == pytest.approx(float(hits))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_shares_of_microbatches_add_up(objective: str, weights: Tensor | None) -> None:
    module, data = soft(objective, weights), batch()
    whole = module._logits_and_loss(data, 3, 0)[2]
    parts = [
        module._logits_and_loss(Batch(*(column[some] for column in data[:3]), data.labels), 3, 0)[2].item()
        for some in (slice(0, 5), slice(5, 5), slice(5, 12))
    ]
    assert sum(parts) == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_mixup_mixes_the_losses_of_both_targets(objective: str) -> None:
    module, data = soft(objective, mixup=0.4), batch()
    assert module.targets is not None
    rng = np.random.default_rng([3, 0, 5, 0])
    share = rng.beta(0.4, 0.4)
    share, partner = max(share, 1 - share), rng.permutation(12)
    images, targets = data.images.double(), module.targets.rows(data.indices, 0).double()
    logs = log_probabilities(module, share * images + (1 - share) * images[partner])
    one, other = (by_hand(logs, each, objective, torch.ones(7), 0.0).mean() for each in (targets, targets[partner]))
    assert module.training_step(data, 5).item() == pytest.approx(float(share * one + (1 - share) * other), rel=1e-5)


def test_one_hot_targets_are_labels() -> None:
    data = batch()
    logits = torch.randn(12, 7, generator=torch.Generator().manual_seed(2))
    hard = SoftTargets(torch.eye(7)[data.labels], "cross_entropy", 0)
    for weights in (None, WEIGHTS):
        expected = cross_entropy_share(logits, data.labels, data.labels, weights, 0.1)
        found = hard.share(logits, hard.rows(data.indices, 0), data.labels, weights, 0.1)
        assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_labels_are_drawn_by_seed_and_epoch_from_the_distributions() -> None:
    distribution = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0]).repeat(20000, 1)
    drawn = SoftTargets(distribution, "probability", 1)
    shares = torch.bincount(drawn.drawn(0), minlength=5) / 20000
    assert shares.tolist() == pytest.approx([0.5, 0.0, 0.3, 0.2, 0.0], abs=0.015)
    assert shares[1] == shares[4] == 0
    later = SoftTargets(distribution, "probability", 1)
    assert torch.equal(later.drawn(4), drawn.drawn(4))  # whatever was drawn before
    assert not torch.equal(drawn.drawn(4), drawn.drawn(5))
    assert not torch.equal(SoftTargets(distribution, "probability", 2).drawn(4), drawn.drawn(4))
    rows = drawn.rows(torch.tensor([7, 3]), 4)
    assert torch.equal(rows.argmax(dim=1), drawn.drawn(4)[[7, 3]])
    assert torch.equal(rows.sum(dim=1), torch.ones(2))


def test_checkpoints_have_no_targets_and_validation_compares_with_labels() -> None:
    module, data = soft("cross_entropy"), batch()
    assert not [key for key in module.state_dict() if "target" in key]
    module.validation_step(data, 0)
    hits = (log_probabilities(module, data.images).argmax(dim=1) == data.labels).double().mean()
    assert float(module.val_metrics.compute()["val/accuracy"]) == pytest.approx(float(hits))


@pytest.mark.usefixtures("tiny_network")
def test_an_interrupted_run_draws_the_same_labels_and_is_tested_on_majorities(
    small: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = drawn(tmp_path / "d", "csv")
    rich = ("recipe.mixup=0.2", "recipe.cutmix=1.0", "recipe.label_smoothing=0.1", "recipe.batch_size=16")
    data = ("dataset=ferplus", f"dataset.root={root}", "split=official", "dataset.source.labels=probability")
    overrides = (*data, *rich, "recipe.max_epochs=2")
    whole, cfg = run_here(small(*overrides, "sweep=whole")), small(*overrides)

    def second_epoch(self: FERModule) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    assert isinstance(end_of(cfg, SystemExit, monkeypatch, on_train_epoch_start=second_epoch), SystemExit)
    run_one(cfg)
    assert_same_outcome(whole, run_dir(plain(cfg)))
    samples = build.samples(cfg)
    tested = pd.read_parquet(whole / "predictions.parquet")
    labels = dict(zip(samples.ids, samples.labels, strict=True))
    assert len(tested) == 21
    assert tested["label"].tolist() == [samples.class_names[labels[each]] for each in tested["id"]]
