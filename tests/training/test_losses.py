"""Training loss in numbers: smoothing, class weights, mixup, the L2 penalty, and shares of a batch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from linear import RECIPE, batch, log_probabilities, made
from torch import Tensor, nn

from fersweep.data.datamodule import Batch
from fersweep.data.samples import CLASSES
from fersweep.training.losses import class_weights, cutmix, mixing, mixup
from fersweep.training.module import FERModule


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
    weights = class_weights("balanced", counts)
    assert weights is not None
    assert weights.tolist() == pytest.approx([12 / (7 * max(n, 1)) for n in counts])  # 0 in debugging runs: finite
    assert class_weights("none", counts) is None
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


def test_mixup_has_one_weight_per_batch_and_pairs_within_microbatches() -> None:
    data = batch()
    images = data.images.float()
    found = [mixup(images, data.labels, 0.4, (3, 0, 5), position) for position in (0, 1, 2)]
    assert len({share for _, _, share in found}) == 1
    assert not torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[1][0], found[2][0])
    for mixed, other, share in found:
        partner = (mixed - share * images) / (1 - share)
        assert sorted(other.tolist()) == sorted(data.labels.tolist())
        assert torch.allclose(partner.sum(), images.sum(), rtol=1e-4)
    assert mixup(images, data.labels, 0.4, (3, 0, 6), 1)[2] != found[0][2]


def test_cutmix_is_the_loss_of_images_with_a_rectangle_of_others_under_both_labels() -> None:
    module, data = made(cutmix=1.0), batch()
    shares, rows = [], torch.arange(12)
    for step in range(20):
        images, other, share = cutmix(data.images.double(), data.labels, 1.0, (3, 0, step), 0)
        partner = np.random.default_rng([3, 0, step, 0])
        partner.beta(1.0, 1.0), partner.integers(8), partner.integers(8)
        order = partner.permutation(12)
        assert torch.equal(other, data.labels[order])
        changed = (images != data.images).any(dim=0)[0]
        assert torch.equal(images, torch.where(changed, data.images.double()[order], data.images.double()))
        assert share == pytest.approx(1 - float(changed.double().mean()))
        if changed.any():
            height, width = (int(changed.any(dim=dim).sum()) for dim in (1, 0))
            assert height * width == int(changed.sum())  # a rectangle
        logs = log_probabilities(module, images)
        expected = -(share * logs[rows, data.labels] + (1 - share) * logs[rows, other]).mean()
        assert module.training_step(data, step).item() == pytest.approx(float(expected), rel=1e-5)
        shares.append(share)
    assert len(set(shares)) > 4
    assert min(shares) < 0.5 < max(shares)


def test_cutmix_has_one_rectangle_per_batch_and_pairs_within_microbatches() -> None:
    data = batch()
    images = data.images.float()
    found = [cutmix(images, data.labels, 1.0, (3, 0, 5), position) for position in (0, 1, 2)]
    assert len({share for _, _, share in found}) == 1
    assert not torch.equal(found[0][0], found[1][0])
    outside = [(mixed == images).all(dim=0) for mixed, _, _ in found]
    assert torch.equal(outside[0], outside[1])
    assert torch.equal(data.images.float(), images)


def test_a_batch_has_mixup_or_cutmix() -> None:
    assert mixing(0.0, 0.0, (1, 2, 3)) is None
    for alphas, allowed in (((0.2, 0.0), {mixup}), ((0.0, 1.0), {cutmix}), ((0.2, 1.0), {mixup, cutmix})):
        chosen = [mixing(*alphas, (1, 2, step)) for step in range(40)]
        assert {each.func for each in chosen if each is not None} == allowed  # type: ignore[attr-defined]
        assert all(each is not None and each.keywords["alpha"] in alphas for each in chosen)  # type: ignore[attr-defined]


@pytest.mark.parametrize("weights", [None, torch.arange(1.0, 8.0)])
@pytest.mark.parametrize("microbatches", [1, 3])
def test_shares_of_a_batch_add_up_to_its_loss(weights: Tensor | None, microbatches: int) -> None:
    """Shares of 7, 4, 1 and 0 images; Lightning divides the gradient by the number of microbatches."""
    data = batch()
    module = made(weights, label_smoothing=0.1)
    module.training_step(data, 0).backward()
    expected = [parameter.grad.clone() for parameter in module.parameters()]  # type: ignore[union-attr]
    loss, accuracy = module.train_loss.compute(), module.train_metrics.compute()["train/accuracy"]

    module = made(weights, label_smoothing=0.1)
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        accumulate_grad_batches=microbatches, current_epoch=0, global_rank=0
    )
    for number, share in enumerate((slice(0, 7), slice(7, 11), slice(11, 12), slice(12, 12))):
        one = Batch(data.images[share], data.labels[share], data.indices[share], data.labels)
        (module.training_step(one, number) / microbatches).backward()
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


@pytest.mark.parametrize(("world", "microbatches"), [(1, 1), (1, 4), (2, 2), (4, 1)])
def test_a_step_has_the_l2_penalty_once(monkeypatch: pytest.MonkeyPatch, world: int, microbatches: int) -> None:
    """Shares of 5, 4, 2 and 1 images, or all at once: DDP averages over processes, Lightning over microbatches."""
    data = batch()
    whole = convolutional(0.01)
    whole.training_step(data, 0).backward()
    monkeypatch.setattr("fersweep.training.module.world_size", lambda: world)
    shares = [slice(0, 12)] if world * microbatches == 1 else [slice(0, 5), slice(5, 9), slice(9, 11), slice(11, 12)]
    module = convolutional(0.01)
    for number, share in enumerate(shares):
        part, rank = divmod(number, world)
        module._trainer = SimpleNamespace(accumulate_grad_batches=microbatches, current_epoch=0, global_rank=rank)
        one = Batch(data.images[share], data.labels[share], data.indices[share], data.labels)
        (module.training_step(one, part) / (world * microbatches)).backward()
    expected, found = gradients(whole), gradients(module)
    assert set(expected) == set(found)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6)
    assert module.train_loss.compute().item() == pytest.approx(whole.train_loss.compute().item(), rel=1e-5)
