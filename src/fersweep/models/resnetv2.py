"""ResNetV2-50, 101 and 152 (He et al. 2016, "Identity Mappings in Deep Residual Networks", fig. 1b and appendix)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
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
    conv2d,
    forward_gain,
    global_pool,
    halved,
    linear,
)
from fersweep.models.resnet import EXPANSION, MULTIPLES, POSITIONS, WIDTH, residual_stages, stem_conv


class PreActBottleneck(nn.Module):
    """Norm and activation before each of the 1×1, 3×3 and 1×1 convolutions; attention; then the plain addition.

    The stride is on the 3×3. The shortcut is a 1×1 convolution of the pre-activated input if the channels change, else
    the raw input (at stride 2, every second pixel of it).
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
    ) -> None:
        """Build the block for input maps of ``height`` rows; its output has 4 · ``width`` channels.

        ``bias`` is that of the convolutions without a following norm: the last and the shortcut's.
        """
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
        self.conv3 = conv(width, channels, 1, bias=bias)
        self.attention = attention(channels)
        projects = in_channels != channels
        self.stride = stride
        self.shortcut = conv(in_channels, channels, 1, stride=stride, bias=bias) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 · width, ⌈H / stride⌉, ⌈W / stride⌉)."""
        preactivated = self.act1(self.norm1(x))
        shortcut = self.shortcut(preactivated) if self.shortcut else x[..., :: self.stride, :: self.stride]
        residual = self.conv1(preactivated)
        residual = self.conv2(self.act2(self.norm2(residual)))
        residual = self.conv3(self.act3(self.norm3(residual)))
        return shortcut + self.attention(residual)


class ResNetV2(nn.Module):
    """A stem without norm, four stages of pre-activation bottlenecks, norm, activation, global pooling, linear.

    With the stem of the paper it halves the image five times, rounding up: 48 → 24 → 12 (stem and max-pool) → 12 → 6 →
    3 → 2. With the strided one it does so four times, with the small one three times: 48 → 48 → 24 → 12 → 6.
    """

    def __init__(
        self,
        depths: Sequence[int],
        pooling: str = "avg",
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
        stride_in: str = "first",
        zero_padded_pool: bool = False,
        final_activation: ActivationFactory | None = None,
    ) -> None:
        """Build the network.

        Args:
            depths: blocks in each stage.
            pooling: ``avg`` or ``max``, after the last activation.
            stem, width: see :class:`fersweep.models.resnet.ResNet`.
            attention, activation, norm, attention_position: see docs/reference/models.md.
            num_classes, in_channels, image_size: of the data.
            bias: set by ``fidelity``: biases where no norm follows.
            stride_in: set by ``fidelity``: the strided block of a stage (:func:`residual_stages`).
            zero_padded_pool: set by ``fidelity``: the border of the stem's pool counts as zeros.
            final_activation: set by ``fidelity``: replaces ``activation`` after the last norm.

        Raises:
            UserError: for an unknown name, impossible ``depths`` or ``width``, and ``zero_padded_pool`` without a pool.
        """
        super().__init__()
        check_attention_position(attention_position, POSITIONS, "a ResNetV2")
        check_depths(depths, MULTIPLES, "ResNetV2")
        check_choice("fidelity.backbone.resnetv2.stride_in", stride_in, ("first", "last"))
        self.in_channels, self.image_size = in_channels, image_size
        conv, height = stem_conv(stem, in_channels, width, image_size, bias=bias)
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if stem == "paper":
            layers["pool"], height = _stem_pool(zero_padded=zero_padded_pool), halved(height)
        elif zero_padded_pool:
            raise UserError(
                f"fidelity.backbone.resnetv2.zero_padded_pool=true has no effect with backbone.model.stem={stem}, "
                "which has no pool: set it to false."
            )
        self.stem = nn.Sequential(layers)
        block = partial(PreActBottleneck, bias=bias)
        self.stages, channels, height = residual_stages(
            block, depths, width, EXPANSION, height, attention, activation, norm, attention_position, stride_in
        )
        self.norm = norm(channels, height)
        self.act = (final_activation or activation)()
        self.pool = global_pool(pooling)
        self.classifier = linear(channels, num_classes, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        x = self.act(self.norm(self.stages(self.stem(images))))
        return self.classifier(self.pool(x).flatten(1))


def _stem_pool(*, zero_padded: bool) -> nn.Module:
    """Return the 3×3 max-pool of stride 2 after the stem; beyond the border are zeros, or nothing."""
    if zero_padded:
        return nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2))
    return nn.MaxPool2d(3, stride=2, padding=1)
