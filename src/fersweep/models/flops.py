"""Operations of a network, as torch counts them: a multiplication and an addition are two operations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Flops(NamedTuple):
    """Floating-point operations of one image: of the forward pass, and of the forward and backward passes together.

    Convolutions and matrix products are counted (`torch.utils.flop_counter`); the rest takes few operations.
    """

    forward: int
    training: int


def forward(network: nn.Module, channels: int, side: int) -> int:
    """Count the operations of the forward pass alone, as `count` does; the network is left in evaluation mode."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.train(False)(torch.empty(1, channels, side, side, device="meta"))
    return counter.get_total_flops()


def count(network: nn.Module, channels: int, side: int) -> Flops:
    """Count the operations of a network on the meta device for one image ``(channels, side, side)``.

    Nothing is computed. The network is left in training mode, with gradients.

    Raises:
        RuntimeError, NotImplementedError: a layer has no meta kernel.
    """
    images = torch.empty(2, channels, side, side, device="meta")  # batch norm needs two values
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        logits = network.train()(images)
        once = counter.get_total_flops()
        logits.sum().backward()
    return Flops(once // len(images), counter.get_total_flops() // len(images))
