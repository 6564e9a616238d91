"""The space of a search: the settings with several values on a command line, in Hydra's grammar.

``choice`` and commas are choices, ``range`` numbers with a step, ``interval`` any number between its ends (whole ones
if both ends are: ``int(interval(1, 9))``), ``tag(log, …)`` makes them equally likely on a logarithmic scale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from fersweep.config.combinations import exclusions, is_one_of, pairs, values_of
from fersweep.config.conditions import conditions
from fersweep.errors import UserError
from fersweep.text import counted

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

DIGITS = 6
"""Significant digits of a number that is drawn from an interval."""

LARGEST_GRID = 10_000
"""Combinations of the largest grid."""

Values = dict[str, str]
"""Values of settings by key, both as Hydra writes them."""


@dataclass(frozen=True)
class Parameter:
    """One dimension of the space: a setting, or several whose values are paired.

    Attributes:
        keys: of its settings.
        points: the values of each setting, for choices; empty for numbers.
        distribution: Optuna's.
        where: values of other settings with which it exists.
        is_interval: it has no steps that a grid could list.
    """

    keys: tuple[str, ...]
    points: tuple[tuple[str, ...], ...]
    distribution: BaseDistribution
    where: dict[str, list[Any]] = field(default_factory=dict)
    is_interval: bool = False

    @property
    def name(self) -> str:
        """Its setting, or its settings with commas."""
        return ",".join(self.keys)

    def suggest(self, trial: Trial) -> Any:
        """Return Optuna's value for a trial."""
        of: Any = self.distribution
        if self.points:
            return trial.suggest_categorical(self.name, of.choices)
        suggest: Any = trial.suggest_float if isinstance(of.low, float) else trial.suggest_int
        return suggest(self.name, of.low, of.high, step=of.step, log=of.log)

    def values(self, value: Any) -> Values:
        """Return the values of its settings for one of Optuna's values."""
        if self.points:
            point = next(each for each in self.points if _joined(each) == value)
            return dict(zip(self.keys, point, strict=True))
        return {self.keys[0]: self._number(value)}

    def _number(self, value: float) -> str:
        if isinstance(value, int):
            return str(value)
        numbers: Any = self.distribution
        rounded = float(f"{value:.{DIGITS}g}")
        return repr(min(max(rounded, numbers.low), numbers.high))

    def exists(self, values: Values) -> bool:
        """Return whether it exists beside some values of other settings."""
        return all(key in values and is_one_of(values[key], some) for key, some in self.where.items())

    def listed(self) -> list[Any]:
        """Return Optuna's values of a finite parameter; UserError for an interval."""
        numbers: Any = self.distribution
        if self.points:
            return [_joined(point) for point in self.points]
        if self.is_interval:
            raise UserError(
                f"{self.name} is an interval, which a grid cannot list: write range(…) or choice(…), or choose another "
                "hydra.sweeper.sampler."
            )
        count = round((numbers.high - numbers.low) / numbers.step)
        return [numbers.low + place * numbers.step for place in range(count + 1)]


