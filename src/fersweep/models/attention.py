"""Attention modules as their papers define them: squeeze-and-excitation, ECA and CBAM.

Each takes and returns (B, C, H, W). Hidden layers use ReLU, as the papers do, whatever activation the backbone has.
Weights have PyTorch's own initial distribution, so that every gate starts close to one half.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.pooling import channel_max, channel_mean, spatial_max, spatial_mean


def bottleneck_mlp(channels: int, reduction: int) -> nn.Sequential:
    """Return C → max(1, C / reduction) → C, with ReLU between and biases, on (B, C).

    Hidden units start in pairs of opposite weights, so that one of each pair is active for any input. Pooled maps of
    all images point almost the same way; drawn freely, all four hidden units of a 64-channel map would be dead, and the
    gate a constant, in one network of sixteen.
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
        self.mlp = bottleneck_mlp(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of ``x`` (B, C, H, W) by one gate in (0, 1)."""
        return x * self.channel_gate(x)

    def channel_gate(self, x: Tensor) -> Tensor:
        """Return the gates of the channels, (B, C, 1, 1) in (0, 1)."""
        gate = torch.sigmoid(self.mlp(spatial_mean(x)))
        return gate[:, :, None, None]

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` by what they are of (:class:`fersweep.models.gates.Attention`)."""
        return {"channels": self.channel_gate(x)}


def check_kernel_size(size: int) -> None:
    """Raise UserError unless ``size`` is odd, so that a convolution can keep its input's size, and not absurd."""
    if not isinstance(size, int) or not 1 <= size <= 255 or size % 2 == 0:
        raise UserError(
            f"attention.kernel_size={size} must be odd, and 1 to 255, so that the output has the size of the input."
        )


def eca_kernel_size(channels: int, gamma: float, beta: float) -> int:
    """Return the odd number nearest to (log₂C + beta) / gamma, the upper one of two (Wang et al. 2020, eq. 12).

    3, 5, 5, 5, 5, 7 for 64, 128, 256, 512, 1024, 2048 channels with gamma 2 and beta 1.
    """
    nearest = 2 * math.floor((math.log2(channels) + beta) / gamma / 2) + 1
    return max(1, nearest)


class EfficientChannelAttention(nn.Module):
    """ECA (Wang et al. 2020, eqs. 9 and 12): x · σ(conv1d(GAP(x))), the convolution running across the channels.

    The kernel has ``kernel_size`` taps, or :func:`eca_kernel_size` where that is ``None``, shared by all channels, no
    bias, and zeros beyond either end.
    """

    def __init__(self, channels: int, kernel_size: int | None = None, gamma: float = 2.0, beta: float = 1.0) -> None:
        super().__init__()
        size = eca_kernel_size(channels, gamma, beta) if kernel_size is None else kernel_size
        check_kernel_size(size)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of ``x`` (B, C, H, W) by one gate in (0, 1)."""
        return x * self.channel_gate(x)

    def channel_gate(self, x: Tensor) -> Tensor:
        """Return the gates of the channels, (B, C, 1, 1) in (0, 1)."""
        gate = torch.sigmoid(self.conv(spatial_mean(x)[:, None, :]))
        return gate[:, 0, :, None, None]

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` by what they are of (:class:`fersweep.models.gates.Attention`)."""
        return {"channels": self.channel_gate(x)}


class CBAM(nn.Module):
    """Convolutional block attention module (Woo et al. 2018, eqs. 1–3): first along channels, then over space.

    Channel gate σ(MLP(avg) + MLP(max)), one MLP for both; spatial gate σ(conv([avg; max])) of the map that the channel
    gate has already refined. The convolution has a bias and no batch norm (the paper names none).
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        self.mlp = bottleneck_mlp(channels, reduction)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by a gate for each channel, then by a gate for each position."""
        x = x * self.channel_gate(x)
        return x * self.spatial_gate(x)

    def channel_gate(self, x: Tensor) -> Tensor:
        """Return the gates of the channels, (B, C, 1, 1) in (0, 1)."""
        gate = torch.sigmoid(self.mlp(spatial_mean(x)) + self.mlp(spatial_max(x)))
        return gate[:, :, None, None]

    def spatial_gate(self, x: Tensor) -> Tensor:
        """Return the gates of the positions, (B, 1, H, W) in (0, 1)."""
        pooled = torch.cat([channel_mean(x), channel_max(x)], dim=1)
        return torch.sigmoid(self.conv(pooled))

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` by what they are of (:class:`fersweep.models.gates.Attention`)."""
        channels = self.channel_gate(x)
        return {"channels": channels, "positions": self.spatial_gate(x * channels)}
