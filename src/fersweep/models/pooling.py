"""Pooling in attention modules and gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpatialMean(nn.Module):
    """Global average pooling, (B, C, H, W) to (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over all positions."""
        return x.mean(dim=(2, 3))


class ChannelPool(nn.Module):
    """Mean and maximum along the channels, (B, C, H, W) to (B, 2, H, W) (Woo et al. 2018, eq. 3)."""

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate both."""
        return torch.cat([x.mean(dim=1, keepdim=True), x.max(dim=1, keepdim=True).values], dim=1)
