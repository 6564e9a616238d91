"""Combinations of a sweep: every value of each setting with every other's, less exclusions, some settings in pairs.

``hydra.sweeper.zip`` lists settings whose values belong together, first with first, second with second.
``hydra.sweeper.exclude`` lists combinations that are left out, each a mapping from settings to a value or to several.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra.core.override_parser.types import Glob, Override
from omegaconf import OmegaConf

from fersweep.config.options import options, parse
from fersweep.errors import UserError
from fersweep.text import counted, did_you_mean, listed

ZIP, EXCLUDE = "hydra.sweeper.zip", "hydra.sweeper.exclude"

EXAMPLE_ZIP = "backbone,recipe.optimizer.lr"
EXAMPLE_EXCLUDE = "backbone:vgg19,attention:cbam"

Combination = dict[str, str]
"""Values of one run by key, both as Hydra writes them."""


@dataclass(frozen=True)
class Axis:
    """One dimension of a sweep: a setting, or several whose values are paired.

    Attributes:
        keys: of the settings, such as ``backbone`` or ``+trainer.lightning.deterministic``.
        points: along the axis, each with one value per key.
    """

    keys: tuple[str, ...]
    points: tuple[tuple[str, ...], ...]


def combinations(overrides: Sequence[Override], zipped: Any = None, exclude: Any = None) -> list[Combination]:
    """Return the combinations of a sweep in the order of the overrides, the last setting changing fastest.

    Args:
        overrides: of the settings, swept or fixed; of two with one key the second counts.
        zipped: ``hydra.sweeper.zip``.
        exclude: ``hydra.sweeper.exclude``.

    Raises:
        UserError: zip or exclude is malformed or names a setting that is not swept, zipped settings have different
            numbers of values, or no combination is left.
    """
    along, keys = axes(overrides, zipped), _by_setting(overrides)
    excluded = exclusions(exclude, list(keys))
    found, total = [], 0
    for points in itertools.product(*(axis.points for axis in along)):
        total += 1
        values = {
            key: value
            for axis, point in zip(along, points, strict=True)
            for key, value in zip(axis.keys, point, strict=True)
        }
        ordered = {each.get_key_element(): values[each.get_key_element()] for each in keys.values()}
        if not is_excluded({name: ordered[each.get_key_element()] for name, each in keys.items()}, excluded):
            found.append(ordered)
    if not found:
        raise UserError(f"{EXCLUDE} leaves none of the {counted(total, 'combination')}: exclude fewer.")
    return found


def axes(overrides: Sequence[Override], zipped: Any = None) -> list[Axis]:
    """Return the axes of a sweep; paired settings are one, at the place of their first. UserError as above."""
    by_setting = _by_setting(overrides)
    groups = {name: group for group in pairs(zipped, by_setting) for name in group}
    found: list[Axis] = []
    for name in by_setting:
        members = groups.get(name, (name,))
        if any(by_setting[name].get_key_element() in axis.keys for axis in found):
            continue
        each = [values_of(by_setting[member]) for member in members]
        keys = tuple(by_setting[member].get_key_element() for member in members)
        if len({len(values) for values in each}) > 1:
            numbers = (
                f"{member} has {counted(len(values), 'value')}" for member, values in zip(members, each, strict=True)
            )
            raise UserError(
                f"{ZIP} pairs settings with different numbers of values: {', '.join(numbers)}; give each as many, or "
                f"set {ZIP}=null to combine all of them."
            )
        found.append(Axis(keys, tuple(zip(*each, strict=True))))
    return found


def _by_setting(overrides: Sequence[Override]) -> dict[str, Override]:
    """Return the override that counts of each setting, at the place of its first; Hydra's order."""
    last = {override.get_key_element(): override for override in overrides}
    return {override.key_or_group: override for override in last.values()}


def values_of(override: Override) -> list[str]:
    """Return the values of a setting as Hydra writes them: those it sweeps over, or the one to which it is fixed.

    Raises:
        UserError: it sweeps over an interval, which has no list of values.
    """
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    value: Any = override.value()
    if isinstance(value, Glob):
        return list(value.filter(list(options(override.key_or_group))))
    if not override.is_discrete_sweep():
        key = override.key_or_group
        raise UserError(f"{override.input_line} lists no values to try: write them out, as in {key}=0.001,0.01,0.1.")
    return list(override.sweep_string_iterator())


