"""Faster layers, equal to torch's up to rounding; `speed_up` swaps them into a built network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from fersweep.models.fast.convolution import MatmulConv2d
from fersweep.models.fast.pooling import FastChannelPool, FastSpatialMean
from fersweep.models.gates import Gate
from fersweep.models.pooling import ChannelPool, SpatialMean

SWAPS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: MatmulConv2d,
    SpatialMean: FastSpatialMean,
    ChannelPool: FastChannelPool,
}
"""Layers and their faster subclasses, which add no state."""


def speed_up(network: nn.Module, swaps: Mapping[type[nn.Module], type[nn.Module]] = SWAPS) -> nn.Module:
    """Give the layers of ``network`` that have a faster subclass that class, in place, and return it.

    Parameters, buffers and hooks stay the same objects, and names do not change, so optimisers and checkpoints are
    unaffected.
    Convolutions inside a `Gate` stay torch's: they have few channels.
    Activations no longer compute in place, because autograd forbids it on the views that faster convolutions return.

    Args:
        network: anything, on any device; subclasses of the layers are left alone.
        swaps: some of `SWAPS`.
    """
    gates = [module for module in network.modules() if isinstance(module, Gate)]
    kept = {conv for gate in gates for conv in gate.modules() if isinstance(conv, nn.Conv2d)}
    for module in network.modules():
        if type(module) in swaps and module not in kept:
            module.__class__ = swaps[type(module)]
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return network
