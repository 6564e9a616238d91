"""The notebook's three networks as its code built them: ``fidelity=code`` (docs/explanation/notebook.md).

Convolutions and pools are "same"-padded and convolutions have biases. `aer_cnn`, `msff_cnn` and `drf_msam` are the
networks that its text describes.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.common import ActivationFactory, NormFactory, check_images, halved
from fersweep.models.gates import Gate


def _conv(in_channels: int, channels: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2)


def _pool() -> nn.MaxPool2d:
    """Return a 2×2 max-pool of stride 2 that rounds up, Keras' "same"."""
    return nn.MaxPool2d(2, ceil_mode=True)


class _Classifier(nn.Module):
    """Features, then a classifier, of images multiplied by ``input_scale``.

    The scale is 255 for networks that the notebook trained on unscaled uint8 values.
    """

    features: nn.Module
    classifier: nn.Module

    def __init__(self, in_channels: int, image_size: int, input_scale: float) -> None:
        super().__init__()
        if not (isinstance(input_scale, int | float) and math.isfinite(input_scale) and input_scale > 0):
            raise UserError(f"input_scale={input_scale} is impossible: choose a number above 0.")
        self.in_channels, self.image_size, self.input_scale = in_channels, image_size, input_scale

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        logits: Tensor = self.classifier(self.features(images * self.input_scale))
        return logits


class PointGate(Gate):
    """σ(conv1×1(x)), one gate per channel and position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to gates (B, C, H, W) in (0, 1)."""
        return torch.sigmoid(self.conv(x))


class Gated(nn.Module):
    """x · gate(x)."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W)."""
        return x * self.gate(x)


class NotebookAERCNN(_Classifier):
    """AER-CNN: twice convolution, activation, pool and gate; global average; dense. 24,487 parameters at 48×48×1."""

    def __init__(
        self,
        input_scale: float = 1.0,
        *,
        activation: ActivationFactory,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        super().__init__(in_channels, image_size, input_scale)
        layers: list[tuple[str, nn.Module]] = []
        for number, (before, width) in enumerate(((in_channels, 32), (32, 64)), start=1):
            layers += [
                (f"conv{number}", _conv(before, width, 3)),
                (f"act{number}", activation()),
                (f"pool{number}", _pool()),
                (f"gated{number}", Gated(PointGate(width))),
            ]
        self.features = nn.Sequential(OrderedDict(layers))
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


class ScaleBranches(nn.Module):
    """Parallel branches of 1, 2, … blocks, each block a convolution, activation, norm, dropout and pool.

    Their outputs are enlarged (nearest) to the size of the first one's and concatenated.
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        height: int,
        activation: ActivationFactory,
        norm: NormFactory,
        dropout: float,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        for blocks, width in enumerate(widths, start=1):
            layers: list[nn.Module] = []
            channels, rows = in_channels, height
            for _ in range(blocks):
                layers += [_conv(channels, width, 3), activation(), norm(width, rows), nn.Dropout(dropout), _pool()]
                channels, rows = width, halved(rows)
            self.branches.append(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, sum of widths, ⌈H / 2⌉, ⌈W / 2⌉)."""
        maps = [branch(x) for branch in self.branches]
        size = maps[0].shape[2:]
        enlarged = [nn.functional.interpolate(each, size=size, mode="nearest") for each in maps[1:]]
        return torch.cat([maps[0], *enlarged], dim=1)


class NotebookMSFFCNN(_Classifier):
    """MSFF-CNN: branches of 32, 64 and 128 channels from the image; flattened; dense 256, norm, dropout, dense.

    33,369,735 parameters at 48×48×1 (1,600 of them moving statistics), nearly all in the first dense layer.
    ``dropout`` follows every norm.
    """

    def __init__(
        self,
        dropout: float = 0.0,
        input_scale: float = 1.0,
        *,
        activation: ActivationFactory,
        norm: NormFactory,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        super().__init__(in_channels, image_size, input_scale)
        widths = (32, 64, 128)
        self.features = ScaleBranches(in_channels, widths, image_size, activation, norm, dropout)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(sum(widths) * halved(image_size) ** 2, 256),
            activation(),
            nn.Unflatten(1, (256, 1, 1)),
            norm(256, 1),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(256, num_classes),
        )


class PlainSum(nn.Module):
    """Σ f(conv k×k(x)) over the kernel sizes, in place of a dynamic receptive field: the same for every input."""

    def __init__(
        self, in_channels: int, channels: int, kernel_sizes: tuple[int, ...], activation: ActivationFactory
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(in_channels, channels, size) for size in kernel_sizes)
        self.acts = nn.ModuleList(activation() for _ in kernel_sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H, W)."""
        maps = [act(conv(x)) for conv, act in zip(self.convs, self.acts, strict=True)]
        return sum(maps[1:], start=maps[0])


class DoubleSigmoidGate(Gate):
    """σ(GAP(σ(conv1×1(Σ f(conv k×k(x)))))) for k = 1, 3, 5, one gate per channel.

    The outer σ has arguments in (0, 1), so gates lie in (0.5, 0.731): no channel weighs over 1.46 times another.
    """

    def __init__(self, channels: int, activation: ActivationFactory) -> None:
        super().__init__()
        self.scales = PlainSum(channels, channels, (1, 3, 5), activation)
        self.conv = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to gates (B, C, 1, 1) in (0.5, 0.731)."""
        return torch.sigmoid(torch.sigmoid(self.conv(self.scales(x))).mean(dim=(2, 3), keepdim=True))


class NotebookDRFMSAM(_Classifier):
    """DRF + MSAM: a sum of three kernel sizes, then pool, gate, pool, gate, pool; dense 512, dense.

    97,223 parameters at 48×48×1.
    """

    def __init__(
        self,
        input_scale: float = 1.0,
        *,
        activation: ActivationFactory,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        super().__init__(in_channels, image_size, input_scale)
        self.features = nn.Sequential(
            OrderedDict(
                drf=PlainSum(in_channels, 32, (3, 5, 7), activation),
                pool1=_pool(),
                msam1=Gated(DoubleSigmoidGate(32, activation)),
                pool2=_pool(),
                msam2=Gated(DoubleSigmoidGate(32, activation)),
                pool3=_pool(),
            )
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 512), activation(), nn.Linear(512, num_classes)
        )
