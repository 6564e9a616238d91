"""VGG networks: where attention is, how signals start, batch norm, narrow ones, dropout."""

from __future__ import annotations

import json

import pytest
import torch
from networks import ACTIVATIONS, ATTENTIONS, COUNTED, VGGS, build, check_learning, composed, images
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

from fersweep.build import make, model
from fersweep.config.options import option_file

POSITIONS = [(vgg, position) for vgg in VGGS for position in ("before_classifier", "every_conv", "layers_11_14")]
POSITIONS.remove(("vgg16", "layers_11_14"))


ATTENDED = [(*each, attention) for each in POSITIONS for attention in COUNTED[1:]]
ATTENDED += [("vgg16", "every_conv", attention) for attention in ATTENTIONS if attention not in COUNTED]


@pytest.mark.parametrize(("backbone", "position", "attention"), ATTENDED)
def test_vgg_attention_positions(backbone: str, position: str, attention: str) -> None:
    plain = json.loads(composed(f"backbone={backbone}", "dataset.image_size=32"))
    plain["backbone"]["attention_position"] = position
    plain["backbone"]["model"] |= {"head": "linear", "width": 16}
    plain["attention"] = option_file("attention", attention)
    torch.manual_seed(0)
    network = model(OmegaConf.create(plain), 7)
    convs = 13 if backbone == "vgg16" else 16
    kind = type(build_attention(attention))
    attended, number = [], 0
    for layer in network.features:
        number += isinstance(layer, nn.Conv2d)
        if isinstance(layer, kind):
            attended.append(number)
    if position == "before_classifier":
        assert attended == []
        assert isinstance(network.attention, kind)
    else:
        assert attended == (list(range(1, convs + 1)) if position == "every_conv" else [11, 14])
        assert isinstance(network.attention, nn.Identity)
        check_learning(network, f"{backbone} {position} {attention}", size=32)


def build_attention(name: str) -> nn.Module:
    """The module of an attention's config file, of 32 channels."""
    node = {key: value for key, value in option_file("attention", name).items() if key not in ("name", "title")}
    return make(node, channels=32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_plain_vgg19_starts_with_sane_signals(activation: str) -> None:
    """Without norm, logits and the gradient of the first of 19 layers neither vanish nor explode."""
    check_start(build("backbone=vgg19", "attention=none", f"activation={activation}"))


@pytest.mark.parametrize("attention", ["se", "eca", "cbam"])
def test_gates_after_every_conv_do_not_make_signals_vanish(attention: str) -> None:
    """Without compensation sixteen gates near one half would scale the logits by 1e-5 (CBAM: 1e-10)."""
    check_start(build("backbone=vgg19", "backbone.attention_position=every_conv", f"attention={attention}"))


def check_start(network: nn.Module) -> None:
    """Logits' spread in 0.01 … 10, the first layer's gradient in 0.01 … 100."""
    logits = network.eval()(images(batch=4))
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    assert 0.01 < logits.detach().std() < 10
    assert 0.01 < network.features[0].weight.grad.norm() < 100


def test_vgg_batch_norm_option() -> None:
    norms = [
        sum(isinstance(module, nn.BatchNorm2d) for module in build("backbone=vgg16", option).modules())
        for option in ("backbone.model.batch_norm=false", "backbone.model.batch_norm=true")
    ]
    assert norms == [0, 13]
    check_learning(build("backbone=vgg16", "backbone.model.batch_norm=true", "attention=cbam"), "vgg16 with batch norm")


@pytest.mark.parametrize("attention", ["none", "cbam"])
def test_a_narrow_vgg_with_a_linear_head_learns(attention: str) -> None:
    """At 44 pixels, where pools that round down leave 128 features."""
    settings = ["head=linear", "rounding=down", "width=16", "batch_norm=true"]
    network = build(
        "backbone=vgg19",
        f"attention={attention}",
        "dataset.image_size=44",
        *(f"backbone.model.{each}" for each in settings),
    )
    convs = [layer.out_channels for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert convs == [16] * 2 + [32] * 2 + [64] * 4 + [128] * 8
    assert [parameter.shape for parameter in network.classifier.parameters()] == [(7, 128), (7,)]
    check_learning(network, attention, size=44)


def test_vgg_dropout_only_in_training() -> None:
    network = build("backbone=vgg16", "attention=none")
    x = images()
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
