"""What the study's reference code built in place of the parts that the papers define.

``conf/fidelity/code.yaml`` puts these in; each says how it differs from its counterpart. Source: the last commit
of the study's public code, run with TensorFlow 2.15 and Keras' defaults (docs/explanation/study.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.attention import CBAM, check_kernel_size
from fersweep.models.pooling import spatial_mean

KERAS_MOMENTUM = 0.01
"""Keras' 0.99: it names the share that the moving statistics keep, PyTorch the share that they take in."""


class RowBatchNorm(nn.Module):
    """Batch norm of image rows in place of channels: statistics over (N, W, C), a scale and shift for each row.

    The reference normalised axis 1 of (N, H, W, C) tensors. Rows then share nothing with their neighbours, and the
    channels of a row keep their differences, so the bias of a convolution before it is not redundant. Biased variance
    in the output, unbiased in the moving statistics.
    """

    def __init__(self, height: int, epsilon: float) -> None:
        super().__init__()
        if epsilon <= 0:
            raise UserError(f"fidelity.norm.epsilon={epsilon} must be positive.")
        self.rows = nn.BatchNorm2d(height, eps=epsilon, momentum=KERAS_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (B, C, H, W), where H is ``height``; a channels-last map is not copied."""
        return self.rows(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def row_batch_norm(channels: int, height: int, epsilon: float = 1.001e-5) -> RowBatchNorm:  # noqa: ARG001
    """Return :class:`RowBatchNorm` for maps of ``height`` rows; the channels do not matter to it."""
    return RowBatchNorm(height, epsilon)


def scalar_gate_kernel_size(channels: int, gamma: float, beta: float) -> int:
    """Return ⌊log₂C + beta / gamma⌋, made odd by adding one: 9, 9, 11, 11 for 256, 512, 1024, 2048 channels.

    The paper's rule divides the logarithm by gamma as well, see :func:`fersweep.models.attention.eca_kernel_size`.
    """
    size = int(abs(math.log2(channels) + beta / gamma))
    return size + 1 if size % 2 == 0 else size


class ScalarGate(nn.Module):
    """The reference's "ECA": x · σ(⟨w, GAP(x)⟩), one gate for the whole image, where ECA has one for each channel.

    Its one-dimensional convolution ran over a sequence of length one with C input channels, so only the centre tap of
    the ``kernel_size`` taps ever meets data: the others keep their initial values and a gradient of zero, and count as
    parameters.
    """

    def __init__(self, channels: int, kernel_size: int | None = None, gamma: float = 2.0, beta: float = 1.0) -> None:
        super().__init__()
        size = scalar_gate_kernel_size(channels, gamma, beta) if kernel_size is None else kernel_size
        check_kernel_size(size)
        self.conv = nn.Conv1d(channels, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by one gate in (0, 1) for each image."""
        return x * self.image_gate(x)

    def image_gate(self, x: Tensor) -> Tensor:
        """Return the gate of each image, (B, 1, 1, 1) in (0, 1)."""
        centre = self.conv.weight[:, :, self.conv.kernel_size[0] // 2]
        gate = torch.sigmoid(nn.functional.linear(spatial_mean(x), centre))
        return gate[:, :, None, None]

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` by what they are of (:class:`fersweep.models.gates.Attention`)."""
        return {"image": self.image_gate(x)}


class ParallelCBAM(CBAM):
    """CBAM whose two gates both read the input: x · Mc(x) · Ms(x), where CBAM has x · Mc(x) · Ms(x · Mc(x))."""

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by a gate for each channel and a gate for each position."""
        return x * self.channel_gate(x) * self.spatial_gate(x)

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` by what they are of (:class:`fersweep.models.gates.Attention`)."""
        return {"channels": self.channel_gate(x), "positions": self.spatial_gate(x)}


@torch.no_grad()
def glorot_uniform(network: nn.Module) -> None:
    """Draw all weights anew as Keras does: Glorot and Bengio's uniform distribution (2010, eq. 16), biases zero.

    Norms keep scale 1, shift 0 and moving statistics 0 and 1.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
