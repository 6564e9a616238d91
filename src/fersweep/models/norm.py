"""Normalisation layers behind the ``norm(channels, height)`` factory of the backbones."""

from __future__ import annotations

from torch import nn

from fersweep.errors import UserError


def batch_norm(channels: int, height: int, epsilon: float = 1e-5, momentum: float = 0.1) -> nn.BatchNorm2d:  # noqa: ARG001
    """Return batch normalisation over (N, H, W), one scale and shift per channel (Ioffe & Szegedy 2015).

    ``height`` is part of the factory's signature and unused. The defaults are PyTorch's and timm's.
    """
    if epsilon <= 0:
        raise UserError(f"A norm's epsilon={epsilon} must be positive.")
    if not 0 < momentum <= 1:
        raise UserError(f"A norm's momentum={momentum} must be above 0 and at most 1.")
    return nn.BatchNorm2d(channels, eps=epsilon, momentum=momentum)
