"""ResNet-18, 34, 50, 101 and 152 (He et al. 2015, "Deep Residual Learning for Image Recognition", table 1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.common import (
    ActivationFactory,
    AttentionFactory,
    NormFactory,
    check_attention_position,
    check_choice,
    check_depths,
    check_images,
    check_width,
    conv2d,
    forward_gain,
    global_pool,
    halved,
    linear,
    scaled,
)

WIDTH = 64
MULTIPLES = (1, 2, 4, 8)
"""Widths of the stages, in those of the first."""

STEMS = {"paper": (7, 2), "strided": (5, 2), "small": (3, 1)}
"""Kernel size and stride; a max-pool follows that of the paper."""

BLOCKS = ("bottleneck", "basic")
EXPANSION = 4
POSITIONS = ("before_addition", "last_stage")


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, each with norm; attention; then addition to the shortcut and activation (fig. 5, left).

    The stride is on the first. The shortcut is the identity, or a 1×1 convolution with norm if the shape changes.
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
        projection_norm: NormFactory | None = None,
    ) -> None:
        """Build the block for input maps of ``height`` rows; its output has ``width`` channels.

        ``bias`` is that of every convolution; ``projection_norm`` replaces ``norm`` in the shortcut.
        """
        super().__init__()
        out_height = height if stride == 1 else halved(height)
        conv = partial(conv2d, gain=forward_gain(activation()), bias=bias)
        self.conv1 = conv(in_channels, width, 3, stride=stride)
        self.norm1 = norm(width, out_height)
        self.act1 = activation()
        self.conv2 = conv(width, width, 3)
        self.norm2 = norm(width, out_height)
        self.attention = attention(width)
        self.shortcut = _shortcut(conv, in_channels, width, stride, out_height, projection_norm or norm)
        self.act2 = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, width, ⌈H / stride⌉, ⌈W / stride⌉)."""
        residual = self.act1(self.norm1(self.conv1(x)))
        residual = self.attention(self.norm2(self.conv2(residual)))
        return self.act2(residual + self.shortcut(x))


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
        self.shortcut = _shortcut(conv, in_channels, channels, stride, out_height, projection_norm or norm)
        self.act3 = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 · width, ⌈H / stride⌉, ⌈W / stride⌉)."""
        residual = self.act1(self.norm1(self.conv1(x)))
        residual = self.act2(self.norm2(self.conv2(residual)))
        residual = self.attention(self.norm3(self.conv3(residual)))
        return self.act3(residual + self.shortcut(x))


def _shortcut(
    conv: Callable[..., nn.Conv2d], in_channels: int, channels: int, stride: int, out_height: int, norm: NormFactory
) -> nn.Module:
    """Return the identity, or a 1×1 convolution with norm if the shape changes."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    projection = conv(in_channels, channels, 1, stride=stride)
    return nn.Sequential(OrderedDict(conv=projection, norm=norm(channels, out_height)))


def residual_stages(
    block: Callable[..., nn.Module],
    depths: Sequence[int],
    width: float,
    expansion: int,
    height: int,
    attention: AttentionFactory,
    activation: ActivationFactory,
    norm: NormFactory,
    attention_position: str,
    stride_in: str = "first",
) -> tuple[nn.Sequential, int, int]:
    """Return the four stages for a stem's output of ``height`` rows, and the channels and rows of their output.

    Stage i has ``depths[i]`` blocks, called like :class:`Bottleneck`, of 1, 2, 4 or 8 times ``width``
    (:func:`fersweep.models.common.scaled`); their outputs have ``expansion`` times as many channels, the stem's
    ``width``. Blocks have ``attention``, with ``attention_position="last_stage"`` those of the last stage alone.
    Stride 2 is in the first block of stages 2 to 4 (``stride_in="first"``) or in the last block of stages 1 to 3
    (``"last"``).
    """
    channels = scaled(width, 1)
    stages: list[nn.Module] = []
    for depth, multiple in zip(depths, MULTIPLES, strict=True):
        last, maps = len(stages) == len(depths) - 1, scaled(width, multiple)
        strided = (len(stages) > 0, 0) if stride_in == "first" else (not last, depth - 1)
        own = attention if last or attention_position == "before_addition" else _no_attention
        blocks = []
        for index in range(depth):
            stride = 2 if (True, index) == strided else 1
            blocks.append(block(channels, maps, stride, height, own, activation, norm))
            channels, height = expansion * maps, height if stride == 1 else halved(height)
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(*stages), channels, height


