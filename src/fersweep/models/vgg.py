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
    check_depths,
    check_images,
    conv2d,
    forward_gain,
    halved,
    linear,
)
from fersweep.text import listed

WIDTHS = (64, 128, 256, 512, 512)
HIDDEN = 4096
INPUT_GAIN = 3**0.5  # 1 / rms of pixels uniform on [0, 1]
POSITIONS = ("before_classifier", "every_conv", "every_stage", "layers_11_14")


class VGG(nn.Module):
    """Five stages of 3×3 convolutions with a 2×2 max-pool, then dense 4096, 4096 and ``num_classes``.

    Pools round up, so that no pixel is dropped at sizes that are not multiples of 32: 48 → 24 → 12 → 6 → 3 → 2.
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
        """Build the network; ``batch_norm`` puts a norm between each convolution and its activation.

        ``attention_shortcut`` (set by ``fidelity``) makes attention before the classifier x + attention(x). Raises
        UserError for an unknown ``attention_position``, for ``layers_11_14`` in a network of fewer than 14
        convolutions, and for impossible ``depths``.
        """
        super().__init__()
        check_depths(depths, WIDTHS, "VGG")
        attended = _attended_layers(attention_position, depths)
        self.in_channels, self.image_size = in_channels, image_size

        layers: list[nn.Module] = []
        channels, height, number, gain = in_channels, image_size, 0, INPUT_GAIN
        for depth, width in zip(depths, WIDTHS, strict=True):
            for _ in range(depth):
                number += 1
                padding = 3 * height / (3 * height - 2)  # 1 / √(fraction of taps that see no zero padding)
                layers.append(conv2d(channels, width, 3, gain=gain * padding, bias=True))
                if batch_norm:
                    layers.append(norm(width, height))
                tail = [activation()] + ([attention(width)] if number in attended else [])
                layers += tail
                channels, gain = width, forward_gain(*tail, channels=width)
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            height = halved(height)
        self.features = nn.Sequential(*layers)
        attends = attention_position == "before_classifier"
        self.attention = attention(channels) if attends else nn.Identity()
        self.attention_shortcut = attention_shortcut and attends and not isinstance(self.attention, nn.Identity)
        self.classifier = _classifier(channels * height**2, dropout, activation, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        x = self.features(images)
        x = x + self.attention(x) if self.attention_shortcut else self.attention(x)
        return self.classifier(x.flatten(1))


def _classifier(in_features: int, dropout: float, activation: ActivationFactory, num_classes: int) -> nn.Sequential:
    """Return dense 4096, 4096, ``num_classes`` on (B, in_features), with dropout after the first two."""
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
    check_attention_position(position, POSITIONS, "VGG")
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
