"""The networks: backbones built from attention, activation and norm factories (docs/models.md)."""

from __future__ import annotations

from torch import nn


def build_model(
    backbone: str = "resnet50",
    attention: str = "cbam",
    activation: str = "elu",
    fidelity: str = "paper",
    num_classes: int = 7,
    in_channels: int = 1,
    image_size: int = 48,
) -> nn.Module:
    """Return a freshly initialised network: float32 images (B, C, H, W) in [0, 1] → logits (B, ``num_classes``).

    The first four are names of config files in the group of that name, ``backbone`` in ``conf/backbone/`` and so on:
    what a name means is written there and nowhere else. Raises UserError
    with the choices for an unknown name.
    """
    # Imported here because fersweep.build imports the networks of this package.
    from fersweep.build import model_from_names

    return model_from_names(backbone, attention, activation, fidelity, num_classes, in_channels, image_size)
