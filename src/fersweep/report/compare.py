"""Paired comparisons of rows: the same images and the same settings except for one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from fersweep.config.schema import GROUPS
from fersweep.report.contents import Comparison, Row
from fersweep.report.effects import MOST_SEEDS, Effect, difference, superiority
from fersweep.report.statistics import MIN_SEEDS, holm, mcnemar, twice_the_median
from fersweep.report.titles import ABSENT
from fersweep.text import counted, listed

LEVEL = 0.05

BASELINES = ("none", "code")
"""The options that others are compared with."""

CONTROL = "control"
"""`Comparison.group` of attention against its control."""

WIDTHS = ("width", "backbone.model.width")
POSITIONS = ("attention_position", "backbone.attention_position")
"""Labels in which attention and its control may differ."""

EQUAL = 0.01
"""The largest difference of parameters between attention and its control, relative to the former's."""


def compare(rows: Sequence[Row], group: str) -> tuple[Comparison, ...]:
    """Compare all pairs of rows that differ in the label ``group`` alone and were tested on the same images.

    The first of a pair is the one with the higher accuracy. P-values are corrected for all pairs together (Holm).
    Established differences come first, then those with the smallest p.
    """
    if not rows or group not in rows[0].labels:
        return ()
    found: list[Comparison] = []
    for alike in _same_images([row for row in rows if len(row.ids)]):
        pairs = [pair for pair in combinations(range(len(alike)), 2) if _differ_in(group, *(alike[i] for i in pair))]
        found += [_pair(alike[i], alike[j], group) for i, j in pairs]
    corrected = zip(found, holm([each.p for each in found]), holm([each.mcnemar_p for each in found]), strict=True)
    judged = [_judged(replace(each, p_holm=p, mcnemar_holm=q)) for each, p, q in corrected]
    return tuple(sorted(judged, key=lambda each: (not each.established, each.p, -each.difference)))


def controls(rows: Sequence[Row]) -> tuple[Comparison, ...]:
    """Compare each row with attention with its control: the row without, of any width, nearest in parameters.

    The control has the same labels otherwise, the same test images, and a number of parameters that differs by
    `EQUAL` at most. P-values are corrected for all of these pairs together. Nothing is compared if no row has another
    width: `compare` has those pairs.
    """
    if len({row.labels[name] for row in rows for name in WIDTHS if name in row.labels}) < 2:
        return ()
    found: list[Comparison] = []
    for alike in _same_images([row for row in rows if len(row.ids)]):
        for row in alike:
            near = [other for other in alike if _may_control(other, row)]
            if near:
                other = min(near, key=lambda each: abs(each.params_trainable - row.params_trainable))
                found.append(_pair(row, other, "attention"))
    corrected = zip(found, holm([each.p for each in found]), holm([each.mcnemar_p for each in found]), strict=True)
    by_key = {row.key: row for row in rows}
    return tuple(_judged(_of_control(replace(each, p_holm=p, mcnemar_holm=q), by_key)) for each, p, q in corrected)


def _may_control(control: Row, row: Row) -> bool:
    """Return whether a row is without attention, has almost as many parameters as ``row``, and is like it otherwise."""
    if control.labels["attention"] != "none" or row.labels["attention"] in ("none", ABSENT):
        return False
    others = [key for key in row.labels if key not in ("attention", *WIDTHS, *POSITIONS)]
    alike = all(ABSENT in (pair := (row.labels[key], control.labels[key])) or pair[0] == pair[1] for key in others)
    return alike and abs(control.params_trainable - row.params_trainable) <= EQUAL * row.params_trainable


def _of_control(pair: Comparison, rows: Mapping[str, Row]) -> Comparison:
    """Name the control by its width, in a comparison of attention."""
    names = []
    for name, option, key in zip(pair.names, (pair.first, pair.second), pair.rows, strict=True):
        width = next((rows[key].labels[each] for each in WIDTHS if each in rows[key].labels), "")
        names.append(f"the network of width {width} without attention" if option == "none" else name)
    shared = {key: value for key, value in pair.shared.items() if key not in (*WIDTHS, *POSITIONS)}
    return replace(pair, group=CONTROL, names=(names[0], names[1]), shared=shared)


