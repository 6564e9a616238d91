"""The finals of a search: runs of the best trials with seeds, and settings, that the search has not used."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from fersweep.config.combinations import plain_value
from fersweep.config.compose import check_choices
from fersweep.config.options import quoted
from fersweep.config.space import Space
from fersweep.errors import UserError
from fersweep.runs.trials import Trial
from fersweep.sweep.plan import Planner
from fersweep.sweep.search.settings import Settings
from fersweep.text import listed

OVERRIDES = "hydra.sweeper.finals_overrides"

FIXED = ("seed", "sweep", "outputs", "force")
"""Settings that the finals have anyway, or share with the search."""


def overrides(settings: Settings) -> list[str]:
    """Return ``hydra.sweeper.finals_overrides`` as overrides, such as ``split=official``.

    Raises:
        UserError: it is no mapping from settings to values, has no effect, or names a setting of `FIXED`.
    """
    from fersweep.report import again

    plain = plain_value(settings.finals_overrides)
    if plain is None or plain == {}:
        return []
    if not isinstance(plain, Mapping) or not all(isinstance(name, str) for name in plain):
        raise UserError(f"{OVERRIDES}={plain} is not settings with values: write {OVERRIDES}=split:official.")
    if not settings.finals:
        raise UserError(f"{OVERRIDES} has no effect without finals: set hydra.sweeper.finals, or omit it.")
    for name in plain:
        if name in FIXED or name.startswith("hydra."):
            raise UserError(f"{OVERRIDES} names {name}, which cannot differ in the finals: omit it.")
    return [shlex.split(again.setting(name, value))[0] for name, value in plain.items()]


def check(settings: Settings, space: Space, planner: Planner) -> None:
    """Compose a final before the search begins.

    Raises:
        UserError: the overrides of the finals are malformed, name a setting that the search chooses, or make a run
            impossible that is possible without them.
    """
    ours = overrides(settings)
    if not ours:
        return
    chosen = {_name(key) for each in space.parameters for key in each.keys}
    if both := sorted(chosen & set(map(_name, ours))):
        raise UserError(f"{OVERRIDES} names {listed(both, 'and')}, which the search chooses: omit one of the two.")
    try:
        check_choices(ours)
    except UserError as error:
        raise UserError(f"{OVERRIDES}: {error}") from error
    first = [f"{key}={value}" for key, value in space.first().items()]
    try:
        planner.plan(first)
    except UserError:  # a point of the space may be impossible
        return
    try:
        planner.plan(_replaced(first, ours))
    except UserError as error:
        raise UserError(f"{OVERRIDES}: {error}") from error


def finals(best: Sequence[Trial], config: DictConfig, settings: Settings) -> list[list[str]]:
    """Return the overrides of the runs that compare the best: with seeds that the search has not used."""
    seeds = [config.seed + settings.seeds + place for place in range(settings.finals)]
    folder, ours = folder_of(config, "finals"), overrides(settings)
    return [_replaced(trial.overrides, [*ours, f"seed={seed}", f"sweep={folder}"]) for trial in best for seed in seeds]


def folder_of(config: DictConfig, value: str) -> str:
    """Return the name of a folder for one value, in that of the sweep, as an override's value."""
    return quoted(f"{config.sweep}/{re.sub(r'[^A-Za-z0-9_.+-]+', '-', value)}")


def _replaced(typed: Sequence[str], by: Sequence[str]) -> list[str]:
    """Return overrides in which others take the place of those of the same settings, at the end."""
    names = set(map(_name, by))
    return [*(each for each in typed if _name(each) not in names), *by]


def _name(override: Any) -> str:
    return str(override).partition("=")[0].lstrip("+").partition("@")[0]