def pairs(zipped: Any, settings: Collection[str]) -> list[tuple[str, ...]]:
    """Return the groups of settings that ``hydra.sweeper.zip`` pairs; a list of names is one group.

    Args:
        zipped: its value.
        settings: names of those that the sweep sets.

    Raises:
        UserError: it is not such a list, or names a setting twice or one that the sweep does not set.
    """
    plain = plain_value(zipped)
    if plain is None or plain == []:
        return []
    groups = [plain] if isinstance(plain, list) and all(isinstance(each, str) for each in plain) else plain
    if not isinstance(groups, list) or not all(_is_names(group) for group in groups):
        raise UserError(f"{ZIP}={plain} is not a list of two or more settings: write {ZIP}={EXAMPLE_ZIP}.")
    names = [name for group in groups for name in group]
    for name in names:
        _refuse_unswept(ZIP, name, settings)
        if names.count(name) > 1:
            raise UserError(f"{ZIP} names {name} twice: a setting can be in one pair only.")
    return [tuple(group) for group in groups]


def _is_names(group: Any) -> bool:
    return isinstance(group, list) and len(group) > 1 and all(isinstance(name, str) for name in group)


def exclusions(exclude: Any, settings: Collection[str]) -> list[dict[str, list[Any]]]:
    """Return what ``hydra.sweeper.exclude`` leaves out: the values of settings that must all be met.

    Args:
        exclude: its value, a mapping or a list of mappings from settings to a value or a list of them.
        settings: names of those that the sweep sets.

    Raises:
        UserError: it is neither, or names a setting that the sweep does not set.
    """
    plain = plain_value(exclude)
    found = []
    for each in [] if plain is None else plain if isinstance(plain, list) else [plain]:
        if not isinstance(each, Mapping) or not each or not all(isinstance(name, str) for name in each):
            raise UserError(
                f"{EXCLUDE} lists {each!r}, which is not settings with values: write {EXCLUDE}={EXAMPLE_EXCLUDE}, or "
                f"the list in quotes, '{EXCLUDE}=[{{{EXAMPLE_EXCLUDE}}}]'."
            )
        for name in each:
            _refuse_unswept(EXCLUDE, name, settings)
        found.append({name: value if isinstance(value, list) else [value] for name, value in each.items()})
    return found


def _refuse_unswept(setting: str, name: str, settings: Collection[str]) -> None:
    if name not in settings:
        hint = did_you_mean(name, settings)
        raise UserError(
            f"{setting} names {name}, which this sweep does not set{hint}; it sets {listed(sorted(settings), 'and')}."
            if settings
            else f"{setting} names {name}, but this sweep sets nothing."
        )


def is_excluded(values: Mapping[str, str], excluded: Sequence[Mapping[str, Sequence[Any]]]) -> bool:
    """Return whether a run is left out.

    Args:
        values: of its settings, as Hydra writes them.
        excluded: as `exclusions` returns them.
    """
    return any(all(is_one_of(values[name], some) for name, some in each.items()) for each in excluded)


def refuse_idle(overrides: Sequence[Override], exclude: Any) -> None:
    """Raise UserError for an exclusion with a value that its setting never has: it would exclude nothing."""
    by_setting = _by_setting(overrides)
    for each in exclusions(exclude, list(by_setting)):
        for name, some in each.items():
            there = values_of(by_setting[name])
            for value in some:
                if not any(is_one_of(text, [value]) for text in there):
                    raise UserError(
                        f"{EXCLUDE} names {name}:{_written(value)}, which this sweep does not try"
                        f"{did_you_mean(str(value), there)}; it tries {listed(there, 'and')}."
                    )


def is_one_of(text: str, values: Sequence[Any]) -> bool:
    """Return whether a value as Hydra writes it is one of several: 1e-3 is 0.001."""
    mine = _read(text)
    return any(mine == value and isinstance(mine, bool) == isinstance(value, bool) for value in values)


@cache
def _read(text: str) -> Any:
    """Return the value of a text as Hydra reads it: 1e-3 and 0.001 are equal."""
    return parse([f"x={text}"])[0].value()


def _written(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plain_value(value: Any) -> Any:
    """Return a value of a configuration as plain lists and dicts."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
