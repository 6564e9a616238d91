"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014, table 1, columns D and E) for small images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate

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
    halved,
    linear,
    scaled,
)
from fersweep.text import listed

WIDTH = 64
MULTIPLES = (1, 2, 4, 8, 8)
"""Widths of the stages, in those of the first."""

HIDDEN = 4096
INPUT_GAIN = 3**0.5  # 1 / rms of pixels uniform on [0, 1]
HEADS = ("paper", "linear")
ROUNDINGS = ("up", "down")
POSITIONS = ("before_classifier", "every_conv", "every_stage", "layers_11_14")


class VGG(nn.Module):
    """Five stages of 3×3 convolutions with a 2×2 max-pool, then dense layers.

    Pools round up by default, so that no pixel is dropped at sizes that are not multiples of 32: 48 → 24 → 12 → 6 → 3
    → 2.
    Attention follows the last pool (``before_classifier``), the activation of every convolution (``every_conv``), of
    the last convolution of each stage (``every_stage``), or of the 11th and the 14th (``layers_11_14``).

    The paper's network has no normalisation. For it to train from scratch, each convolution's initial weights
    compensate the activation (and attention) before it, see :func:`fersweep.models.common.forward_gain`.
    """

    def __init__(
        self,
        depths: Sequence[int],
        dropout: float = 0.5,
        batch_norm: bool = False,
        head: str = "paper",
        rounding: str = "up",
        width: float = WIDTH,
        *,
        attention: AttentionFactory,
        activation: ActivationFactory,
        norm: NormFactory,
        attention_position: str,
        num_classes: int,
        in_channels: int,
        image_size: int,
        attention_shortcut: bool = False,
    ) -> None:
        """Build the network.

        Args:
            depths: convolutions in each stage.
            dropout: after each hidden dense layer; with ``head="linear"`` before the only one.
            batch_norm: put a norm between each convolution and its activation.
            head: ``paper``, dense 4096, 4096 and ``num_classes``, or ``linear``, the last alone.
            rounding: ``up`` or ``down``, of the size of the pools' outputs.
            width: channels of the first stage; the others have 2, 4, 8 and 8 times as many, rounded.
            attention, activation, norm, attention_position: see docs/reference/models.md.
            num_classes, in_channels, image_size: of the data.
            attention_shortcut: set by ``fidelity``; attention before the classifier is x + attention(x).

        Raises:
            UserError: for an unknown name, ``layers_11_14`` in a network of fewer than 14 convolutions, and impossible
                ``depths`` or ``width``.
        """
        super().__init__()
        check_depths(depths, MULTIPLES, "VGG")
        check_width(width)
        check_choice("backbone.model.head", head, HEADS)
        check_choice("backbone.model.rounding", rounding, ROUNDINGS)
        attended = _attended_layers(attention_position, depths)
        self.in_channels, self.image_size = in_channels, image_size

        layers: list[nn.Module] = []
        channels, height, number, gain = in_channels, image_size, 0, INPUT_GAIN
        for depth, multiple in zip(depths, MULTIPLES, strict=True):
            maps = scaled(width, multiple)
            for _ in range(depth):
                number += 1
                padding = 3 * height / (3 * height - 2)  # 1 / √(fraction of taps that see no zero padding)
                layers.append(conv2d(channels, maps, 3, gain=gain * padding, bias=True))
                if batch_norm:
                    layers.append(norm(maps, height))
                tail = [activation()] + ([attention(maps)] if number in attended else [])
                layers += tail
                channels, gain = maps, forward_gain(*tail, channels=maps)
            layers.append(nn.MaxPool2d(2, ceil_mode=rounding == "up"))
            height = halved(height) if rounding == "up" else height // 2
        self.features = nn.Sequential(*layers)
        attends = attention_position == "before_classifier"
        self.attention = attention(channels) if attends else nn.Identity()
        self.attention_shortcut = attention_shortcut and attends and not isinstance(self.attention, nn.Identity)
        self.classifier = _classifier(head, channels * height**2, dropout, activation, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        x = self.features(images)
        x = x + self.attention(x) if self.attention_shortcut else self.attention(x)
        return self.classifier(x.flatten(1))


def _classifier(
    head: str, in_features: int, dropout: float, activation: ActivationFactory, num_classes: int
) -> nn.Sequential:
    """Return the dense layers on (B, in_features), see :class:`VGG`."""
    if head == "linear":
        return nn.Sequential(nn.Dropout(dropout), linear(in_features, num_classes, std=0.01))
    gain = forward_gain(activation())
    return nn.Sequential(
        linear(in_features, HIDDEN, std=in_features**-0.5),
        activation(),
        nn.Dropout(dropout),
        linear(HIDDEN, HIDDEN, std=gain * HIDDEN**-0.5),
        activation(),
        nn.Dropout(dropout),
        linear(HIDDEN, num_classes, std=0.01),
    )


def _attended_layers(position: str, depths: Sequence[int]) -> Collection[int]:
    """Return the convolutions, counted from 1, that are followed by attention."""
    check_attention_position(position, POSITIONS, "a VGG")
    convs = sum(depths)
    if position == "layers_11_14" and convs < 14:
        raise UserError(
            f"attention_position=layers_11_14 needs 14 convolutions and this VGG has {convs} (depths={list(depths)}): "
            f"choose backbone=vgg19, or {listed(POSITIONS[:3], 'or')}"
        )
    attended = {
        "before_classifier": (),
        "every_conv": range(1, convs + 1),
        "every_stage": tuple(accumulate(depths)),
        "layers_11_14": (11, 14),
    }
    return attended[position]
