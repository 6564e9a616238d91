"""Fast pooling: the values and gradients of the plain modules, in the map's own memory format."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fersweep.models.fast import speed_up
from fersweep.models.pooling import ChannelPool, SpatialMean

POOLS = [SpatialMean(), ChannelPool()]


def fast(pool: nn.Module) -> nn.Module:
    return speed_up(copy.deepcopy(pool))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_values_and_gradients_are_torchs(pool: nn.Module, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    own, other = (torch.randn(3, 8, 5, 4).to(memory_format=layout) for _ in range(2))
    other.copy_(own)
    results = [fast(pool)(own.requires_grad_()), pool(other.requires_grad_())]
    assert torch.equal(*results)
    assert torch.equal(fast(pool)(own.detach()), results[1])
    gradient = torch.randn_like(results[0])
    for result in results:
        result.backward(gradient)
    assert own.grad is not None
    assert other.grad is not None
    assert torch.equal(own.grad, other.grad)
    assert own.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("speed", [nn.Module.eval, fast], ids=["plain", "fast"])
def test_the_first_of_equal_maxima_gets_the_gradient(speed: object) -> None:
    assert callable(speed)
    pool = speed(ChannelPool())
    x = torch.zeros(1, 2, 2, 2, requires_grad=True)
    pool(x)[:, 1].sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.tensor([1.0, 0.0])[None, :, None, None].expand_as(x))
    assert torch.autograd.gradcheck(pool, torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_bf16_stays_bf16(pool: nn.Module) -> None:
    x = torch.randn(2, 8, 3, 3).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y, plain = fast(pool)(x), pool(x)
    assert y.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(y, plain)  # torch's mean rounds once, a divided sum twice
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
