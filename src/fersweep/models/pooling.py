"""Means and maxima of feature maps whose gradients cost as little as the pooling itself.

A mean divides the sum, not each of the gradient's equal values; a maximum hands its gradient to the pixel or channel
that has it (the first of equals), where torch's `amax` compares the whole map once more and shares it out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def spatial_mean(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C)."""
    return x.sum(dim=(2, 3), dtype=x.dtype) / (x.shape[2] * x.shape[3])


def spatial_max(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C)."""
    return F.adaptive_max_pool2d(x, 1).flatten(1)


def channel_mean(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 1, H, W)."""
    return x.sum(dim=1, keepdim=True, dtype=x.dtype) / x.shape[1]


def channel_max(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 1, H, W)."""
    if not (x.requires_grad and torch.is_grad_enabled()):
        return x.amax(dim=1, keepdim=True)
    maxima: Tensor = _ChannelMax.apply(x)
    return maxima


class _ChannelMax(torch.autograd.Function):
    """`Tensor.max` along the channels; its own gradient is not laid out as the map and copies it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        maxima, channels = x.permute(0, 2, 3, 1).max(dim=3)
        ctx.save_for_backward(channels)
        ctx.map = torch.empty_like(x, device="meta")
        return maxima[:, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (channels,) = ctx.saved_tensors
        batch, rows, columns = (torch.arange(size, device=channels.device) for size in channels.shape)
        gradient = torch.zeros_like(ctx.map, device=channels.device)
        gradient[batch[:, None, None], channels, rows[:, None], columns] = gradients[0][:, 0]
        return gradient
