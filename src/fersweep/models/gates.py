"""Gates of attention modules, and `read_out`, which collects their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fersweep.models.common import ActivationFactory
from fersweep.models.pooling import SpatialMean


class Gate(nn.Module):
    """A module whose output scales a map or mixes maps; :func:`read_out` collects it."""


@runtime_checkable
class Attention(Protocol):
    """A module that scales its input by gates it computes itself; :func:`read_out` asks for them."""

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gates for ``x`` (B, C, H, W): factors in (0, 1), or what the module's docstring says.

        Keys: ``channels`` (B, C, 1, 1), ``positions`` (B, 1, H, W) or (B, C, H, W), ``image`` (B, 1, 1, 1), as the
        module has them.
        """


class ChannelGate(Gate):
    """σ(W₂ f(W₁ GAP(x))), one gate per channel of another map (Hu, Shen & Sun 2018, eqs. 2 and 3)."""

    def __init__(self, in_channels: int, hidden: int, channels: int, activation: ActivationFactory) -> None:
        super().__init__()
        self.pool = SpatialMean()
        self.mlp = nn.Sequential(nn.Linear(in_channels, hidden), activation(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to gates (B, channels, 1, 1) in (0, 1)."""
        return torch.sigmoid(self.mlp(self.pool(x)))[:, :, None, None]


class SpatialGate(Gate):
    """σ(conv1×1(x)), one gate per position."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to gates (B, 1, H, W) in (0, 1)."""
        return torch.sigmoid(self.conv(x))


class BranchMixture(Gate):
    """Softmax over branches for each channel, from the pooled sum of all branches.

    After Li et al. (2019, "Selective Kernel Networks", section 3.1), without the norm of its hidden layer.
    """

    def __init__(self, channels: int, branches: int, hidden: int, activation: ActivationFactory) -> None:
        super().__init__()
        self.branches = branches
        self.pool = SpatialMean()
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), activation(), nn.Linear(hidden, branches * channels))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map one (B, C, H, W) per branch to weights (B, branches, C) that sum to one over the branches."""
        pooled = torch.stack([self.pool(x) for x in maps]).sum(dim=0)
        return self.mlp(pooled).unflatten(1, (self.branches, -1)).softmax(dim=1)


@torch.no_grad()
def read_out(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the gates of every :class:`Gate` and :class:`Attention` of ``network`` for ``images`` (B, C, H, W).

    Keys are names of modules; those of an :class:`Attention` have its keys appended: ``attention.channels``.
    Shapes: (B, C, 1, 1) for channels, (B, 1, H, W) for positions, (B, C, H, W) for both, (B, 1, 1, 1) for images,
    (B, branches, C) for mixtures. The network is called once, in its current mode.
    """
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if isinstance(module, Gate):
                found[name] = output.float()
            elif isinstance(module, Attention):
                for kind, gate in module.gates(inputs[0]).items():
                    found[f"{name}.{kind}".lstrip(".")] = gate.float()

        return keep

    modules: dict[str, nn.Module] = dict(network.named_modules())
    hooks = [
        module.register_forward_hook(hook(name))
        for name, module in modules.items()
        if isinstance(module, Gate | Attention)
    ]
    try:
        network(images)
    finally:
        for each in hooks:
            each.remove()
    return found