def _same_images(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows by dataset and test images."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.choices["dataset"] + "\n" + "\n".join(row.ids), []).append(row)
    return list(groups.values())


def _differ_in(group: str, one: Row, other: Row) -> bool:
    """Return whether two rows differ in ``group`` alone, ignoring settings that one of them does not have."""
    different = [key for key, value in one.labels.items() if other.labels[key] != value]
    both = [key for key in different if ABSENT not in (one.labels[key], other.labels[key])]
    return both == [group]


def _pair(one: Row, other: Row, group: str) -> Comparison:
    """Compare one pair, not yet corrected for the others."""
    if other.accuracy.mean > one.accuracy.mean:
        one, other = other, one
    effect = difference(one.correct, other.correct, one.people)
    tests = [mcnemar(a, b) for a in one.correct for b in other.correct]
    return Comparison(
        group=group,
        shared=_shared(one, other, group),
        first=one.labels[group],
        second=other.labels[group],
        names=(one.shown[group], other.shown[group]),
        rows=(one.key, other.key),
        difference=effect.value,
        interval=effect.interval(),
        p=effect.p,
        p_holm=effect.p,
        mcnemar_p=twice_the_median([value for value, _ in tests]),
        mcnemar_holm=1.0,
        discordant=tuple(np.mean([counts for _, counts in tests], axis=0).tolist()),
        superiority=superiority(one.accuracy.values, other.accuracy.values),
        power=effect.power(),
        seeds_needed=_needed(effect, one, other),
        seeds=(one.accuracy.n, other.accuracy.n),
        n=one.n,
        established=False,
        sentence="",
        beside=tuple(key for key, value in one.own.items() if value != other.own[key]),
    )


def _needed(effect: Effect, one: Row, other: Row) -> int | None:
    """Return the seeds of each that would show a difference of this size; ``None`` if unknown or too many."""
    if not effect.runs_freedom:
        return None
    return effect.seeds_needed(2 / (1 / one.accuracy.n + 1 / other.accuracy.n))


def _shared(one: Row, other: Row, group: str) -> dict[str, str]:
    """Return the labels of both rows; if one does not have a setting, the other's."""
    pairs = {key: {value, other.shown[key]} for key, value in one.shown.items() if key != group}
    return {key: next(iter(values - {ABSENT}), ABSENT) for key, values in pairs.items()}


def _judged(pair: Comparison) -> Comparison:
    """Add the conclusion and the sentence that states it."""
    fewest = min(pair.seeds)
    established = fewest >= MIN_SEEDS and pair.p_holm < LEVEL
    low, high = (100 * end for end in pair.interval)
    first, second = (_network(pair.group, name) for name in pair.names)
    points = f"{100 * pair.difference:.1f} points"
    shown = [(key, value) for key, value in pair.shared.items() if value != ABSENT]
    values = [value for _, value in shown]
    where = ", ".join(value if values.count(value) == 1 else f"{key}={value}" for key, value in shown)
    verb = f"beats {second} by {points}" if established else f"scores {points} more than {second}"
    if points == "0.0 points":
        verb = f"and {second} differ by {points}"
    end = "established" if established else f"not established ({_open(pair)})"
    sentence = f"{where}: {first} {verb} (95 % {signed(low)}…{signed(high)}): {end}{differ_too(pair.beside)}"
    return replace(pair, established=established, sentence=sentence)


def differ_too(settings: Sequence[str]) -> str:
    """Return the end of a sentence on rows that differ in these settings as well; empty if there are none."""
    return f"; the rows differ in {listed(settings, 'and')}, too" if settings else ""


def _open(pair: Comparison) -> str:
    """Return why a difference is not established, and the seeds that would settle it."""
    fewest = min(pair.seeds)
    if fewest < MIN_SEEDS:
        return f"{counted(fewest, 'seed')}; it takes {MIN_SEEDS}"
    if pair.difference == 0:
        return "the same accuracy"
    chance = f"power for a difference of this size {100 * pair.power:.0f} %"
    if pair.seeds_needed is None:
        return f"{chance}; more than {MOST_SEEDS} seeds of each would be needed"
    if pair.seeds_needed <= fewest:
        return chance
    return f"{chance}; {pair.seeds_needed} seeds of each would give 80 %"


def _network(group: str, name: str) -> str:
    """Return an option as what beats another; "no attention beats CBAM" would mean that nothing does."""
    return f"the network without {group}" if group in GROUPS and name == "none" else in_words(group, name)


def in_words(group: str, name: str) -> str:
    """Return an option as part of a sentence, in quotes if it has several words; a setting with its value."""
    if group == CONTROL:
        return name
    if group not in GROUPS:
        return f"{group}={name}"
    if name == "none":
        return f"no {group}"
    return f"“{name}”" if " " in name else name


def signed(value: float) -> str:
    """Return a number with one decimal and a true minus sign."""
    text = f"{value:.1f}"
    return text.replace("-", "−") if float(text) else "0.0"


def compared(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the labels by which rows are compared: all but dataset, split and backbone."""
    return tuple(column for column in columns if column not in ("dataset", "split", "backbone"))


def oriented(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Orient comparisons so that the same option is subtracted everywhere: baselines from the others.

    Comparisons that share everything but the options follow one another.
    """
    ways: dict[frozenset[str], tuple[str, str]] = {}
    blocks: dict[tuple[str, ...], list[Comparison]] = {}
    for each in comparisons:
        way = (each.second, each.first) if each.first in BASELINES else (each.first, each.second)
        way = ways.setdefault(frozenset(way), way)
        if way != (each.first, each.second):
            each = _reversed(each)
        blocks.setdefault((each.group, *each.shared.values()), []).append(each)
    return [each for block in blocks.values() for each in block]


def _reversed(pair: Comparison) -> Comparison:
    return replace(
        pair,
        first=pair.second,
        second=pair.first,
        names=(pair.names[1], pair.names[0]),
        rows=(pair.rows[1], pair.rows[0]),
        difference=-pair.difference,
        interval=(-pair.interval[1], -pair.interval[0]),
        discordant=(pair.discordant[1], pair.discordant[0]),
        superiority=1 - pair.superiority,
        seeds=(pair.seeds[1], pair.seeds[0]),
    )
