"""Outputs equal to timm's with copied weights, wherever timm follows the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from timm.layers import EcaModule, SEModule
from timm.layers.cbam import CbamModule
from timm.layers.selective_kernel import SelectiveKernelAttn
from torch import nn

from fersweep.build import build_model, model
from fersweep.config.compose import compose_config
from fersweep.models.attention import CBAM, EfficientChannelAttention, SqueezeExcitation
from fersweep.models.gates import BranchMixture

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def v1_name(name: str) -> str:
    """timm's name, in resnet50, of our parameter."""
    for ours, theirs in [
        ("stem.conv", "conv1"),
        ("stem.norm", "bn1"),
        ("shortcut.conv", "downsample.0"),
        ("shortcut.norm", "downsample.1"),
        ("classifier", "fc"),
        ("attention.mlp.0", "se.fc1"),
        ("attention.mlp.2", "se.fc2"),
        ("attention.conv", "se.conv"),
        ("norm", "bn"),
    ]:
        name = name.replace(ours, theirs)
    if name.startswith("stages."):
        _, stage, rest = name.split(".", 2)
        name = f"layer{int(stage) + 1}.{rest}"
    return name


def v2_name(name: str) -> str:
    """timm's name, in resnetv2_50, of our parameter."""
    if name.startswith("stages."):
        _, stage, block, rest = name.split(".", 3)
        return f"stages.{stage}.blocks.{block}.{rest.replace('shortcut', 'downsample.conv')}"
    return name.replace("classifier", "head.fc")


def copy_from(theirs: nn.Module, ours: nn.Module, timm_name: Callable[[str], str]) -> None:
    """Copy the weights of ``theirs`` to ``ours``; every tensor of both must have a counterpart."""
    source = theirs.state_dict()
    ours.load_state_dict(
        {key: source.pop(timm_name(key)).reshape(value.shape) for key, value in ours.state_dict().items()}
    )
    assert not source


def randomise_norms(network: nn.Module) -> None:
    """Give batch norm an effect in evaluation mode, without growing activations."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.5)
            module.weight.data.uniform_(0.3, 0.7)
            module.bias.data.normal_(0, 0.1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "attention", "size", "channels"),
    [
        ("resnet50", "none", 48, 1),
        ("resnet50", "none", 97, 3),
        ("resnet50", "none", 224, 3),
        ("resnetv2_50", "none", 48, 1),
        ("resnetv2_50", "none", 97, 3),
        ("resnetv2_50", "none", 224, 3),
        ("resnet50", "se", 64, 3),
        ("resnet50", "eca", 64, 3),
    ],
)
def test_networks(backbone: str, attention: str, size: int, channels: int) -> None:
    torch.manual_seed(0)
    options = {} if attention == "none" else {"block_args": {"attn_layer": attention}}
    theirs = timm.create_model(backbone, num_classes=7, in_chans=channels, **options).eval()
    randomise_norms(theirs)
    ours = build_model(backbone, attention, "relu", "paper", 7, channels, size).eval()
    copy_from(theirs, ours, v1_name if backbone == "resnet50" else v2_name)
    images = torch.rand(2, channels, size, size)
    expected = theirs(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours(images), expected, **TOLERANCE)


@torch.no_grad()
def test_vgg_features_with_batch_norm() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("vgg19_bn", num_classes=0, in_chans=3).eval().features
    randomise_norms(theirs)
    cfg = compose_config(
        ["backbone=vgg19", "backbone.model.batch_norm=true", "attention=none", "activation=relu", "dataset.channels=3"]
    )
    ours = model(cfg, 7).eval().features
    images = torch.rand(2, 3, 64, 64)
    copy_from(theirs, ours, str)
    torch.testing.assert_close(ours(images), theirs(images), **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("channels", [64, 256, 2048])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SqueezeExcitation, lambda channels: SEModule(channels, rd_divisor=1)),  # timm rounds to multiples of 8
        (EfficientChannelAttention, EcaModule),
    ],
)
def test_channel_attention_modules(ours, theirs, channels: int) -> None:
    torch.manual_seed(0)
    ours, theirs = ours(channels), theirs(channels)
    names = {"mlp.0": "fc1", "mlp.2": "fc2", "conv": "conv"}
    copy_from(theirs, ours, lambda name: f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}")
    x = torch.randn(2, channels, 6, 6)
    torch.testing.assert_close(ours(x), theirs(x), **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("channels", [64, 256, 2048])
def test_cbam_is_timms_with_its_batch_norm_folded_into_the_convolution(channels: int) -> None:
    torch.manual_seed(0)
    theirs = CbamModule(channels, mlp_bias=True).eval()
    randomise_norms(theirs)
    conv, norm = theirs.spatial.conv.conv, theirs.spatial.conv.bn
    ours = CBAM(channels)
    for linear, pointwise in [(ours.mlp[0], theirs.channel.fc1), (ours.mlp[2], theirs.channel.fc2)]:
        linear.weight.copy_(pointwise.weight.flatten(1))
        linear.bias.copy_(pointwise.bias)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    ours.conv.weight.copy_(conv.weight * scale)
    ours.conv.bias.copy_(norm.bias - norm.running_mean * scale)
    x = torch.randn(2, channels, 6, 6)
    torch.testing.assert_close(ours(x), theirs(x), **TOLERANCE)


def test_the_mixture_of_branches_is_selective_kernel_attention() -> None:
    """timm's has a norm and no biases; without the norm the weights are equal."""
    torch.manual_seed(0)
    theirs = SelectiveKernelAttn(32, num_paths=3, attn_channels=16, norm_layer=nn.Identity)
    ours = BranchMixture(32, branches=3, hidden=16, activation=nn.ReLU)
    with torch.no_grad():
        for mine, other in ((ours.mlp[0], theirs.fc_reduce), (ours.mlp[2], theirs.fc_select)):
            mine.weight.copy_(other.weight.flatten(1))
            mine.bias.zero_()
    maps = torch.randn(2, 3, 32, 6, 6)
    torch.testing.assert_close(ours(list(maps.unbind(dim=1))), theirs(maps)[..., 0, 0], rtol=1e-5, atol=1e-6)
