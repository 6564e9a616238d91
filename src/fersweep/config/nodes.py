"""Config nodes from which a network is built, and the arguments that their classes take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from fersweep.config import targets
from fersweep.errors import UserError


def network(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the node that a run's network is built from.

    ``backbone.model`` and ``attention`` are overlaid with the entries of ``fidelity`` for this family of backbones and
    this attention. Activation, norm, attention and its position are added as far as the network's class takes them; an
    activation without ``module`` is that of the class.

    Args:
        config: the resolved configuration as plain dicts.

    Raises:
        UserError: a class is missing, or attention and its position or the activation do not fit the backbone.
    """
    backbone, fidelity = config["backbone"], config["fidelity"]
    attention = {key: value for key, value in config["attention"].items() if key not in ("name", "title")}
    chosen, position = config["attention"]["name"], backbone["attention_position"]
    node = _overlaid(backbone["model"], fidelity["backbone"].get(backbone["family"] or backbone["name"]))
    if not isinstance(node.get("_target_"), str):
        raise UserError(f"backbone={backbone['name']} names no class: write _target_ below model in its file.")
    if not isinstance(attention.get("_target_"), str):
        raise UserError(f"attention={chosen} names no class: write _target_ in its file.")
    attends = targets.takes(node["_target_"], "attention")
    if position is None and attends:
        raise UserError(
            f"backbone.attention_position=null is not possible with backbone={backbone['name']}: leave it as it is."
        )
    if position is not None and not attends:
        raise UserError(
            f"backbone.attention_position={position} has no effect with backbone={backbone['name']}: leave it null."
        )
    parts = {"norm": _factory(fidelity["norm"])}
    if module := config["activation"]["module"]:
        parts["activation"] = _factory(module)
    elif targets.needs(node["_target_"], "activation"):
        raise UserError(
            f"activation={config['activation']['name']} is not possible with backbone={backbone['name']}, which brings "
            "none of its own: choose another."
        )
    if position is not None:
        attention = _overlaid(attention, fidelity["attention"].get(chosen))
        parts |= {"attention": _factory(attention), "attention_position": position}
    elif chosen != "none":
        raise UserError(f"backbone={backbone['name']} takes no attention={chosen}: set attention=none.")
    return {**{key: value for key, value in parts.items() if targets.takes(node["_target_"], key)}, **node}


def _overlaid(node: Mapping[str, Any], other: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return ``node`` updated with ``other``; if that names another class, without the keys this class lacks."""
    if other is None:
        return dict(node)
    if not isinstance(other, Mapping):
        raise UserError(f"{other!r} in fidelity is not a mapping: give the settings that differ.")
    if "_target_" in other:
        node = {key: value for key, value in node.items() if targets.takes(str(other["_target_"]), key)}
    return {**node, **other}


def _factory(node: Mapping[str, Any]) -> dict[str, Any]:
    return {**node, "_partial_": True}


def source_takes(cfg: DictConfig, argument: str) -> bool:
    """Return whether a dataset's source takes an argument, such as ``root`` if it reads files."""
    return targets.takes(str(cfg.dataset.source._target_), argument)
