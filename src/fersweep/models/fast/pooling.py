"""Pooling with torch's values and gradients, whose backward pass does not go over the whole map again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fersweep.models.pooling import ChannelPool, SpatialMean


class FastSpatialMean(SpatialMean):
    """`SpatialMean` as sum / count: the gradient is divided once per channel, not per pixel as by torch's `mean`."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over all positions."""
        return x.sum(dim=(2, 3), dtype=x.dtype) / (x.shape[2] * x.shape[3])


class FastChannelPool(ChannelPool):
    """`ChannelPool` as sum / count, whose gradient of the maximum has the memory layout of the map."""

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate mean and maximum along the channels."""
        mean = x.sum(dim=1, keepdim=True, dtype=x.dtype) / x.shape[1]
        trains = x.requires_grad and torch.is_grad_enabled()
        maximum = _ChannelMax.apply(x) if trains else x.amax(dim=1, keepdim=True)
        return torch.cat([mean, maximum], dim=1)


class _ChannelMax(torch.autograd.Function):
    """`Tensor.max` along the channels, without the copy of the map that torch's own gradient makes."""

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
