"""Shared by the backbones: types of factories, layers with their initial weights, and checks of settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.text import did_you_mean, listed

AttentionFactory = Callable[[int], nn.Module]
"""``attention(channels)`` returns a module whose output has its input's shape (B, channels, H, W)."""

ActivationFactory = Callable[[], nn.Module]
"""``activation()`` returns an element-wise module, not in-place."""

NormFactory = Callable[[int, int], nn.Module]
"""``norm(channels, height)`` returns a normalisation of maps (B, channels, height, W)."""


def halved(size: int) -> int:
    """Return ⌈size / 2⌉, the output size of a "same"-padded convolution or pool of stride 2."""
    return (size + 1) // 2


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    gain: float,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a "same"-padded convolution with Kaiming-normal weights and zero bias.

    The weights have standard deviation ``gain`` / √(in_channels · kernel_size²) (He et al. 2015, "Delving Deep into
    Rectifiers", eq. 10, with the √2 of ReLU replaced by ``gain``, see :func:`forward_gain`).
    """
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias)
    nn.init.normal_(conv.weight, std=gain / (in_channels * kernel_size**2) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    height: int,
    activation: ActivationFactory,
    norm: NormFactory,
    *,
    stride: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """Return convolution (:func:`conv2d`), norm and activation; their output has ``height`` rows."""
    gain = forward_gain(activation())
    conv = conv2d(in_channels, out_channels, kernel_size, gain=gain, stride=stride, dilation=dilation)
    return nn.Sequential(conv, norm(out_channels, height), activation())


def linear(in_features: int, out_features: int, *, std: float) -> nn.Linear:
    """Return a linear layer with normal weights of standard deviation ``std`` and zero bias."""
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def forward_gain(*layers: nn.Module, channels: int = 64) -> float:
    """Return 1 / rms(f(z)) of ``layers`` f (an activation, perhaps attention after it): √2 for ReLU, 1 for SELU.

    A convolution whose weights carry this gain preserves the second moment. ``z`` is standard normal,
    (8, channels, 8, 8), and always the same; the global random state is untouched. On the meta device the gain is 1.
    """
    device = next((parameter.device for layer in layers for parameter in layer.parameters()), torch.device("cpu"))
    if device.type == "meta":
        return 1.0
    z = torch.randn(8, channels, 8, 8, generator=torch.Generator("cpu").manual_seed(0), device="cpu").to(device)
    for layer in layers:
        z = layer(z)
    return float(z.square().mean().rsqrt())


def check_images(images: Tensor, in_channels: int, image_size: int) -> None:
    """Raise ValueError unless ``images`` is (B, in_channels, image_size, image_size)."""
    if images.ndim != 4 or images.shape[1:] != (in_channels, image_size, image_size):
        raise ValueError(
            f"expected images of shape (B, {in_channels}, {image_size}, {image_size}), got {tuple(images.shape)}: "
            f"build the network with the in_channels and image_size of the data"
        )


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Return ``params_total``, with the moving statistics of batch norm as Keras counts, and ``params_trainable``."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    fixed = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    moving = sum(b.numel() for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    return {"params_total": trainable + fixed + moving, "params_trainable": trainable}


def refuse_not_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Raise UserError if a number of ``weights``, by name, is infinite or NaN; ``source`` names their file."""
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            raise UserError(
                f"{source} has numbers that are infinite or NaN, first in {name}: the training that wrote it diverged, "
                "or the file is damaged; give other weights."
            )


def global_pool(pooling: str) -> nn.Module:
    """Return the ``avg`` or ``max`` pool before a ResNet's classifier: (B, C, H, W) → (B, C, 1, 1)."""
    kinds = {"avg": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}
    check_choice("backbone.model.pooling", pooling, kinds)
    return kinds[pooling](1)


def check_choice(setting: str, value: str, choices: Collection[str]) -> None:
    """Raise UserError unless ``value`` is one of the ``choices`` of ``setting``."""
    if value not in choices:
        raise UserError(
            f"{setting}={value} is not known{did_you_mean(str(value), choices)}: choose {listed(list(choices), 'or')}."
        )


def check_attention_position(position: str, choices: Sequence[str], network: str) -> None:
    """Raise UserError unless ``position`` is one of the ``choices`` of ``network``, which has its article."""
    if position not in choices:
        hint = did_you_mean(position, choices) if len(choices) > 1 else ""
        raise UserError(
            f"attention_position={position} is not possible in {network}{hint}: choose {listed(list(choices), 'or')}"
        )


def check_widths(widths: Sequence[int], network: str) -> None:
    """Raise UserError unless ``widths`` lists the channels of at least one stage."""
    listed = isinstance(widths, Sequence) and not isinstance(widths, str)
    if not listed or not widths or any(not isinstance(width, int) or width < 1 for width in widths):
        raise UserError(
            f"backbone.model.widths={widths} does not describe {network}: "
            "give the channels of each stage, such as [32, 64, 128]."
        )


def check_width(width: float) -> None:
    """Raise UserError unless ``width``, the channels of a network's first stage, is from 1 to 1024."""
    if not isinstance(width, int | float) or isinstance(width, bool) or not 1 <= width <= 1024:
        raise UserError(
            f"backbone.model.width={width} must be a number from 1 to 1024: the channels of the first stage, rounded."
        )


def scaled(width: float, multiple: int) -> int:
    """Return the channels of a stage of ``multiple`` times ``width``, rounded to the nearest (halves up).

    A width such as 16.25 makes stages of 16, 33, 65 and 130 channels: networks of nearly any number of parameters.
    """
    return math.floor(multiple * width + 0.5)


def check_depths(depths: Sequence[int], widths: Sequence[int], network: str) -> None:
    """Raise UserError unless ``depths`` lists at least one layer for every stage."""
    if len(depths) != len(widths) or any(depth < 1 for depth in depths):
        raise UserError(
            f"depths={list(depths)} does not describe a {network}: "
            f"give one number for each of its {len(widths)} stages, each at least 1"
        )
