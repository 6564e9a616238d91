"""Attention by gates for single values, rows, columns or channels: SimAM, coordinate and triplet attention, BAM, GCT.

Each maps (B, C, H, W) to the same shape. A convolution before a norm has no bias, which the norm would cancel;
the authors' code has some, without effect. Linear layers are 1×1 convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.attention import check_kernel_size
from fersweep.models.pooling import ChannelPool, SpatialMean


def reduced(channels: int, reduction: int, least: int = 1) -> int:
    """Return C / ``reduction`` rounded down, at least ``least``: the channels of a hidden layer."""
    if not isinstance(reduction, int) or reduction < 1:
        raise UserError(f"attention.reduction={reduction} must be a whole number, 1 or more.")
    return max(least, channels // reduction)


class SimAM(nn.Module):
    """SimAM (Yang et al. 2021, eqs. 5 and 6): x · σ(1 / e), one gate for every value, without parameters.

    1 / e = (x - μ)² / (4 (v + λ)) + 1/2, with the mean μ and the variance v = Σ (x - μ)² / (H W - 1) of the value's
    channel, is large where a value stands out. ``strength`` is λ.
    """

    def __init__(self, channels: int, strength: float = 1e-4) -> None:
        super().__init__()
        if not strength > 0:
            raise UserError(f"attention.strength={strength} must be positive: a channel may be constant.")
        self.strength = strength
        self.pool = SpatialMean()

    def forward(self, x: Tensor) -> Tensor:
        """Scale each value of ``x`` (B, C, H, W) by one gate, at least σ(1/2) and below 1."""
        return x * self.gate(x)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gates of the values, (B, C, H, W)."""
        distance = (x - self.pool(x)[:, :, None, None]).square()
        variance = distance.sum(dim=(2, 3), keepdim=True) / max(1, x.shape[2] * x.shape[3] - 1)
        return torch.sigmoid(distance / (4 * (variance + self.strength)) + 0.5)

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        return {"positions": self.gate(x)}


class CoordinateAttention(nn.Module):
    """Coordinate attention (Hou, Zhou & Feng 2021, eqs. 4–9): x · g(row) · g(column), for each channel.

    Means along rows and along columns pass one 1×1 convolution to max(8, C / ``reduction``) channels, norm and
    hard-swish together, then a convolution and σ each.
    """

    def __init__(self, channels: int, reduction: int = 32) -> None:
        super().__init__()
        hidden = reduced(channels, reduction, least=8)
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.act = nn.Hardswish()
        self.rows = nn.Conv2d(hidden, channels, 1)
        self.columns = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by one gate per channel and row and one per channel and column, in (0, 1)."""
        rows, columns = self.line_gates(x)
        return x * rows * columns

    def line_gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates of rows, (B, C, H, 1), and of columns, (B, C, 1, W)."""
        lines = torch.cat([x.mean(dim=3, keepdim=True), x.mean(dim=2, keepdim=True).transpose(2, 3)], dim=2)
        hidden = self.act(self.norm(self.reduce(lines)))
        rows, columns = hidden.split([x.shape[2], x.shape[3]], dim=2)
        return torch.sigmoid(self.rows(rows)), torch.sigmoid(self.columns(columns.transpose(2, 3)))

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (:class:`fersweep.models.gates.Attention`): products of rows' and columns'."""
        rows, columns = self.line_gates(x)
        return {"positions": rows * columns}


class PlaneGate(nn.Module):
    """σ(norm(conv([mean; max]))) over the first axis of a tensor (B, A, D, E): gates (B, 1, D, E) in (0, 1)."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.pool = ChannelPool()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, A, D, E) to (B, 1, D, E)."""
        return torch.sigmoid(self.norm(self.conv(self.pool(x))))


