"""Every network of the config groups: it builds, maps images to logits, and every parameter learns."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from networks import (
    ACTIVATIONS,
    ATTENTIONS,
    COUNTED,
    FIDELITIES,
    NETWORKS,
    OWN,
    RESNETS,
    SHALLOW,
    VGGS,
    build,
    build_activation,
    check_learning,
    composed,
    images,
)
from omegaconf import OmegaConf
from torch import Tensor, nn

from fersweep.build import build_model, model
from fersweep.config.options import option_file
from fersweep.errors import UserError
from fersweep.models.common import forward_gain, scaled
from fersweep.models.gates import Attention
from fersweep.models.norm import batch_norm
from fersweep.models.resnet import ResNet
from fersweep.models.resnetv2 import ResNetV2
from fersweep.models.vgg import VGG

OPTIONS = {
    "attention": nn.Identity,
    "activation": nn.ReLU,
    "norm": batch_norm,
    "num_classes": 7,
    "in_channels": 1,
    "image_size": 48,
}


# Trainable parameters at 48×48×1 with 7 classes, for these (docs/reference/models.md shows the same).
PARAMETERS = {
    "vgg16": (39_916_231, 39_949_543, 39_916_236, 39_949_642),
    "vgg19": (45_225_927, 45_259_239, 45_225_932, 45_259_338),
    "resnet18": (11_173_831, 11_262_911, 11_173_867, 11_263_703),
    "resnet34": (21_281_991, 21_443_187, 21_282_065, 21_444_771),
    "resnet50": (23_516_103, 26_047_095, 23_516_189, 26_048_679),
    "resnet101": (42_508_231, 47_285_943, 42_508_402, 47_289_210),
    "resnet152": (58_151_879, 64_780_919, 58_152_135, 64_785_869),
    "resnetv2_50": (23_508_423, 26_039_415, 23_508_509, 26_040_999),
    "resnetv2_101": (42_500_551, 47_278_263, 42_500_722, 47_281_530),
    "resnetv2_152": (58_144_199, 64_773_239, 58_144_455, 64_778_189),
    "aer_cnn": (336_458,),
    "msff_cnn": (662_759,),
    "drf_msam": (2_177_771,),
}


FORMS = [
    (backbone, attention, fidelity)
    for backbone, attention in NETWORKS
    for fidelity in FIDELITIES
    if attention in ("none", "se") or fidelity == "paper" or attention in option_file("fidelity", fidelity)["attention"]
]
"""Networks in each form of their attention; without and with SE in each form of the backbone."""


@pytest.mark.parametrize(("backbone", "attention", "fidelity"), FORMS)
def test_every_combination_learns(
    backbone: str, attention: str, fidelity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each activation and attention; they are replaced in one composed configuration.

    ResNets have many blocks of one kind: these take the activations in turn, but not in 50 layers without attention.
    Those of more than 50 layers have all of them with CBAM only.
    Wide networks have half their channels, and the hidden dense layers of a VGG an eighth: most of the time would go
    into drawing weights, whose number another test counts.
    At 32 pixels the last map has one position: batch norm of its row cancels the scale of the norm before it, and
    self-attention has nothing to compare. At 40 it has four.
    """
    size = 40
    plain = json.loads(composed(f"backbone={backbone}", f"fidelity={fidelity}", f"dataset.image_size={size}"))
    plain["attention"] = option_file("attention", attention)
    monkeypatch.setattr("fersweep.models.vgg.HIDDEN", 512)
    shape = plain["backbone"]["model"]
    if "width" in shape and shape.get("block") != "basic":  # these leave an attention too few units to learn with
        shape["width"] = 32
    in_turn = backbone in RESNETS and not (backbone.endswith("50") and attention == "none")
    if in_turn and attention not in ("none", "cbam"):
        plain["backbone"]["model"]["depths"] = [1, 2, 1, 1]
    for activation in ACTIVATIONS[:1] if in_turn else ACTIVATIONS if attention in COUNTED else ACTIVATIONS[-1:]:
        plain["activation"] = option_file("activation", activation)
        torch.manual_seed(0)
        network = model(OmegaConf.create(plain), 7)
        kind = type(build_activation(activation))
        own = {each for module in network.modules() if isinstance(module, Attention) for each in module.modules()}
        places = [
            (each, name)
            for each in network.modules()
            for name, child in each.named_children()
            if type(child) is kind and each not in own
        ]
        assert places
        if in_turn:
            for (parent, name), other in zip(places, itertools.cycle(ACTIVATIONS)):
                setattr(parent, name, build_activation(other))
        check_learning(network, f"{backbone} {attention} {activation} {fidelity}", size=size)


