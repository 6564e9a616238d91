"""Pooling: the values and gradients of torch's mean and max, in the map's own memory format."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fersweep.models.pooling import channel_max, channel_mean, spatial_max, spatial_mean

FORMS: dict[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] = {
    spatial_mean: lambda x: x.mean(dim=(2, 3)),
    spatial_max: lambda x: x.amax(dim=(2, 3)),
    channel_mean: lambda x: x.mean(dim=1, keepdim=True),
    channel_max: lambda x: x.amax(dim=1, keepdim=True),
}


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("pool", FORMS)
def test_values_and_gradients_are_torchs(pool: Callable[[Tensor], Tensor], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    own, other = (torch.randn(3, 8, 5, 4).to(memory_format=layout) for _ in range(2))
    other.copy_(own)
    results = [pool(own.requires_grad_()), FORMS[pool](other.requires_grad_())]
    assert torch.equal(*results)
    assert torch.equal(pool(own.detach()), results[1])
    gradient = torch.randn_like(results[0])
    for result in results:
        result.backward(gradient)
    assert own.grad is not None
    assert other.grad is not None
    assert torch.equal(own.grad, other.grad)
    assert own.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("pool", [spatial_max, channel_max])
def test_the_first_of_equals_gets_the_gradient(pool: Callable[[Tensor], Tensor]) -> None:
    x = torch.zeros(1, 2, 2, 2, requires_grad=True)
    y = pool(x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == y.numel()
    first = x.grad[0, :, 0, 0] if pool is spatial_max else x.grad[0, 0]
    assert torch.equal(first, torch.ones_like(first))
    assert torch.autograd.gradcheck(pool, torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("pool", FORMS)
def test_bf16_stays_bf16(pool: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 8, 3, 3).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = pool(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
