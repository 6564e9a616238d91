"""Parts of networks as the study's code built them (``conf/fidelity/code.yaml``), where it deviates from the papers.

Source: the last commit of the study's public code, run with TensorFlow 2.15 and Keras' defaults
(docs/explanation/study.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.attention import CBAM, check_kernel_size
from fersweep.models.pooling import SpatialMean

KERAS_MOMENTUM = 0.01
"""Keras' 0.99, which is the weight of the old moving statistics; PyTorch's momentum is the weight of the new ones."""


class RowBatchNorm(nn.Module):
    """Batch norm of image rows instead of channels: statistics over (N, W, C), one scale and shift per row.

    The code normalised axis 1 of (N, H, W, C) tensors. Differences between channels remain, so the bias of a preceding
    convolution is not redundant. The output uses the biased variance, the moving statistics the unbiased one.
    """

    def __init__(self, height: int, epsilon: float) -> None:
        super().__init__()
        if epsilon <= 0:
            raise UserError(f"fidelity.norm.epsilon={epsilon} must be positive.")
        self.rows = nn.BatchNorm2d(height, eps=epsilon, momentum=KERAS_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (B, C, height, W); a channels-last map is not copied."""
        return self.rows(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def row_batch_norm(channels: int, height: int, epsilon: float = 1.001e-5) -> RowBatchNorm:  # noqa: ARG001
    """Return :class:`RowBatchNorm` for maps of ``height`` rows, of any number of channels."""
    return RowBatchNorm(height, epsilon)


def scalar_gate_kernel_size(channels: int, gamma: float, beta: float) -> int:
    """Return ⌊log₂C + beta / gamma⌋, plus one where even: 9, 9, 11, 11 for 256, 512, 1024, 2048 channels.

    The paper's rule also divides the logarithm by gamma, see :func:`fersweep.models.attention.eca_kernel_size`.
    """
    size = int(abs(math.log2(channels) + beta / gamma))
    return size + 1 if size % 2 == 0 else size


class ScalarGate(nn.Module):
    """The code's "ECA": x · σ(⟨w, GAP(x)⟩), one gate per image, where ECA has one per channel.

    Its one-dimensional convolution ran over a sequence of length one with C input channels, so only the centre of the
    ``kernel_size`` taps sees data: the others have zero gradient, keep their initial values and count as parameters.
    """

    def __init__(self, channels: int, kernel_size: int | None = None, gamma: float = 2.0, beta: float = 1.0) -> None:
        super().__init__()
        size = scalar_gate_kernel_size(channels, gamma, beta) if kernel_size is None else kernel_size
        check_kernel_size(size)
        self.pool = SpatialMean()
        self.conv = nn.Conv1d(channels, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by one gate in (0, 1) per image."""
        return x * self.image_gate(x)

    def image_gate(self, x: Tensor) -> Tensor:
        """Return the gate of each image, (B, 1, 1, 1) in (0, 1)."""
        centre = self.conv.weight[:, :, self.conv.kernel_size[0] // 2]
        gate = torch.sigmoid(nn.functional.linear(self.pool(x), centre))
        return gate[:, :, None, None]

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        return {"image": self.image_gate(x)}


class ParallelCBAM(CBAM):
    """CBAM with both gates on the input: x · Mc(x) · Ms(x), where CBAM has x · Mc(x) · Ms(x · Mc(x))."""

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by one gate per channel and one per position."""
        return x * self.channel_gate(x) * self.spatial_gate(x)

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (:class:`fersweep.models.gates.Attention`)."""
        return {"channels": self.channel_gate(x), "positions": self.spatial_gate(x)}


@torch.no_grad()
def glorot_uniform(network: nn.Module) -> None:
    """Redraw all weights as Keras does: Glorot and Bengio's uniform distribution (2010, eq. 16), biases zero.

    Norms are left alone.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
