"""ResNet-50, 101 and 152 (He et al. 2015, "Deep Residual Learning for Image Recognition", table 1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from fersweep.models.common import (
    ActivationFactory,
    AttentionFactory,
    NormFactory,
    check_attention_position,
    check_choice,
    check_depths,
    check_images,
    conv2d,
    forward_gain,
    global_pool,
    halved,
    linear,
)

STEM_WIDTH = 64
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
POSITIONS = ("before_addition",)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, each with norm; attention; then addition to the shortcut and activation.

    ``stride_on`` puts the stride on the 3×3 (``conv2``), as current implementations do, or on the first 1×1
    (``conv1``), as the paper's code does. The shortcut is the identity, or a 1×1 convolution with norm if the shape
    changes.
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
        *,
        bias: bool = False,
        stride_on: str = "conv2",
        projection_norm: NormFactory | None = None,
    ) -> None:
        """Build the block for input maps of ``height`` rows; its output has 4 · ``width`` channels.

        ``bias`` is that of every convolution; ``projection_norm`` replaces ``norm`` in the shortcut.
        """
        super().__init__()
        channels = EXPANSION * width
        out_height = height if stride == 1 else halved(height)
        first, second = (stride, 1) if stride_on == "conv1" else (1, stride)
        conv = partial(conv2d, gain=forward_gain(activation()), bias=bias)
        self.conv1 = conv(in_channels, width, 1, stride=first)
        self.norm1 = norm(width, height if first == 1 else out_height)
        self.act1 = activation()
        self.conv2 = conv(width, width, 3, stride=second)
        self.norm2 = norm(width, out_height)
        self.act2 = activation()
        self.conv3 = conv(width, channels, 1)
        self.norm3 = norm(channels, out_height)
        self.attention = attention(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            projection = conv(in_channels, channels, 1, stride=stride)
            normalise = (projection_norm or norm)(channels, out_height)
            self.shortcut = nn.Sequential(OrderedDict(conv=projection, norm=normalise))
        self.act3 = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 · width, ⌈H / stride⌉, ⌈W / stride⌉)."""
        residual = self.act1(self.norm1(self.conv1(x)))
        residual = self.act2(self.norm2(self.conv2(residual)))
        residual = self.attention(self.norm3(self.conv3(residual)))
        return self.act3(residual + self.shortcut(x))


def residual_stages(
    block: Callable[..., nn.Module],
    depths: Sequence[int],
    height: int,
    attention: AttentionFactory,
    activation: ActivationFactory,
    norm: NormFactory,
    stride_in: str = "first",
) -> tuple[nn.Sequential, int, int]:
    """Return the four stages for a stem's output of ``height`` rows, and the channels and rows of their output.

    Stage i has ``depths[i]`` blocks, called like :class:`Bottleneck`. Stride 2 is in the first block of stages 2 to 4
    (``stride_in="first"``) or in the last block of stages 1 to 3 (``"last"``).
    """
    channels = STEM_WIDTH
    stages: list[nn.Module] = []
    for depth, width in zip(depths, WIDTHS, strict=True):
        strided = (len(stages) > 0, 0) if stride_in == "first" else (len(stages) < len(depths) - 1, depth - 1)
        blocks = []
        for index in range(depth):
            stride = 2 if (True, index) == strided else 1
            blocks.append(block(channels, width, stride, height, attention, activation, norm))
            channels, height = EXPANSION * width, height if stride == 1 else halved(height)
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(*stages), channels, height


class ResNet(nn.Module):
    """A 7×7 stem, four stages of bottlenecks, global pooling, linear.

    Halves the image five times, rounding up: 48 → 24 → 12 (stem and max-pool) → 12 → 6 → 3 → 2.
    """

    def __init__(
        self,
        depths: Sequence[int],
        pooling: str = "avg",
        *,
        attention: AttentionFactory,
        activation: ActivationFactory,
        norm: NormFactory,
        attention_position: str,
        num_classes: int,
        in_channels: int,
        image_size: int,
        bias: bool = False,
        stride_on: str = "conv2",
        stem_activation: ActivationFactory | None = None,
        projection_norm: NormFactory | None = None,
    ) -> None:
        """Build the network, with ``depths`` blocks in its stages and ``pooling`` (avg, max) after them.

        The last four arguments are set by ``fidelity``: see :class:`Bottleneck`; ``stem_activation`` replaces
        ``activation`` in the stem. Raises UserError for an unknown ``attention_position`` or ``stride_on`` and for
        impossible ``depths``.
        """
        super().__init__()
        check_attention_position(attention_position, POSITIONS, "ResNet")
        check_depths(depths, WIDTHS, "ResNet")
        check_choice("fidelity.backbone.resnet.stride_on", stride_on, ("conv1", "conv2"))
        self.in_channels, self.image_size = in_channels, image_size
        height = halved(image_size)
        self.stem = nn.Sequential(
            OrderedDict(
                conv=conv2d(in_channels, STEM_WIDTH, 7, stride=2, gain=1.0, bias=bias),
                norm=norm(STEM_WIDTH, height),
                act=(stem_activation or activation)(),
                pool=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        block = partial(Bottleneck, bias=bias, stride_on=stride_on, projection_norm=projection_norm)
        self.stages, channels, _ = residual_stages(block, depths, halved(height), attention, activation, norm)
        self.pool = global_pool(pooling)
        self.classifier = linear(channels, num_classes, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        x = self.stages(self.stem(images))
        return self.classifier(self.pool(x).flatten(1))
