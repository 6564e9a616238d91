"""Attention modules as their papers define them: squeeze-and-excitation, ECA and CBAM.

Each maps (B, C, H, W) to the same shape. Hidden layers use ReLU, as in the papers, whatever the backbone's activation.
Weights are initialised by PyTorch's default, so that every gate starts close to one half.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fersweep.errors import UserError
from fersweep.models.pooling import ChannelPool, SpatialMean


def bottleneck_mlp(channels: int, reduction: int) -> nn.Sequential:
    """Return C → max(1, C / reduction) → C, with ReLU between and biases, on (B, C).

    Hidden units start in pairs of opposite weights, so that one of each pair is active for any input. Pooled maps of
    different images are almost parallel: with independent weights, one gate of 64 channels (four hidden units) in
    sixteen would start dead.
    """
    if reduction < 1:
        raise UserError(f"attention.reduction={reduction} must be 1 or more.")
    hidden = max(1, channels // reduction)
    first = nn.Linear(channels, hidden)
    pairs = hidden // 2
    with torch.no_grad():
        for parameter in first.parameters():
            parameter[pairs : 2 * pairs] = -parameter[:pairs]
    return nn.Sequential(first, nn.ReLU(), nn.Linear(hidden, channels))


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation (Hu, Shen & Sun 2018, eqs. 2–4): x · σ(W₂ ReLU(W₁ GAP(x))).

    Both layers have biases, as the fully connected layers of the released models do.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.pool = SpatialMean()
        self.mlp = bottleneck_mlp(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of ``x`` (B, C, H, W) by one gate in (0, 1)."""
        return x * self.channel_gate(x)

    def channel_gate(self, x: Tensor) -> Tensor:
        """Return the gates of the channels, (B, C, 1, 1) in (0, 1)."""
        gate = torch.sigmoid(self.mlp(self.pool(x)))
        return gate[:, :, None, None]

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        return {"channels": self.channel_gate(x)}


def check_kernel_size(size: int) -> None:
    """Raise UserError unless ``size`` is odd, so that a convolution keeps its input's size, and at most 255."""
    if not isinstance(size, int) or not 1 <= size <= 255 or size % 2 == 0:
        raise UserError(
            f"attention.kernel_size={size} must be odd and from 1 to 255, so that the output has the size of the input."
        )


def eca_kernel_size(channels: int, gamma: float, beta: float) -> int:
    """Return the odd number nearest to (log₂C + beta) / gamma, the upper one of two (Wang et al. 2020, eq. 12).

    3, 5, 5, 5, 5, 7 for 64, 128, 256, 512, 1024, 2048 channels with gamma 2 and beta 1.
    """
    nearest = 2 * math.floor((math.log2(channels) + beta) / gamma / 2) + 1
    return max(1, nearest)


class EfficientChannelAttention(nn.Module):
    """ECA (Wang et al. 2020, eqs. 9 and 12): x · σ(conv1d(GAP(x))), a convolution across the channels.

    The kernel has ``kernel_size`` taps (``None``: :func:`eca_kernel_size`), no bias, and zero padding.
    """

    def __init__(self, channels: int, kernel_size: int | None = None, gamma: float = 2.0, beta: float = 1.0) -> None:
        super().__init__()
        size = eca_kernel_size(channels, gamma, beta) if kernel_size is None else kernel_size
        check_kernel_size(size)
        self.pool = SpatialMean()
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of ``x`` (B, C, H, W) by one gate in (0, 1)."""
        return x * self.channel_gate(x)

    def channel_gate(self, x: Tensor) -> Tensor:
        """Return the gates of the channels, (B, C, 1, 1) in (0, 1)."""
        gate = torch.sigmoid(self.conv(self.pool(x)[:, None, :]))
        return gate[:, 0, :, None, None]

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        return {"channels": self.channel_gate(x)}


class CBAM(nn.Module):
    """Convolutional block attention module (Woo et al. 2018, eqs. 1–3): channel attention, then spatial attention.

    Channel gate σ(MLP(avg) + MLP(max)) with one MLP for both; spatial gate σ(conv([avg; max])) of the map refined by
    the channel gate. The convolution has a bias and no batch norm (the paper names none).
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        self.spatial_mean, self.channel_pool = SpatialMean(), ChannelPool()
        self.mlp = bottleneck_mlp(channels, reduction)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by one gate per channel, then by one gate per position."""
        x = x * self.channel_gate(x)
        return x * self.spatial_gate(x)

    def channel_gate(self, x: Tensor) -> Tensor:
        """Return the gates of the channels, (B, C, 1, 1) in (0, 1)."""
        gate = torch.sigmoid(self.mlp(self.spatial_mean(x)) + self.mlp(F.adaptive_max_pool2d(x, 1).flatten(1)))
        return gate[:, :, None, None]

    def spatial_gate(self, x: Tensor) -> Tensor:
        """Return the gates of the positions, (B, 1, H, W) in (0, 1)."""
        return torch.sigmoid(self.conv(self.channel_pool(x)))

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        channels = self.channel_gate(x)
        return {"channels": channels, "positions": self.spatial_gate(x * channels)}
