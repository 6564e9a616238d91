"""ResNetV2-50, 101 and 152 (He et al. 2016, "Identity Mappings in Deep Residual Networks", fig. 1b and appendix)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from fersweep.models.common import (
    ActivationFactory,
    AttentionFactory,
    NormFactory,
    check_attention_position,
    check_depths,
    check_images,
    conv2d,
    forward_gain,
    halved,
    linear,
)
from fersweep.models.resnet import EXPANSION, POSITIONS, STEM_WIDTH, WIDTHS, residual_stages


class PreActBottleneck(nn.Module):
    """Norm and activation before each of the 1×1, 3×3 and 1×1 convolutions; attention; then the plain addition.

    A stride sits on the 3×3. Where the shape changes, a 1×1 convolution without norm makes the shortcut from the
    pre-activated input; elsewhere the shortcut is the raw input.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        height: int,
        attention: AttentionFactory,
        activation: ActivationFactory,
        norm: NormFactory,
    ) -> None:
        """Build the block for maps of ``in_channels`` × ``height`` rows; it returns 4 · ``width`` channels."""
        super().__init__()
        channels = EXPANSION * width
        out_height = height if stride == 1 else halved(height)
        conv = partial(conv2d, gain=forward_gain(activation()))
        self.norm1 = norm(in_channels, height)
        self.act1 = activation()
        self.conv1 = conv(in_channels, width, 1)
        self.norm2 = norm(width, height)
        self.act2 = activation()
        self.conv2 = conv(width, width, 3, stride=stride)
        self.norm3 = norm(width, out_height)
        self.act3 = activation()
        self.conv3 = conv(width, channels, 1)
        self.attention = attention(channels)
        projects = stride != 1 or in_channels != channels
        self.shortcut = conv(in_channels, channels, 1, stride=stride) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 · width, ⌈H / stride⌉, ⌈W / stride⌉)."""
        preactivated = self.act1(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(preactivated)
        residual = self.conv1(preactivated)
        residual = self.conv2(self.act2(self.norm2(residual)))
        residual = self.conv3(self.act3(self.norm3(residual)))
        return shortcut + self.attention(residual)


class ResNetV2(nn.Module):
    """A 7×7 stem without norm, four stages of pre-activation bottlenecks, norm, activation, average pooling, linear.

    Halves the image five times, rounding up: 48 → 24 → 12 (stem and max-pool) → 12 → 6 → 3 → 2.
    """

    def __init__(
        self,
        depths: Sequence[int],
        *,
        attention: AttentionFactory,
        activation: ActivationFactory,
        norm: NormFactory,
        attention_position: str,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        """Build the network, with ``depths`` blocks in its stages.

        Raises UserError for another ``attention_position`` than before_addition and for impossible ``depths``.
        """
        super().__init__()
        check_attention_position(attention_position, POSITIONS, "ResNetV2")
        check_depths(depths, WIDTHS, "ResNetV2")
        self.in_channels, self.image_size = in_channels, image_size
        stem_conv = conv2d(in_channels, STEM_WIDTH, 7, stride=2, gain=1.0)
        self.stem = nn.Sequential(OrderedDict(conv=stem_conv, pool=nn.MaxPool2d(3, stride=2, padding=1)))
        height = halved(halved(image_size))
        self.stages, channels, height = residual_stages(PreActBottleneck, depths, height, attention, activation, norm)
        self.norm = norm(channels, height)
        self.act = activation()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = linear(channels, num_classes, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        x = self.act(self.norm(self.stages(self.stem(images))))
        return self.classifier(self.pool(x).flatten(1))
