"""Gates: modules whose outputs say what a network lets through, and how to read them for pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fersweep.models.common import ActivationFactory
from fersweep.models.pooling import spatial_mean


class Gate(nn.Module):
    """What scales a map or mixes maps; :func:`read_out` collects what it returns."""


@runtime_checkable
class Attention(Protocol):
    """A module that scales the map it is given, and whose gates :func:`read_out` has to ask for."""

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates with which ``x`` (B, C, H, W) would be scaled, by what they are of.

        ``channels`` (B, C, 1, 1), ``positions`` (B, 1, H, W) and ``image`` (B, 1, 1, 1), those there are, in (0, 1).
        """


class ChannelGate(Gate):
    """σ(W₂ f(W₁ GAP(x))): one gate for each channel of another map (Hu, Shen & Sun 2018, eqs. 2 and 3)."""

    def __init__(self, in_channels: int, hidden: int, channels: int, activation: ActivationFactory) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(in_channels, hidden), activation(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to gates (B, channels, 1, 1) in (0, 1)."""
        return torch.sigmoid(self.mlp(spatial_mean(x)))[:, :, None, None]


class SpatialGate(Gate):
    """σ(conv1×1(x)): one gate for each position."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to gates (B, 1, H, W) in (0, 1)."""
        return torch.sigmoid(self.conv(x))


class BranchMixture(Gate):
    """Softmax over branches for each channel, from the pooled sum of all branches.

    As in Li et al. (2019, section 3.1), without the norm of its hidden layer.
    """

    def __init__(self, channels: int, branches: int, hidden: int, activation: ActivationFactory) -> None:
        super().__init__()
        self.branches = branches
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), activation(), nn.Linear(hidden, branches * channels))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map one (B, C, H, W) a branch to shares (B, branches, C) that add up to one over the branches."""
        pooled = torch.stack([spatial_mean(x) for x in maps]).sum(dim=0)
        return self.mlp(pooled).unflatten(1, (self.branches, -1)).softmax(dim=1)


@torch.no_grad()
def read_out(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return what every :class:`Gate` and :class:`Attention` of ``network`` answers to ``images`` (B, C, H, W).

    By the module's name; where an attention is asked, by that and what the gates are of: ``attention.channels``.
    Shapes: (B, C, 1, 1) of channels, (B, 1, H, W) of positions, (B, C, H, W) of both, (B, 1, 1, 1) of images,
    (B, branches, C) of mixtures. The network is called once, in the mode it is in.
    """
    answers: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if isinstance(module, Gate):
                answers[name] = output.float()
            elif isinstance(module, Attention):
                for kind, gate in module.gates(inputs[0]).items():
                    answers[f"{name}.{kind}".lstrip(".")] = gate.float()

        return keep

    modules: dict[str, nn.Module] = dict(network.named_modules())
    asked = [name for name, each in modules.items() if isinstance(each, Gate | Attention)]
    hooks = [modules[name].register_forward_hook(hook(name)) for name in asked]
    try:
        network(images)
    finally:
        for each in hooks:
            each.remove()
    return answers