class Space:
    """The space of a search.

    Args:
        overrides: of the command line, swept or fixed, in order.
        zipped, exclude, where: settings of the sweeper.

    Raises:
        UserError: nothing is swept, or one of the settings is malformed or names a setting that is not swept.
    """

    def __init__(
        self, overrides: Sequence[Override], zipped: Any = None, exclude: Any = None, where: Any = None
    ) -> None:
        last = {each.get_key_element(): each for each in overrides}
        self.order = tuple(last)
        swept = {each.key_or_group: each for each in last.values() if _has_several(each)}
        self.fixed: Values = {key: values_of(each)[0] for key, each in last.items() if each.key_or_group not in swept}
        names = [each.key_or_group for each in last.values()]
        needs = conditions(where, swept, names)
        groups = {name: group for group in pairs(zipped, swept) for name in group}
        found = [
            _parameter([swept[each] for each in groups.get(name, (name,))], needs)
            for name in swept
            if groups.get(name, (name,))[0] == name
        ]
        if not found:
            raise UserError(
                "This search has nothing to choose from: give a setting several values, as in attention=none,cbam or "
                "recipe.optimizer.lr='tag(log, interval(0.001, 0.1))'."
            )
        self.parameters = _conditional_last(found)
        self.excluded = exclusions(exclude, names)

    def suggest(self, trial: Trial) -> Values:
        """Return the values of all settings that Optuna chooses for a trial, in the order of the command line."""
        values = dict(self.fixed)
        for each in self.parameters:
            if each.exists(_plain_names(values)):
                values |= each.values(each.suggest(trial))
        return self._ordered(values)

    def first(self) -> Values:
        """Return the values of one point of the space: first choices, lower ends."""
        values = dict(self.fixed)
        for each in self.parameters:
            if each.exists(_plain_names(values)):
                numbers: Any = each.distribution
                values |= each.values(_joined(each.points[0]) if each.points else numbers.low)
        return self._ordered(values)

    def _ordered(self, values: Values) -> Values:
        return {key: values[key] for key in self.order if key in values}

    def excludes(self, values: Values) -> bool:
        """Return whether a combination is left out."""
        plain = _plain_names(values)
        return any(
            all(name in plain and is_one_of(plain[name], some) for name, some in each.items()) for each in self.excluded
        )

    def grid(self) -> list[dict[str, Any]]:
        """Return Optuna's values of every combination; UserError for an interval or too many."""
        total = 1
        for each in self.parameters:
            total *= len(each.listed())
        if total > LARGEST_GRID:
            raise UserError(
                f"The grid has {counted(total, 'combination')}, more than {LARGEST_GRID:,}: list fewer values, or "
                "choose another hydra.sweeper.sampler."
            )
        found = {json.dumps(params, sort_keys=True): params for params in self._combinations(self.parameters, {}, {})}
        return list(found.values())

    def _combinations(
        self, left: Sequence[Parameter], values: Values, params: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        if not left:
            yield params
            return
        first, rest = left[0], left[1:]
        if not first.exists(_plain_names(self.fixed | values)):
            yield from self._combinations(rest, values, params)
            return
        for each in first.listed():
            yield from self._combinations(rest, values | first.values(each), params | {first.name: each})

    def described(self) -> list[list[Any]]:
        """Return the parameters as JSON holds them: name, distribution, values of others with which it exists."""
        from optuna.distributions import distribution_to_json

        return [
            [each.name, json.loads(distribution_to_json(each.distribution)), each.where] for each in self.parameters
        ]


def _parameter(overrides: Sequence[Override], conditions: Mapping[str, dict[str, list[Any]]]) -> Parameter:
    from optuna.distributions import CategoricalDistribution

    keys = tuple(each.get_key_element() for each in overrides)
    where = {k: v for each in overrides for k, v in conditions.get(each.key_or_group, {}).items()}
    value: Any = overrides[0].value()
    if len(overrides) == 1 and isinstance(value, IntervalSweep | RangeSweep):
        return Parameter(keys, (), _numbers(overrides[0], value), where, isinstance(value, IntervalSweep))
    listed = [values_of(each) for each in overrides]
    if len({len(each) for each in listed}) > 1:
        numbers = ", ".join(f"{key} has {len(each)}" for key, each in zip(keys, listed, strict=True))
        raise UserError(f"hydra.sweeper.zip pairs settings with different numbers of values: {numbers}.")
    points = tuple(dict.fromkeys(zip(*listed, strict=True)))
    return Parameter(keys, points, CategoricalDistribution([_joined(point) for point in points]), where)


def _numbers(override: Override, value: IntervalSweep | RangeSweep) -> BaseDistribution:
    """Return the distribution of a range or an interval; UserError if it is empty, or its logarithm impossible."""
    from optuna.distributions import FloatDistribution, IntDistribution

    log, text = "log" in value.tags, override.input_line
    if isinstance(value, IntervalSweep):
        low, high, step = value.start, value.end, None
    else:
        numbers = [float(each) for each in override.sweep_string_iterator()]
        low, high, step = min(numbers), max(numbers), abs(value.step)
    ends = (value.start, value.end) if isinstance(value, IntervalSweep) else (value.start, value.stop, value.step)
    whole = all(isinstance(each, int) for each in ends)
    if low is None or high is None or not low < high:
        raise UserError(f"{text} is empty: write the lower end first.")
    if log and low <= 0:
        raise UserError(f"{text} has no logarithm: begin above 0.")
    if log and step not in (None, 1):
        raise UserError(f"{text} has steps, which a logarithmic scale cannot have: use interval, or list the values.")
    if whole or "int" in value.tags:
        return IntDistribution(int(low), int(high), log=log, step=1 if step is None else int(step))
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _has_several(override: Override) -> bool:
    if not override.is_sweep_override():
        return False
    return override.is_interval_sweep() or len(values_of(override)) > 1


def _joined(point: Sequence[str]) -> str:
    return ", ".join(point)


def _plain_names(values: Values) -> Values:
    return {key.lstrip("+").partition("@")[0]: value for key, value in values.items()}


def _conditional_last(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Return the parameters such that each follows those that its condition names; UserError for a circle."""
    left, found = list(parameters), []
    while left:
        waiting = {key for each in left for key in each.keys}
        free = [each for each in left if not waiting & {*each.where}]
        if not free:
            names = ", ".join(each.name for each in left)
            raise UserError(f"hydra.sweeper.where makes {names} depend on each other in a circle.")
        found += free
        left = [each for each in left if each not in free]
    return found
