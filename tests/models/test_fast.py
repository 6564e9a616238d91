"""`speed_up`: every network trains with the faster layers, and nothing else changes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from conftest import quickly_composed
from torch import Tensor, nn
from torch.nn import functional as F

from fersweep import build
from fersweep.config.options import option_file, options
from fersweep.config.schema import to_dict
from fersweep.inference.trained import rebuild
from fersweep.models.fast import SWAPS, speed_up
from fersweep.models.gates import Gate
from fersweep.models.pooling import ChannelPool, SpatialMean
from fersweep.training.network import network_for_training

FIDELITIES = options("fidelity")
NETWORKS = [
    (backbone, attention, fidelity)
    for backbone in options("backbone")
    for attention in (options("attention") if option_file("backbone", backbone)["attention_position"] else ["none"])
    for fidelity in FIDELITIES
    if backbone in ("vgg16", "resnet18", "resnetv2_50") or attention in ("none", "cbam")
    if attention in ("none", "se") or fidelity == "paper" or attention in option_file("fidelity", fidelity)["attention"]
]
"""Every backbone and every attention in each of its forms, not all pairs."""


def network(*overrides: str) -> nn.Module:
    """A network with weights of seed 0."""
    torch.manual_seed(0)
    return build.model(quickly_composed(*overrides), 7)


def plain_layers(of: nn.Module) -> list[nn.Module]:
    """Layers that have a faster class and do not have it yet."""
    gated = {each for gate in of.modules() if isinstance(gate, Gate) for each in gate.modules()}
    return [
        each
        for each in of.modules()
        if type(each) in (SpatialMean, ChannelPool) or (type(each) is nn.Conv2d and each not in gated)
    ]


@pytest.mark.parametrize(("backbone", "attention", "fidelity"), NETWORKS)
def test_every_network_is_plain_torch_and_trains_with_the_faster_layers(
    backbone: str, attention: str, fidelity: str
) -> None:
    choices = (f"backbone={backbone}", f"attention={attention}", f"fidelity={fidelity}")
    with torch.device("meta"):
        plain = network(*choices)
        trained = network_for_training(quickly_composed(*choices), 7, torch.device("cpu"))
    slow = plain_layers(plain)
    assert slow
    assert not {type(each) for each in plain.modules()} & set(SWAPS.values())
    assert attention not in ("se", "eca", "cbam") or any(isinstance(each, SpatialMean) for each in slow)
    assert not plain_layers(trained)
    assert sum(type(each) in SWAPS.values() for each in trained.modules()) == len(slow)
    assert list(trained.state_dict()) == list(plain.state_dict())


def test_a_loaded_network_has_the_faster_layers(tmp_path: Path) -> None:
    cfg = quickly_composed("backbone=aer_cnn")
    _, loaded = rebuild(to_dict(cfg), 7, tmp_path, build.model(cfg, 7).state_dict())
    assert not plain_layers(loaded)


def gradients(of: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits, and the gradient of every parameter by its name."""
    logits = of(images)
    F.cross_entropy(logits, torch.arange(len(images))).backward()
    found = {name: each.grad for name, each in of.named_parameters()}
    return {"logits": logits.detach()} | {name: each for name, each in found.items() if each is not None}


@pytest.mark.parametrize(
    "choices",
    [
        "backbone=resnet50 backbone.model.depths=[1,1,1,1] attention=cbam fidelity=paper",
        "backbone=resnetv2_50 backbone.model.depths=[1,1,1,1] attention=se fidelity=code",
        "backbone=drf_msam fidelity=paper",
    ],
)
def test_outputs_and_gradients_are_those_of_the_plain_network(choices: str) -> None:
    plain = network(*choices.split(), "dataset.image_size=40").to(memory_format=torch.channels_last)
    fast = speed_up(copy.deepcopy(plain))
    images = torch.rand(3, 1, 40, 40).to(memory_format=torch.channels_last)
    torch.manual_seed(1)  # of dropout
    expected = gradients(plain, images)
    torch.manual_seed(1)
    found = gradients(fast, images)
    assert found.keys() == expected.keys()
    for name, each in found.items():
        scale = max(float(expected[name].norm()), 1e-6)
        assert float((each - expected[name]).norm()) < 2e-3 * scale, name


def test_a_layer_keeps_its_state_mode_and_hooks() -> None:
    calls: list[int] = []
    conv = nn.Conv2d(4, 4, 3, padding=1).double().eval().requires_grad_(False)
    conv.register_forward_hook(lambda *_: calls.append(1))
    weight = conv.weight
    assert speed_up(conv) is conv
    assert isinstance(conv, SWAPS[nn.Conv2d])
    assert conv.weight is weight
    assert not conv.training
    conv(torch.rand(1, 4, 3, 3, dtype=torch.float64))
    assert calls


def test_an_activation_in_place_after_a_convolution_trains() -> None:
    """Other libraries have them; autograd forbids them on the view that a faster convolution returns."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(128, 128, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
    swapped = speed_up(copy.deepcopy(plain)).train()
    images = torch.rand(2, 128, 3, 3).to(memory_format=torch.channels_last)
    for network in (plain, swapped):
        network(images).sum().backward()
    for one, other in zip(plain.parameters(), swapped.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_subclasses_and_layers_that_are_not_named_stay() -> None:
    class Own(nn.Conv2d):
        pass

    made = speed_up(nn.Sequential(Own(1, 2, 1), nn.Conv2d(2, 2, 1), SpatialMean()), {SpatialMean: SWAPS[SpatialMean]})
    assert [type(each) for each in made.children()] == [Own, nn.Conv2d, SWAPS[SpatialMean]]
