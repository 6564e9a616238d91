"""Benchmarks of training steps: the bare loop, the peers' networks and program, optimisations, the ceiling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarking import by_name, smoke_settings
from conftest import quickly_composed
from torch import nn

from benchmarks import measure, plain, settings
from benchmarks.bare import BareLoop
from benchmarks.parts import ceiling, changes, peers
from benchmarks.settings import Settings
from fersweep import build
from fersweep.build import build_model
from fersweep.models.common import parameter_counts as parameters
from fersweep.models.fast import SWAPS
from fersweep.models.pooling import SpatialMean


@pytest.fixture
def smoke(tmp_path: Path) -> Settings:
    """A smoke benchmark of two rounds."""
    return smoke_settings(tmp_path)


def test_the_bare_step_follows_the_recipe() -> None:
    torch.manual_seed(0)
    cfg = quickly_composed(
        "trainer.precision=32", "recipe.batch_size=4", "dataset.image_size=32", "recipe.gradient_clip=0.01"
    )
    ours, reference = (nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 7)) for _ in range(2))
    reference.load_state_dict(ours.state_dict())
    loop = BareLoop(ours, cfg, torch.device("cpu"))
    loop.step(3)
    optimizer = build.optimizer_factory(cfg)(reference.parameters())
    nn.functional.cross_entropy(reference(loop.images[:3]), loop.labels[:3]).backward()
    assert nn.utils.clip_grad_norm_(reference.parameters(), 0.01) > 0.01
    optimizer.step()
    torch.testing.assert_close(ours.state_dict(), reference.state_dict())
    before = ours[1].weight.clone()
    loop.validate()
    assert torch.equal(ours[1].weight, before)
    assert ours.training


def test_torchvision_networks_have_our_size() -> None:
    with torch.device("meta"):
        images = torch.empty(2, 1, 48, 48)
        for theirs, backbone in ((peers._resnet50(), "resnet50"), (peers._vgg19(2), "vgg19")):
            ours = build_model(backbone, "none", "relu", "paper")
            assert parameters(theirs) == parameters(ours)
            assert theirs(images).shape == ours(images).shape == (2, 7)
        assert parameters(peers._vgg19(7))["params_total"] == 139_597_767


def test_attention_is_timed_forward_and_backward(smoke: Settings) -> None:
    module = nn.Conv2d(8, 8, 1)
    peers._pass(module, 8, 4, 3, smoke)()
    assert module.weight.grad is not None
    assert module.weight.grad.abs().sum() > 0
    found = peers.beside_timm(smoke, 2)
    assert [figure.what for figure in found] == ["ours", "timm"] * 12
    maps = [figure.case["map"] for figure in found[::6]]
    assert maps == ["256×8×8", "512×4×4", "1024×2×2", "2048×1×1"]
    for ours, theirs in zip(found[::2], found[1::2], strict=True):
        assert ours.case == theirs.case
        by_name([ours, theirs])
        assert theirs.to == "ours"


@pytest.mark.usefixtures("tiny_network")
def test_the_plain_program_trains_on_the_same_images(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int]] = []
    training_step = plain.Classifier.training_step

    def counted(self: plain.Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        assert images.shape[1:] == (1, 32, 32)
        assert images.dtype == torch.float32
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        steps.append((str(labels.dtype), len(images)))
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(plain.Classifier, "training_step", counted)
    found = peers.beside_plain(smoke, *smoke.cases()[0])
    assert steps == [("torch.int64", 8)] * 14 * 3
    assert [(figure.what, figure.to) for figure in found] == [
        ("ours, training batches", None),
        ("ours, epoch", None),
        ("plain Lightning, training batches", "ours, training batches"),
        ("plain Lightning, epoch", "ours, epoch"),
    ]
    by_name(found)
    assert not (smoke.folder / "plain").exists()


def test_missing_peers_are_left_out(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    made = measure.figures("images/s", {}, {"ours": (1.0, 1.0)})
    for name in ("beside_torchvision", "beside_plain"):
        monkeypatch.setattr(peers, name, lambda *_: made)
    monkeypatch.setattr(peers, "find_spec", lambda _: None)
    monkeypatch.setattr(settings, "precision", lambda *_: "32-true")
    part = peers.measure(smoke)
    assert part.figures == made * 2
    assert [note.partition(":")[0] for note in part.notes[1:]] == [
        "timm is not installed",
        "This device has no bf16",
    ]


def test_each_candidate_lacks_one_optimisation_and_the_last_has_none(
    smoke: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[set[type[nn.Module]]] = []

    class Loop(BareLoop):
        def step(self, count: int | None = None) -> None:
            used.append({type(each) for each in self.network.modules()} & set(SWAPS.values()))
            super().step(count)

    monkeypatch.setattr(changes, "BareLoop", Loop)
    part = changes.measure(replace(smoke, backbones=("drf_msam",)))
    assert [each.what for each in part.figures] == list(changes.CANDIDATES)
    assert all(each.to == "none of them" for each in part.figures[:5])
    convolution, pooling = {SWAPS[nn.Conv2d]}, {SWAPS[SpatialMean]}
    for expected in (convolution | pooling, convolution, pooling, set()):
        assert expected in used


def test_operations_are_those_of_convolutions(smoke: Settings) -> None:
    size, taps = smoke.image_size, 9
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 2, 3, padding=1))
    first, second = 4 * 1 * taps * size**2, 2 * 4 * taps * size**2
    assert ceiling._operations(network, smoke) == 2 * (2 * first + 3 * second)  # the images need no gradient


def test_a_training_step_is_below_the_ceiling(smoke: Settings) -> None:
    part = ceiling.measure(smoke)
    assert [(each.what, each.unit) for each in part.figures] == [
        ("matrix product", "TFLOP/s"),
        ("training step", "TFLOP/s"),
        ("bare loop", "images/s"),
    ]
    step = part.figures[1]
    assert step.to == "matrix product"
    assert all(0 < ratio < 1 for ratio in step.ratios)
