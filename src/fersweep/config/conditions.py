"""Settings of a search that exist only beside some values of others (``hydra.sweeper.where``)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fersweep.config.combinations import plain_value
from fersweep.errors import UserError
from fersweep.text import did_you_mean


def conditions(where: Any, swept: Collection[str], names: Collection[str]) -> dict[str, dict[str, list[Any]]]:
    """Return for each conditional setting the values of others beside which it exists.

    Args:
        where: ``hydra.sweeper.where``.
        swept: settings with several values.
        names: of all settings that are given.

    Raises:
        UserError: it is no such mapping, or names a setting that is not given.
    """
    plain = plain_value(where) or {}
    example = "hydra.sweeper.where='{attention.reduction:{attention:[se,cbam]}}'"
    if not isinstance(plain, Mapping) or not all(isinstance(each, Mapping) for each in plain.values()):
        raise UserError(f"hydra.sweeper.where={plain} is no condition: write {example}.")
    for name in plain:
        if name not in swept:
            raise UserError(f"hydra.sweeper.where names {name}, which has no values{did_you_mean(name, swept)}.")
        for other in plain[name]:
            if other not in names or other == name:
                hint = did_you_mean(other, names)
                raise UserError(f"hydra.sweeper.where: {name} depends on {other}, which is not given{hint}.")
    return {
        name: {other: value if isinstance(value, list) else [value] for other, value in each.items()}
        for name, each in plain.items()
    }
