"""Convolutions as matrix products: as close to float64 as torch's own, and only for the shapes of the rules."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fersweep.models.fast.convolution import RULES, MatmulConv2d, Products, _Convolution

WAYS = [Products(*each) for each in product((False, True), repeat=2)]


def distance(found: Tensor, exact: Tensor) -> float:
    return float((found.detach().double() - exact.detach()).norm() / exact.detach().norm())


def passed(conv: nn.Conv2d, x: Tensor, gradient: Tensor, bf16: bool = True) -> list[Tensor]:
    """Result and all gradients."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = conv(x)
    y.backward(gradient.to(y.dtype))
    grads = [each.grad for each in (x, *conv.parameters())]
    return [y, *(grad for grad in grads if grad is not None)]


@pytest.mark.parametrize("ways", WAYS, ids=str)
@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("sides", [(2, 2), (5, 4), (6, 7)])
@pytest.mark.parametrize("bf16", [True, False])
def test_results_and_gradients_are_as_exact_as_torchs(
    ways: Products, kernel_size: int, stride: int, sides: tuple[int, int], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(RULES, torch.bfloat16 if bf16 else torch.float32, lambda *_: ways)
    ours = MatmulConv2d(48, 32, kernel_size, stride, kernel_size // 2).to(memory_format=torch.channels_last)
    theirs = nn.Conv2d(48, 32, kernel_size, stride, kernel_size // 2).to(memory_format=torch.channels_last)
    theirs.load_state_dict(ours.state_dict())
    exact = nn.Conv2d(48, 32, kernel_size, stride, kernel_size // 2).double()
    exact.load_state_dict(ours.state_dict())
    x = torch.randn(3, 48, *sides).to(memory_format=torch.channels_last)
    gradient = torch.randn_like(theirs(x))
    results = zip(
        passed(ours, x, gradient, bf16),
        passed(theirs, x, gradient, bf16),
        passed(exact, x.double(), gradient.double(), bf16=False),
        strict=True,
    )
    for own, other, truth in results:
        assert own.dtype == other.dtype
        assert own.shape == other.shape
        assert own.is_contiguous(memory_format=torch.channels_last) or own.ndim == 1
        assert distance(own, truth) < 1.1 * distance(other, truth) + (1e-3 if bf16 else 1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_map_of_one_pixel(stride: int) -> None:
    """With stride 2, oneDNN gives weights that see only padding a gradient of uninitialised memory."""
    torch.manual_seed(0)
    conv, exact = (kind(256, 8, 3, stride, 1, bias=False) for kind in (MatmulConv2d, nn.Conv2d))
    exact.load_state_dict(conv.state_dict())
    x, gradient = torch.randn(3, 256, 1, 1), torch.randn(3, 8, 1, 1)
    found = passed(conv.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last), gradient)
    for own, truth in zip(found, passed(exact.double(), x.double(), gradient.double(), bf16=False), strict=True):
        assert distance(own, truth) < 0.01


def test_frozen_weights_get_no_gradient() -> None:
    conv = MatmulConv2d(256, 16, 1).to(memory_format=torch.channels_last)
    conv.weight.requires_grad_(False)
    x = torch.randn(2, 256, 3, 3).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert "_Convolution" in type(y.grad_fn).__name__
    y.sum().backward()
    assert conv.weight.grad is None
    assert conv.bias is not None
    assert conv.bias.grad is not None
    assert torch.equal(conv.bias.grad, torch.full((16,), 18.0))


def way_of(conv: nn.Conv2d, x: Tensor, bf16: bool = True) -> str:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return type(conv(x).grad_fn).__name__


def test_only_small_maps_in_channels_last_are_products() -> None:
    conv = MatmulConv2d(256, 64, 3, 1, 1).to(memory_format=torch.channels_last)
    small, large = (torch.randn(2, 256, side, side).to(memory_format=torch.channels_last) for side in (2, 12))
    for bf16 in (True, False):
        assert "_Convolution" in way_of(conv, small, bf16)
        assert way_of(conv, large, bf16) == "ConvolutionBackward0"
        assert way_of(conv, small.contiguous(), bf16) == "ConvolutionBackward0"
    assert "_Convolution" in way_of(conv.bfloat16(), small.bfloat16(), bf16=False)
    assert way_of(conv.double(), small.double(), bf16=False) == "ConvolutionBackward0"


@pytest.mark.parametrize(
    "setting",
    [
        {"padding": 2, "dilation": 2},
        {"padding": 0},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": 1, "stride": (1, 2)},
        {"padding": 1, "groups": 2},
    ],
)
def test_other_convolutions_are_torchs_own(setting: dict[str, Any]) -> None:
    conv = MatmulConv2d(512, 64, 3, **setting).to(memory_format=torch.channels_last)
    x = torch.randn(2, 512, 3, 3).to(memory_format=torch.channels_last)
    assert way_of(conv, x) == "ConvolutionBackward0"


def test_other_memory_formats_are_torchs_own_bit_for_bit() -> None:
    torch.manual_seed(0)
    ours, theirs = MatmulConv2d(256, 64, 1), nn.Conv2d(256, 64, 1)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 256, 2, 2)
    assert torch.equal(ours(x), theirs(x))


def test_an_export_has_torchs_convolution() -> None:
    conv = MatmulConv2d(256, 64, 1).to(memory_format=torch.channels_last).bfloat16()
    x = torch.randn(2, 256, 3, 3).bfloat16().to(memory_format=torch.channels_last)
    assert "_Convolution" in way_of(conv, x, bf16=False)
    called = [str(node.target) for node in torch.export.export(conv, (x,)).graph.nodes if node.op == "call_function"]
    assert called == ["aten.conv2d.default"]


@pytest.mark.parametrize(
    ("dtype", "kernel_size", "stride", "in_channels", "pixels", "images", "weights"),
    [
        (torch.float32, 1, 1, 2048, 9, True, True),
        (torch.float32, 1, 1, 2048, 16, False, True),
        (torch.float32, 1, 2, 256, 144, False, False),
        (torch.float32, 1, 1, 64, 4, False, False),
        (torch.float32, 3, 1, 512, 4, False, True),
        (torch.float32, 3, 1, 128, 9, False, True),
        (torch.float32, 3, 1, 128, 16, False, False),
        (torch.float32, 3, 2, 256, 36, False, True),
        (torch.float32, 3, 1, 512, 49, False, False),
        (torch.float32, 3, 1, 64, 4, False, False),
        (torch.bfloat16, 1, 1, 2048, 4, True, True),
        (torch.bfloat16, 1, 1, 64, 144, False, False),
        (torch.bfloat16, 1, 2, 256, 144, True, False),
        (torch.bfloat16, 3, 1, 512, 4, True, True),
        (torch.bfloat16, 3, 1, 256, 9, False, True),
        (torch.bfloat16, 3, 1, 512, 9, True, True),
        (torch.bfloat16, 3, 1, 512, 36, False, False),
        (torch.bfloat16, 3, 2, 128, 36, False, True),
        (torch.bfloat16, 3, 2, 256, 9, True, True),
        (torch.bfloat16, 3, 1, 64, 4, False, False),
    ],
)
def test_the_rules_by_shape(
    dtype: torch.dtype, kernel_size: int, stride: int, in_channels: int, pixels: int, images: bool, weights: bool
) -> None:
    assert RULES[dtype](kernel_size, stride, in_channels, pixels) == Products(images, weights)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, ways: Products) -> Tensor:
    y: Tensor = _Convolution.apply(x, weight, bias, stride, padding, ways)
    return y


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 3, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    for ways, (size, stride) in product(WAYS, ((1, 1), (1, 2), (3, 1), (3, 2))):
        weight = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
        convolved = partial(_convolved, stride=stride, padding=size // 2, ways=ways)
        assert torch.autograd.gradcheck(convolved, (x, weight, bias))


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 2), (3, 2)])
def test_inference_is_one_product_too(kernel_size: int, stride: int) -> None:
    """Torch would multiply strided rows one by one, with a copy of the weights for each."""
    conv = MatmulConv2d(512, 64, kernel_size, stride, kernel_size // 2).to(memory_format=torch.channels_last).bfloat16()
    x = torch.randn(2, 512, 6, 6).bfloat16().to(memory_format=torch.channels_last)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        conv(x)
    assert [str(name) for name in counter.get_flop_counts()["Global"]] == ["aten.addmm"]