class TripletAttention(nn.Module):
    """Triplet attention (Misra et al. 2021, eqs. 1–4): the mean of x scaled by gates of its three planes.

    The planes are channel × column, channel × row and row × column; each is pooled along the third axis
    (:class:`PlaneGate`). The norm's momentum is PyTorch's (the authors' code: 0.01).
    """

    def __init__(self, channels: int, kernel_size: int = 7) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        self.columns, self.rows, self.positions = (PlaneGate(kernel_size) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Scale each value of ``x`` (B, C, H, W) by the mean of three gates in (0, 1)."""
        return x * self.gate(x)

    def gate(self, x: Tensor) -> Tensor:
        """Return the mean gates, (B, C, H, W) in (0, 1)."""
        columns = self.columns(x.transpose(1, 2)).transpose(1, 2)
        rows = self.rows(x.transpose(1, 3)).transpose(1, 3)
        return (columns + rows + self.positions(x)) / 3

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        return {"positions": self.gate(x)}


class BAM(nn.Module):
    """Bottleneck attention module (Park et al. 2018, eqs. 1–4): x + x · M, with M = σ(Mc + Ms) of channel and position.

    Mc is an MLP of the spatial mean; Ms a 1×1, two 3×3 (dilated) and a 1×1 convolution. Hidden layers have
    C / ``reduction`` channels, norm and ReLU, as in the authors' code, which has no norm after the last layers (eqs. 3
    and 4 have one) and multiplies Mc by Ms where eq. 2 adds.
    """

    def __init__(self, channels: int, reduction: int = 16, dilation: int = 4) -> None:
        super().__init__()
        if not isinstance(dilation, int) or not 1 <= dilation <= 64:
            raise UserError(f"attention.dilation={dilation} must be a whole number from 1 to 64.")
        hidden = reduced(channels, reduction)
        self.pool = SpatialMean()
        self.channels = nn.Sequential(*_hidden(channels, hidden), nn.Conv2d(hidden, channels, 1))
        dilated = [layer for _ in range(2) for layer in _hidden(hidden, hidden, 3, dilation)]
        self.positions = nn.Sequential(*_hidden(channels, hidden), *dilated, nn.Conv2d(hidden, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale each value of ``x`` (B, C, H, W) by 1 + M, in (1, 2)."""
        return x + x * self.gate(x)

    def gate(self, x: Tensor) -> Tensor:
        """Return M, (B, C, H, W) in (0, 1)."""
        return torch.sigmoid(self.channels(self.pool(x)[:, :, None, None]) + self.positions(x))

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return M for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        return {"positions": self.gate(x)}


def _hidden(in_channels: int, channels: int, kernel_size: int = 1, dilation: int = 1) -> list[nn.Module]:
    """Return a "same"-padded convolution, norm and ReLU."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(in_channels, channels, kernel_size, padding=padding, dilation=dilation, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU()]


class GatedChannelTransform(nn.Module):
    """Gated channel transformation (Yang et al. 2020, eqs. 2–4): x · (1 + tanh(γ ŝ + β)), for each channel.

    s = α ‖x‖₂ of the channel's map, and ŝ is s divided by its root mean square over the channels. It begins as the
    identity: α is 1, γ and β are 0. ``epsilon`` is added before each root, as in the authors' code.
    """

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        if not epsilon > 0:
            raise UserError(f"attention.epsilon={epsilon} must be positive: a channel may be zero.")
        self.epsilon = epsilon
        self.alpha = nn.Parameter(torch.ones(channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of ``x`` (B, C, H, W) by a factor in (0, 2)."""
        return x * self.factor(x)

    def factor(self, x: Tensor) -> Tensor:
        """Return the factors of the channels, (B, C, 1, 1) in (0, 2)."""
        norm = (x.square().sum(dim=(2, 3), keepdim=True) + self.epsilon).sqrt() * self.alpha
        scale = (norm.square().mean(dim=1, keepdim=True) + self.epsilon).rsqrt()
        return 1 + torch.tanh(self.gamma * norm * scale + self.beta)

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the factors for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        return {"channels": self.factor(x)}
