"""MSFF-CNN as the notebook's text describes it: a multi-scale branch after every pool, fused level by level.

The text gives the idea without layers. `fersweep.models.notebook.NotebookMSFFCNN` is the network of its code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.common import (
    ActivationFactory,
    NormFactory,
    check_choice,
    check_images,
    check_widths,
    conv_norm_act,
    forward_gain,
    halved,
    linear,
)

FUSIONS = ("concat", "sum")
HIDDEN = 256
GRID = 3


class ScaleBranch(nn.Module):
    """Features of 1×1, 3×3 and 5×5 pixels, concatenated.

    After Szegedy et al. (2015, "Going Deeper with Convolutions", fig. 2b), without the pooling branch. A 1×1
    convolution reduces each to a third of the channels; 3×3 and 5×5 are one and two 3×3 convolutions.
    """

    def __init__(
        self, in_channels: int, channels: int, height: int, activation: ActivationFactory, norm: NormFactory
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList()
        for convolutions, width in enumerate((channels - 2 * (channels // 3), channels // 3, channels // 3)):
            layers = [conv_norm_act(in_channels, width, 1, height, activation, norm)]
            layers += [conv_norm_act(width, width, 3, height, activation, norm) for _ in range(convolutions)]
            self.scales.append(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H, W)."""
        return torch.cat([scale(x) for scale in self.scales], dim=1)


class Fusion(nn.Module):
    """Pooled features of a finer level and those of this level, concatenated or added, then a 1×1 convolution."""

    def __init__(
        self, channels: int, height: int, fusion: str, activation: ActivationFactory, norm: NormFactory
    ) -> None:
        super().__init__()
        self.concatenates = fusion == "concat"
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.mix = conv_norm_act((1 + self.concatenates) * channels, channels, 1, height, activation, norm)

    def forward(self, finer: Tensor, x: Tensor) -> Tensor:
        """Map (B, C, 2H, 2W) and (B, C, H, W) to (B, C, H, W)."""
        pooled = self.pool(finer)
        return self.mix(torch.cat([pooled, x], dim=1) if self.concatenates else pooled + x)


class MSFFCNN(nn.Module):
    """Stages of two 3×3 convolutions and a pool, each with a scale branch whose output is fused into the next level.

    Then a 3×3 grid of averages, dense 256, activation, dropout, linear. The stem (5×5, stride 2) and the max-pools
    halve the image, rounding up: 48 → 24 → 12 → 6 → 3.
    """

    def __init__(
        self,
        widths: Sequence[int],
        branch_width: int,
        fusion: str,
        dropout: float,
        *,
        activation: ActivationFactory,
        norm: NormFactory,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        """Build the network.

        Args:
            widths: channels of each stage.
            branch_width: channels of every scale branch, at least three.
            fusion: concat or sum.
            dropout: before the last layer.
            activation, norm, num_classes, in_channels, image_size: see docs/reference/models.md.

        Raises:
            UserError: for an unknown fusion or impossible widths.
        """
        super().__init__()
        check_choice("backbone.model.fusion", fusion, FUSIONS)
        check_widths(widths, "an MSFF-CNN")
        if not isinstance(branch_width, int) or branch_width < 3:
            raise UserError(f"backbone.model.branch_width={branch_width} must be 3 or more: three scales share it.")
        self.in_channels, self.image_size = in_channels, image_size
        height, channels = halved(image_size), widths[0]
        self.stem = conv_norm_act(in_channels, channels, 5, height, activation, norm, stride=2)
        self.stages, self.branches, self.fusions = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for number, width in enumerate(widths):
            convolutions = [
                conv_norm_act(channels, width, 3, height, activation, norm),
                conv_norm_act(width, width, 3, height, activation, norm),
            ]
            self.stages.append(nn.Sequential(*convolutions, nn.MaxPool2d(2, ceil_mode=True)))
            channels, height = width, halved(height)
            self.branches.append(ScaleBranch(channels, branch_width, height, activation, norm))
            if number:
                self.fusions.append(Fusion(branch_width, height, fusion, activation, norm))
        features = branch_width * GRID**2
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(GRID),
            nn.Flatten(),
            linear(features, HIDDEN, std=forward_gain(activation()) * features**-0.5),
            activation(),
            nn.Dropout(dropout),
            linear(HIDDEN, num_classes, std=0.01),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        x, levels = self.stem(images), []
        for stage, branch in zip(self.stages, self.branches, strict=True):
            x = stage(x)
            levels.append(branch(x))
        fused = levels[0]
        for fusion, level in zip(self.fusions, levels[1:], strict=True):
            fused = fusion(fused, level)
        return self.classifier(fused)
