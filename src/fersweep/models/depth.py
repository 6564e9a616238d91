"""Depth of parameters: the number of their layer, counted from the images."""

from __future__ import annotations

from torch import nn

from fersweep.models.pretrained import Attended, Pretrained


def depths(network: nn.Module) -> dict[str, int]:
    """Return the layer of every parameter by name, from 0 at the images; the classifier's is the last.

    For a network of timm it is the library's own grouping (``group_matcher``). In others the children of the network
    are its layers in the order in which they are defined, a block of a sequence one each, and a norm belongs to the
    layer before it. Attention inserted into a pretrained network begins without weights, as the classifier does, and
    has its depth.
    """
    known = network.library_depths() if isinstance(network, Pretrained) else None
    found: dict[str, int] = {}
    if known is None:
        _count(network, "", found)
    else:
        assert isinstance(network, Pretrained)
        found = {f"network.{network.name_here(key)}": depth for key, depth in known.items()}
    last = max(found.values(), default=0)
    return {name: found.get(name, last) for name, _ in network.named_parameters()}


def _count(module: nn.Module, above: str, found: dict[str, int]) -> None:
    """Number the layers of a module, on from those that ``found`` holds by parameter."""
    own = [f"{above}{name}" for name, _ in module.named_parameters(recurse=False)]
    found |= dict.fromkeys(own, 1 + max(found.values(), default=-1))
    for name, child in module.named_children():
        if isinstance(child, Attended):
            name, child = f"{name}.stage", child.stage
        if isinstance(child, nn.Sequential | nn.ModuleList) or name == "network":
            _count(child, f"{above}{name}.", found)
            continue
        parameters = {f"{above}{name}.{key}": value for key, value in child.named_parameters()}
        begins = not found or any(value.ndim > 1 for value in parameters.values())
        found |= dict.fromkeys(parameters, max(found.values(), default=-1) + begins)