@pytest.mark.parametrize(
    ("backbone", "attention", "expected"),
    [(name, *each) for name, counts in PARAMETERS.items() for each in zip(COUNTED, counts, strict=False)],
)
def test_parameter_counts(backbone: str, attention: str, expected: int) -> None:
    with torch.device("meta"):
        network = build(f"backbone={backbone}", f"attention={attention}")
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("backbone", RESNETS)
def test_every_residual_block_has_attention_before_the_addition(backbone: str) -> None:
    """With attention of zero, the output of a block is its shortcut (in v1 activated)."""
    network = build(f"backbone={backbone}", "backbone.model.depths=[1,2,1,1]", "attention=se", "activation=relu").eval()
    for stage in network.stages:
        for block in stage:
            block.attention.register_forward_hook(lambda _module, _args, output: torch.zeros_like(output))
    block = network.stages[1][0]
    x = torch.randn(2, block.conv1.in_channels, 6, 6)
    if "v2" in backbone:
        expected = block.shortcut(torch.relu(block.norm1(x)))
        torch.testing.assert_close(network.stages[1][1](expected), expected)
    else:
        expected = torch.relu(block.shortcut(x))
        torch.testing.assert_close(network.stages[1][1](expected), expected)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("backbone", ["resnet18", "resnetv2_50"])
def test_attention_can_be_in_the_last_stage_alone(backbone: str) -> None:
    settings = ["backbone.model.depths=[1,1,1,2]", "backbone.attention_position=last_stage"]
    with torch.device("meta"):
        network = build(f"backbone={backbone}", "attention=se", *settings)
    attended = [[isinstance(block.attention, Attention) for block in stage] for stage in network.stages]
    assert attended == [[False], [False], [False], [True, True]]


@pytest.mark.parametrize(("backbone", "expansion"), [("resnet18", 1), ("resnetv2_50", 4), ("vgg16", 1)])
def test_widths_between_whole_numbers_round_each_stage(backbone: str, expansion: int) -> None:
    """16.25 · (1, 2, 4, 8) is 16, 33, 65, 130, halves rounded up; a whole number is what it was."""
    assert [scaled(16, multiple) for multiple in (1, 2, 4, 8)] == [16, 32, 64, 128]
    counts = []
    for width in (16, 16.0, 16.25, 17):
        with torch.device("meta"):
            network = build_model(backbone, "none", width=width)
        counts.append(sum(each.numel() for each in network.parameters()))
        if width == 16.25:
            convs = [each.out_channels for each in network.modules() if isinstance(each, nn.Conv2d)]
            assert {16, 33, 65, 130} <= set(convs)
            assert max(convs) == expansion * 130
    assert counts[0] == counts[1] < counts[2] < counts[3]


@pytest.mark.parametrize(("stem", "kernel", "stride"), [("small", 3, 1), ("strided", 5, 2)])
@pytest.mark.parametrize("backbone", RESNETS)
def test_stems_without_pool_keep_or_halve_the_resolution_and_the_width_scales_every_layer(
    backbone: str, stem: str, kernel: int, stride: int
) -> None:
    shapes: list[tuple[int, ...]] = []
    with torch.device("meta"):
        settings = [f"backbone.model.stem={stem}", "backbone.model.width=16", "attention=none", "dataset.image_size=44"]
        network = build(f"backbone={backbone}", *settings)
        for layer in (network.stem, *network.stages):
            layer.register_forward_hook(lambda _module, _args, output: shapes.append(tuple(output.shape[1:])))
        network(torch.empty(1, 1, 44, 44))
    expansion = 1 if backbone in ("resnet18", "resnet34") else 4
    side = 44 // stride
    stages = [(expansion * 16 * 2**number, -(-side // 2**number), -(-side // 2**number)) for number in range(4)]
    assert shapes == [(16, side, side), *stages]
    assert (network.stem.conv.kernel_size, network.stem.conv.stride) == ((kernel, kernel), (stride, stride))
    assert network.classifier.in_features == expansion * 128


@pytest.mark.parametrize("stem", ["small", "strided"])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "resnetv2_50"])
def test_networks_with_stems_of_other_papers_learn(backbone: str, stem: str) -> None:
    small = (f"backbone.model.stem={stem}", "backbone.model.width=8", "attention=cbam", "attention.reduction=4")
    check_learning(build(f"backbone={backbone}", *small), backbone)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("backbone=resnet18 backbone.model.width=0", "backbone.model.width=0 must be a number from 1 to 1024"),
        ("backbone=resnetv2_50 backbone.model.width=0.5", "backbone.model.width=0.5 must be a number from 1"),
        ("backbone=resnet50 backbone.model.stem=smal", r"backbone.model.stem=smal is not known \(did you mean small\?"),
        (
            "backbone=resnet34 backbone.model.block=bottle",
            r"block=bottle is not known \(did you mean bottleneck\?\): choose bottleneck or",
        ),
        (
            "backbone=resnet18 +fidelity.backbone.resnet_basic.stride_on=conv1",
            "stride_on=conv1 has no effect with back",
        ),
        ("backbone=vgg16 backbone.model.head=linaer", r"backbone.model.head=linaer is not known \(did you mean linear"),
        ("backbone=vgg19 backbone.model.rounding=nearest", "rounding=nearest is not known: choose up or down"),
        ("backbone=vgg19 backbone.model.width=-1", "backbone.model.width=-1 must be a number from 1 to 1024"),
        ("backbone=resnetv2_50 backbone.model.stem=small fidelity=code", "zero_padded_pool=true has no effect with ba"),
        ("backbone=resnetv2_50 backbone.model.stem=strided fidelity=code", "no effect with backbone.model.stem=str"),
    ],
)
def test_settings_that_networks_cannot_have(overrides: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=message):
        build(*overrides.split())


