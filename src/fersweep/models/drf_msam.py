"""DRF + MSAM as the notebook's text describes it: a dynamic receptive field and multi-scale attention.

The text gives both ideas without layers. Here they form a residual network: every block is a dynamic receptive field,
then multi-scale attention, added to the block's input. `fersweep.models.notebook.NotebookDRFMSAM` is the network of
the notebook's code.
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
    check_depths,
    check_images,
    check_width,
    conv2d,
    conv_norm_act,
    forward_gain,
    halved,
    linear,
)
from fersweep.models.gates import BranchMixture, ChannelGate, SpatialGate

WIDTHS = {
    "small": {
        "both": (32, 64, 128, 256),
        "drf": (33, 65, 130, 261),
        "msam": (33, 65, 131, 262),
        "neither": (33, 67, 133, 266),
    },
    "base": {
        "both": (64, 128, 256, 512),
        "drf": (65, 130, 261, 521),
        "msam": (65, 131, 261, 523),
        "neither": (67, 133, 266, 532),
    },
}
"""Channels of the stages by size and parts; networks with fewer parts are wider and have as many parameters."""

MULTIPLES = (1, 2, 4, 8)
COMPENSATION = {"both": 1.0, "drf": 1.0185, "msam": 1.0225, "neither": 1.0395}
"""Widths of networks with fewer parts, in those of both, for other widths than those of `WIDTHS`."""

STEMS = {"strided": (5, 2), "small": (3, 1)}
"""Kernel size and stride."""

BRANCHES = 3
SCALES = (1, 3, 5)


class DynamicReceptiveField(nn.Module):
    """Maps with receptive fields of 3×3, 5×5 and 7×7, mixed with weights that depend on the input.

    The weights are those of a selective kernel unit (Li et al. 2019, "Selective Kernel Networks", section 3.1): a
    softmax over the branches for each channel, from the pooled sum of all. The branches are not parallel as there, but
    successive 3×3 convolutions (with norm and activation), so that larger fields are composed of smaller ones (Szegedy
    et al. 2016, "Rethinking the Inception Architecture", section 3.1) at the same cost.

    With ``dynamic=False`` all branches have equal weights.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        height: int,
        activation: ActivationFactory,
        norm: NormFactory,
        *,
        dynamic: bool = True,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            conv_norm_act(channels if number else in_channels, channels, 3, height, activation, norm)
            for number in range(BRANCHES)
        )
        self.mixture = BranchMixture(channels, BRANCHES, max(channels // 4, 16), activation) if dynamic else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H, W)."""
        maps: list[Tensor] = []
        for branch in self.branches:
            x = branch(x)
            maps.append(x)
        if self.mixture is None:
            return torch.stack(maps).mean(dim=0)
        weights = self.mixture(maps)[..., None, None].to(x.dtype)
        mixed = maps[0] * weights[:, 0]
        for number, each in enumerate(maps[1:], start=1):
            mixed = torch.addcmul(mixed, each, weights[:, number])
        return mixed


class MultiScaleAttention(nn.Module):
    """x · (1 + s · c): gates s of positions and c of channels, both from convolutions of kernel size 1, 3 and 5.

    They read the map reduced to an eighth of its channels, at least 8. Residual as in Wang et al. (2017, "Residual
    Attention Network", eq. 3): attention can amplify a feature but not erase it.
    """

    def __init__(self, channels: int, height: int, activation: ActivationFactory, norm: NormFactory) -> None:
        super().__init__()
        hidden, gain = max(channels // 8, 8), forward_gain(activation())
        self.reduce = conv_norm_act(channels, hidden, 1, height, activation, norm)
        self.scales = nn.ModuleList(
            nn.Sequential(conv2d(hidden, hidden, size, gain=gain, bias=True), activation()) for size in SCALES
        )
        self.spatial_gate = SpatialGate(len(SCALES) * hidden)
        self.channel_gate = ChannelGate(len(SCALES) * hidden, hidden, channels, activation)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` (B, C, H, W) by a factor of 1 to 2 per channel and position."""
        reduced = self.reduce(x)
        maps = torch.cat([scale(reduced) for scale in self.scales], dim=1)
        channel, spatial = self.channel_gate(maps).to(x.dtype), self.spatial_gate(maps).to(x.dtype)
        return torch.addcmul(x, x * channel, spatial)


class Block(nn.Module):
    """shortcut(x) + msam(drf(x)); the shortcut is the identity, or a 1×1 convolution if the channels change."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        height: int,
        activation: ActivationFactory,
        norm: NormFactory,
        parts: str,
    ) -> None:
        super().__init__()
        dynamic, attend = parts in ("both", "drf"), parts in ("both", "msam")
        self.drf = DynamicReceptiveField(in_channels, channels, height, activation, norm, dynamic=dynamic)
        self.msam = MultiScaleAttention(channels, height, activation, norm) if attend else nn.Identity()
        changes = in_channels != channels
        self.shortcut = conv2d(in_channels, channels, 1, gain=1.0) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H, W)."""
        return self.shortcut(x) + self.msam(self.drf(x))


class DRFMSAM(nn.Module):
    """A stem, stages of blocks, global average pooling, dropout, linear.

    The stem (5×5, stride 2) and the max-pools between stages halve the image, rounding up: 48 → 24 → 12 → 6 → 3. The
    small stem (3×3, stride 1) keeps its size: 48 → 24 → 12 → 6.
    """

    def __init__(
        self,
        size: str,
        parts: str,
        dropout: float,
        width: int | None = None,
        depths: Sequence[int] = (1, 1, 1, 1),
        stem: str = "strided",
        *,
        activation: ActivationFactory,
        norm: NormFactory,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        """Build the network.

        Args:
            size: ``small`` or ``base``, see `WIDTHS`.
            parts: ``both``, ``drf``, ``msam`` or ``neither``. Without ``drf`` the branches remain, with equal weights.
                Numbers of parameters are equal within one percent from a width of 24 on, within 1.3 percent from 16 on.
            dropout: before the last layer.
            width: channels of the stem and the first stage; the others have 2, 4 and 8 times as many. ``None``: 32 for
                ``small``, 64 for ``base``.
            depths: blocks in each stage.
            stem: ``strided`` or ``small``.
            activation, norm, num_classes, in_channels, image_size: see docs/reference/models.md.

        Raises:
            UserError: for an unknown name, impossible ``width`` or ``depths``, and ``width`` of another ``size``.
        """
        super().__init__()
        widths = _widths(size, parts, width)
        check_depths(depths, MULTIPLES, "DRF + MSAM network")
        check_choice("backbone.model.stem", stem, STEMS)
        self.in_channels, self.image_size = in_channels, image_size
        (kernel_size, stride), channels = STEMS[stem], widths[0]
        height = image_size if stride == 1 else halved(image_size)
        self.stem = conv_norm_act(in_channels, channels, kernel_size, height, activation, norm, stride=stride)
        stages: list[nn.Module] = []
        for number, (maps, depth) in enumerate(zip(widths, depths, strict=True)):
            if number:
                stages.append(nn.MaxPool2d(2, ceil_mode=True))
                height = halved(height)
            for _ in range(depth):
                stages.append(Block(channels, maps, height, activation, norm, parts))
                channels = maps
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), linear(channels, num_classes, std=0.01)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        logits: Tensor = self.classifier(self.stages(self.stem(images)))
        return logits


def _widths(size: str, parts: str, width: int | None) -> tuple[int, ...]:
    """Return the channels of the stages."""
    check_choice("backbone.model.size", size, WIDTHS)
    check_choice("backbone.model.parts", parts, COMPENSATION)
    if width is None:
        return WIDTHS[size][parts]
    check_width(width)
    if size != "small":
        raise UserError(f"backbone.model.size={size} has no effect with backbone.model.width={width}: leave it out.")
    known = {table["both"][0]: table for table in WIDTHS.values()}
    if width in known:
        return known[width][parts]
    return tuple(round(COMPENSATION[parts] * multiple * width) for multiple in MULTIPLES)
