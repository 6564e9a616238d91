"""AER-CNN as the notebook's text describes it: attention to regions at several layers, fused and classified.

The text gives the idea without layers. `fersweep.models.notebook.NotebookAERCNN` is the network of its code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fersweep.models.common import (
    ActivationFactory,
    NormFactory,
    check_images,
    check_widths,
    conv_norm_act,
    halved,
    linear,
)
from fersweep.models.gates import SpatialGate


class RegionAttention(nn.Module):
    """x · (1 + s) with one gate s per position: attention to regions of the face.

    After the spatial branch of BAM (Park et al. 2018, "Bottleneck Attention Module", eqs. 1 and 4): fewer channels,
    two dilated 3×3 convolutions for context, one map. For maps of 6 to 24 pixels the dilation is 2, not 4; the hidden
    width is C / 8, at least 8, not C / 16; and no norm follows the last convolution.
    """

    def __init__(self, channels: int, height: int, activation: ActivationFactory, norm: NormFactory) -> None:
        super().__init__()
        hidden = max(channels // 8, 8)
        self.context = nn.Sequential(
            conv_norm_act(channels, hidden, 1, height, activation, norm),
            conv_norm_act(hidden, hidden, 3, height, activation, norm, dilation=2),
            conv_norm_act(hidden, hidden, 3, height, activation, norm, dilation=2),
        )
        self.gate = SpatialGate(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by a factor of 1 to 2 per position."""
        return torch.addcmul(x, x, self.gate(self.context(x)).to(x.dtype))


class AERCNN(nn.Module):
    """Stages of two 3×3 convolutions and region attention, whose outputs are fused and classified.

    Fusion: the stages' outputs, averaged down to the size of the last, are concatenated and mixed by a 1×1 convolution
    with norm and activation. Then global average pooling, dropout, linear. The stem (5×5, stride 2) and the 2×2
    max-pools between stages halve the image, rounding up: 48 → 24 → 12 → 6.
    """

    def __init__(
        self,
        widths: Sequence[int],
        dropout: float,
        *,
        activation: ActivationFactory,
        norm: NormFactory,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        """Build the network with stages of ``widths`` channels and ``dropout`` before the last layer."""
        super().__init__()
        check_widths(widths, "an AER-CNN")
        self.in_channels, self.image_size = in_channels, image_size
        height = halved(image_size)
        self.stem = conv_norm_act(in_channels, widths[0], 5, height, activation, norm, stride=2)
        self.stages = nn.ModuleList()
        channels = widths[0]
        for number, width in enumerate(widths):
            pools = number > 0
            height = halved(height) if pools else height
            self.stages.append(
                nn.Sequential(
                    nn.MaxPool2d(2, ceil_mode=True) if pools else nn.Identity(),
                    conv_norm_act(channels, width, 3, height, activation, norm),
                    conv_norm_act(width, width, 3, height, activation, norm),
                    RegionAttention(width, height, activation, norm),
                )
            )
            channels = width
        self.fuse = conv_norm_act(sum(widths), channels, 1, height, activation, norm)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), linear(channels, num_classes, std=0.01)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        x, weighted = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            weighted.append(x)
        size = x.shape[2:]
        together = torch.cat([nn.functional.adaptive_avg_pool2d(each, size) for each in weighted], dim=1)
        return self.classifier(self.fuse(together))
