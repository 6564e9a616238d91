"""Outputs equal to timm's with copied weights, wherever timm follows the paper."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
from timm.layers import EcaModule, SEModule
from timm.layers.cbam import CbamModule
from timm.layers.selective_kernel import SelectiveKernelAttn
from torch import Tensor, nn

from fersweep.build import build_model, model
from fersweep.config.compose import compose_config
from fersweep.models.attention import CBAM, EfficientChannelAttention, SqueezeExcitation
from fersweep.models.gates import BranchMixture

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def v1_name(name: str) -> str:
    """timm's name, in a ResNet, of our parameter."""
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
    """timm's name, in a ResNetV2, of our parameter."""
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
        ("resnet18", "none", 48, 1),
        ("resnet18", "eca", 97, 3),
        ("resnet34", "none", 64, 3),
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
    copy_from(theirs, ours, v2_name if "v2" in backbone else v1_name)
    check_equal(ours, theirs, torch.rand(2, channels, size, size))


def check_equal(ours: nn.Module, theirs: nn.Module, images: Tensor) -> None:
    """Equal logits, which differ between images and classes."""
    expected = theirs(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours(images), expected, **TOLERANCE)


@torch.no_grad()
def test_basic_blocks_with_squeeze_excitation() -> None:
    """timm's hidden layers are rounded to multiples of 8 unless told not to be."""
    torch.manual_seed(0)
    attention = {"attn_layer": partial(SEModule, rd_divisor=1)}
    theirs = timm.create_model("resnet18", num_classes=7, in_chans=1, block_args=attention).eval()
    randomise_norms(theirs)
    ours = build_model("resnet18", "se", "relu").eval()
    copy_from(theirs, ours, v1_name)
    check_equal(ours, theirs, torch.rand(2, 1, 48, 48))


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_residual_blocks_with_cbam(backbone: str) -> None:
    """timm's modules stand in place of ours, with the same weights, their batch norm folded into the convolution."""
    torch.manual_seed(0)
    attention = {"attn_layer": partial(CbamModule, mlp_bias=True)}
    theirs = timm.create_model(backbone, num_classes=7, in_chans=1, block_args=attention).eval()
    randomise_norms(theirs)
    ours = build_model(backbone, "cbam", "relu").eval()
    source, target = theirs.state_dict(), ours.state_dict()
    ours.load_state_dict(
        {name: value if ".attention." in name else source[v1_name(name)] for name, value in target.items()}
    )
    theirs_by_name = dict(theirs.named_modules())
    modules = {name: module for name, module in ours.named_modules() if isinstance(module, CBAM)}
    assert len(modules) == sum(isinstance(each, CbamModule) for each in theirs.modules())
    for name, module in modules.items():
        copy_cbam(theirs_by_name[v1_name(name).replace("attention", "se")], module)
    check_equal(ours, theirs, torch.rand(2, 1, 48, 48))


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "width", "kind"),
    [("resnet18", 16, "small"), ("resnet34", 24, "small"), ("resnetv2_50", 32, "small"), ("resnet18", 28, "strided")],
)
def test_other_stems_and_widths(backbone: str, width: int, kind: str) -> None:
    """In place of timm's stem is one convolution, without a pool."""
    torch.manual_seed(0)
    size, stride = {"small": (3, 1), "strided": (5, 2)}[kind]
    stem = nn.Conv2d(1, width, size, stride=stride, padding=size // 2, bias=False)
    channels, options = [width * 2**number for number in range(4)], {"num_classes": 7, "in_chans": 1}
    if "v2" in backbone:
        theirs = timm.create_model(backbone, stem_chs=width, channels=[4 * each for each in channels], **options)
        theirs.stem = nn.Sequential(OrderedDict(conv=stem))
    else:
        theirs = timm.create_model(backbone, stem_type="deep", stem_width=width // 2, channels=channels, **options)
        theirs.conv1, theirs.maxpool = stem, nn.Identity()
    randomise_norms(theirs.eval())
    shape = [f"backbone.model.stem={kind}", f"backbone.model.width={width}"]
    ours = model(compose_config([f"backbone={backbone}", "attention=none", "activation=relu", *shape]), 7).eval()
    copy_from(theirs, ours, v2_name if "v2" in backbone else v1_name)
    check_equal(ours, theirs, torch.rand(2, 1, 48, 48))


@torch.no_grad()
@pytest.mark.parametrize(("backbone", "size", "rounding"), [("vgg19", 64, "up"), ("vgg16", 44, "down")])
def test_vgg_with_batch_norm_and_a_linear_head(backbone: str, size: int, rounding: str) -> None:
    """timm's features, whose pools round down; at 44 pixels these leave one position."""
    torch.manual_seed(0)
    with torch.device("meta"):
        theirs = timm.create_model(f"{backbone}_bn", num_classes=0, in_chans=1).features
    theirs = theirs.to_empty(device="cpu").eval()
    for module in theirs.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(0, module.weight[0].numel() ** -0.5 * 2)
            module.bias.normal_(0, 0.1)
    randomise_norms(theirs)
    settings = ["batch_norm=true", "head=linear", f"rounding={rounding}"]
    choices = [f"backbone={backbone}", "attention=none", "activation=relu", f"dataset.image_size={size}"]
    ours = model(compose_config([*choices, *(f"backbone.model.{each}" for each in settings)]), 7).eval()
    images = torch.rand(2, 1, size, size)
    copy_from(theirs, ours.features, str)
    features = theirs(images)
    assert features.shape[1:] == (512, size // 32, size // 32)
    torch.testing.assert_close(ours.features(images), features, **TOLERANCE)
    dropout, linear = ours.classifier
    assert (type(dropout), dropout.p) == (nn.Dropout, 0.5)
    torch.testing.assert_close(ours(images), linear(features.flatten(1)), **TOLERANCE)


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


def copy_cbam(theirs: nn.Module, ours: CBAM) -> None:
    """Copy the weights, and fold the batch norm of ``theirs`` into the convolution."""
    conv, norm = theirs.spatial.conv.conv, theirs.spatial.conv.bn
    for linear, pointwise in [(ours.mlp[0], theirs.channel.fc1), (ours.mlp[2], theirs.channel.fc2)]:
        linear.weight.copy_(pointwise.weight.flatten(1))
        linear.bias.copy_(pointwise.bias)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    ours.conv.weight.copy_(conv.weight * scale)
    ours.conv.bias.copy_(norm.bias - norm.running_mean * scale)


@torch.no_grad()
@pytest.mark.parametrize("channels", [64, 256, 2048])
def test_cbam_is_timms_with_its_batch_norm_folded_into_the_convolution(channels: int) -> None:
    torch.manual_seed(0)
    theirs = CbamModule(channels, mlp_bias=True).eval()
    randomise_norms(theirs)
    ours = CBAM(channels)
    copy_cbam(theirs, ours)
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