def _no_attention(channels: int) -> nn.Module:  # noqa: ARG001
    return nn.Identity()


def stem_conv(stem: str, in_channels: int, width: float, image_size: int, *, bias: bool) -> tuple[nn.Conv2d, int]:
    """Return the convolution of a ``stem`` of ``width`` channels (see :class:`ResNet`), and the rows of its output.

    Raises UserError for an unknown stem and an impossible width.
    """
    check_choice("backbone.model.stem", stem, STEMS)
    check_width(width)
    size, stride = STEMS[stem]
    conv = conv2d(in_channels, scaled(width, 1), size, stride=stride, gain=1.0, bias=bias)
    return conv, image_size if stride == 1 else halved(image_size)


def _block(
    block: str, stride_on: str, *, bias: bool, projection_norm: NormFactory | None
) -> tuple[Callable[..., nn.Module], int]:
    """Return the factory of the blocks of that name, and their expansion."""
    check_choice("backbone.model.block", block, BLOCKS)
    if block == "bottleneck":
        return partial(Bottleneck, bias=bias, stride_on=stride_on, projection_norm=projection_norm), EXPANSION
    if stride_on != "conv2":
        raise UserError(
            f"stride_on={stride_on} has no effect with backbone.model.block=basic: leave it out, "
            "or choose block=bottleneck."
        )
    return partial(BasicBlock, bias=bias, projection_norm=projection_norm), 1


class ResNet(nn.Module):
    """A stem, four stages of blocks, global pooling, linear.

    With the stem of the paper it halves the image five times, rounding up: 48 → 24 → 12 (stem and max-pool) → 12 → 6 →
    3 → 2. With the strided one it does so four times, with the small one three times: 48 → 48 → 24 → 12 → 6.
    """

    def __init__(
        self,
        depths: Sequence[int],
        pooling: str = "avg",
        block: str = "bottleneck",
        stem: str = "paper",
        width: float = WIDTH,
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
        """Build the network.

        Args:
            depths: blocks in each stage.
            pooling: ``avg`` or ``max``, after the stages.
            block: ``basic`` (:class:`BasicBlock`) or ``bottleneck`` (:class:`Bottleneck`).
            stem: ``paper``, a 7×7 convolution of stride 2 and a max-pool; ``strided``, a 5×5 convolution of stride 2;
                or ``small``, a 3×3 convolution of stride 1 (section 4.2, for the 32 pixels of CIFAR-10).
            width: channels of the stem and the first stage; the others have 2, 4 and 8 times as many, all rounded.
            attention, activation, norm, attention_position: see docs/reference/models.md.
            num_classes, in_channels, image_size: of the data.
            bias, stride_on, projection_norm: set by ``fidelity``, see :class:`Bottleneck`.
            stem_activation: set by ``fidelity``; replaces ``activation`` in the stem.

        Raises:
            UserError: for an unknown name, impossible ``depths`` or ``width``, and ``stride_on`` of basic blocks.
        """
        super().__init__()
        check_attention_position(attention_position, POSITIONS, "a ResNet")
        check_depths(depths, MULTIPLES, "ResNet")
        check_choice("fidelity.backbone.resnet.stride_on", stride_on, ("conv1", "conv2"))
        self.in_channels, self.image_size = in_channels, image_size
        conv, height = stem_conv(stem, in_channels, width, image_size, bias=bias)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv=conv, norm=norm(conv.out_channels, height), act=(stem_activation or activation)()
        )
        if stem == "paper":
            layers["pool"], height = nn.MaxPool2d(3, stride=2, padding=1), halved(height)
        self.stem = nn.Sequential(layers)
        build, expansion = _block(block, stride_on, bias=bias, projection_norm=projection_norm)
        self.stages, channels, _ = residual_stages(
            build, depths, width, expansion, height, attention, activation, norm, attention_position
        )
        self.pool = global_pool(pooling)
        self.classifier = linear(channels, num_classes, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        x = self.stages(self.stem(images))
        return self.classifier(self.pool(x).flatten(1))