@pytest.mark.parametrize(("size", "channels"), [(48, 3), (64, 1), (97, 3), (224, 1)])
@pytest.mark.parametrize("backbone", ["vgg16", "vgg19", "resnet18", "resnet50", "resnetv2_50"])
def test_shapes(backbone: str, size: int, channels: int) -> None:
    maps: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        network = build_model(backbone, "cbam", in_channels=channels, image_size=size, num_classes=8)
        last = network.features if backbone in VGGS else network.stages
        last.register_forward_hook(lambda _module, _args, output: maps.update(last=tuple(output.shape)))
        logits = network(torch.empty(5, channels, size, size))
    side = -(-size // 32)
    assert maps["last"] == (5, 2048 if backbone in RESNETS and backbone.endswith("50") else 512, side, side)
    assert logits.shape == (5, 8)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (VGG, {"depths": [1] * 5, "batch_norm": True}),
        (ResNet, {"depths": [1] * 4}),
        (ResNet, {"depths": [2] * 4, "block": "basic", "stem": "small", "width": 8}),
        (ResNetV2, {"depths": [1] * 4}),
        (ResNetV2, {"depths": [1] * 4, "stem": "small", "width": 8}),
    ],
)
def test_the_norm_factory_gets_the_rows_of_its_feature_map(kind: type, settings: dict[str, Any]) -> None:
    rows: list[tuple[int, int]] = []

    class Recorder(nn.Module):
        def __init__(self, channels: int, height: int) -> None:
            super().__init__()
            self.expected = (channels, height)

        def forward(self, x: Tensor) -> Tensor:
            assert tuple(x.shape[1:3]) == self.expected
            rows.append(self.expected)
            return x

    options = {**OPTIONS, "norm": Recorder, "image_size": 97}
    position = "before_classifier" if kind is VGG else "before_addition"
    network = kind(**settings, attention_position=position, **options)
    network(images(size=97))
    assert len(rows) == sum(isinstance(module, Recorder) for module in network.modules()) >= 5


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50", "resnetv2_50", *OWN])
@pytest.mark.parametrize("shape", [(2, 3, 48, 48), (2, 1, 48, 64), (1, 48, 48), (2, 1, 64, 64)])
def test_wrong_images_are_named(backbone: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        network = build_model(backbone, "none" if backbone in OWN else "cbam")
        with pytest.raises(ValueError, match=r"expected images of shape \(B, 1, 48, 48\), got \(") as caught:
            network(torch.empty(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "depths", "position", "message"),
    [
        (VGG, [2, 2, 3, 3, 3], "layers_11_14", "needs 14 convolutions and this VGG has 13"),
        (VGG, [2, 2, 4, 4, 4], "every_convs", "did you mean every_conv.*before_classifier"),
        (ResNet, [3, 4, 6, 3], "every_conv", "in a ResNet: choose before_addition"),
        (ResNetV2, [3, 4, 6, 3], "every_conv", "in a ResNetV2: choose before_addition"),
        (ResNet, [3, 4, 6], "before_addition", "one number for each of its 4 stages"),
        (VGG, [1, 1, 1, 1, 0], "before_classifier", "each of its 5 stages, each at least 1"),
    ],
)
def test_impossible_networks_are_user_errors(kind: type, depths: list[int], position: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(depths, attention_position=position, **OPTIONS)


def test_forward_gain() -> None:
    assert forward_gain(nn.ReLU()) == pytest.approx(2**0.5, rel=0.01)
    assert forward_gain(nn.SELU()) == pytest.approx(1, rel=0.01)  # its fixed point
    assert forward_gain(nn.Identity()) == pytest.approx(1, rel=0.01)
    before = torch.random.get_rng_state()
    forward_gain(nn.ELU())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("backbone", "attention"),
    [each for each in NETWORKS if each[0] in ("vgg16", "resnetv2_50", *OWN) and each[1] in COUNTED]
    + [("resnet50", attention) for attention in ATTENTIONS],
)
def test_channels_last_and_bfloat16(backbone: str, attention: str) -> None:
    depths = [] if attention in COUNTED else [SHALLOW]
    network, x = build(f"backbone={backbone}", f"attention={attention}", *depths).eval(), images()
    with torch.no_grad():
        plain = network(x)
        network = network.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
        torch.testing.assert_close(network(x), plain, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), plain, rtol=0.1, atol=0.1 * float(plain.abs().max()))


def test_seed_decides_the_weights() -> None:
    first, second = (build("backbone=resnetv2_50", "attention=cbam").state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_network_is_built_with_settings_of_its_backbone() -> None:
    network = build_model("resnet18", "none", "relu", image_size=44, stem="small", width=16)
    assert sum(each.numel() for each in network.parameters()) == 700_791
    with pytest.raises(UserError, match="backbone=resnet18 has no setting 'stam': choose block, depths, pooling, "):
        build_model("resnet18", stam="small")
