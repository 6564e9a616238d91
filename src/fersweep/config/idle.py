"""Check for settings of a network that have no effect."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fersweep.config.nodes import network
from fersweep.config.options import option_file
from fersweep.config.schema import dotted
from fersweep.errors import UserError


def refuse_idle(config: Mapping[str, Any]) -> None:
    """Raise UserError for a changed setting of the network that does not affect it.

    Args:
        config: resolved, as plain dicts.
    """
    built = network(config), config["fidelity"]["initialise"]
    for group in ("backbone", "attention", "activation", "fidelity"):
        file = dotted(option_file(group, config[group]["name"]))
        now = dotted(config[group])
        for key in dict.fromkeys([*file, *now]):
            if key in ("name", "title", "family", "lr", "epochs", "defaults") or now.get(key) == file.get(key):
                continue
            if key not in file and "defaults" in file:
                continue  # another file may define it
            before: Any = copy.deepcopy(config)
            _put(before[group], key, file.get(key))
            if (network(before), before["fidelity"]["initialise"]) == built:
                raise UserError(
                    f"{group}.{key} has no effect with backbone={config['backbone']['name']} "
                    f"attention={config['attention']['name']} fidelity={config['fidelity']['name']}: leave it as it is."
                )


def _put(node: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted name; ``None`` removes it."""
    *above, last = key.split(".")
    for each in above:
        node = node.setdefault(each, {})
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value
