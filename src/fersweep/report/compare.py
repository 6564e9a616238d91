"""Paired comparisons of rows: the same images, the same settings but for one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from fersweep.report.contents import ABSENT, Comparison, Row
from fersweep.report.statistics import Bootstrap, holm, mcnemar, twice_the_median

MIN_SEEDS = 3
"""Seeds a row must have before a difference is called established: fewer say too little of training again."""

LEVEL = 0.05

BASELINES = ("none", "published")
"""What other options are compared with."""

NAMES = {"se": "SE", "eca": "ECA", "cbam": "CBAM", "relu": "ReLU", "elu": "ELU", "selu": "SELU", "gelu": "GELU"}
"""How options are written in a sentence, where not as they are."""


def compare(rows: Sequence[Row], group: str) -> tuple[Comparison, ...]:
    """All pairs of rows that differ in the label ``group`` alone and were tested on the same images.

    The first of a pair is the one with the higher accuracy. P-values are corrected for all pairs together (Holm); the
    surest come first.
    """
    if not rows or group not in rows[0].labels:
        return ()
    found: list[Comparison] = []
    for alike in _same_images([row for row in rows if len(row.ids)]):
        pairs = [pair for pair in combinations(range(len(alike)), 2) if _differ_in(group, *(alike[i] for i in pair))]
        if pairs:
            bootstrap = Bootstrap([row.correct for row in alike])
            found += [_pair(bootstrap, alike, pair, group) for pair in pairs]
    corrected = zip(found, holm([each.p for each in found]), holm([each.mcnemar_p for each in found]), strict=True)
    judged = [_judged(replace(each, p_holm=p, mcnemar_holm=q)) for each, p, q in corrected]
    return tuple(sorted(judged, key=lambda each: (not each.established, each.p, -each.difference)))


def _same_images(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of the same dataset whose test images are the same."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.choices["dataset"] + "\n" + "\n".join(row.ids), []).append(row)
    return list(groups.values())


def _differ_in(group: str, one: Row, other: Row) -> bool:
    """Whether two rows differ in ``group`` alone, but for settings that one of them does not have."""
    different = [key for key, value in one.labels.items() if other.labels[key] != value]
    both = [key for key in different if ABSENT not in (one.labels[key], other.labels[key])]
    return both == [group]


def _pair(bootstrap: Bootstrap, rows: Sequence[Row], pair: tuple[int, int], group: str) -> Comparison:
    """One pair, not yet corrected for the others."""
    i, j = sorted(pair, key=lambda k: -rows[k].accuracy.mean)
    one, other = rows[i], rows[j]
    difference, interval, p = bootstrap.difference(i, j)
    tests = [mcnemar(a, b) for a in one.correct for b in other.correct]
    return Comparison(
        group=group,
        shared=_shared(one, other, group),
        first=one.labels[group],
        second=other.labels[group],
        rows=(one.key, other.key),
        difference=difference,
        interval=interval,
        p=p,
        p_holm=p,
        mcnemar_p=twice_the_median([value for value, _ in tests]),
        mcnemar_holm=1.0,
        discordant=tuple(np.mean([counts for _, counts in tests], axis=0).tolist()),
        seeds=(one.accuracy.n, other.accuracy.n),
        n=one.n,
        established=False,
        sentence="",
    )


def _shared(one: Row, other: Row, group: str) -> dict[str, str]:
    """The labels of both; of a setting that one does not have, the other's."""
    pairs = {key: {value, other.labels[key]} for key, value in one.labels.items() if key != group}
    return {key: next(iter(values - {ABSENT}), ABSENT) for key, values in pairs.items()}


def _judged(pair: Comparison) -> Comparison:
    """With the conclusion, and the sentence that states it."""
    enough = min(pair.seeds) >= MIN_SEEDS
    established = enough and pair.p_holm < LEVEL
    low, high = (100 * end for end in pair.interval)
    first, second = NAMES.get(pair.first, pair.first), NAMES.get(pair.second, pair.second)
    points = 100 * pair.difference
    where = ", ".join(value for value in pair.shared.values() if value != ABSENT)
    verb = f"beats {second} by {points:.1f} points" if pair.difference > 0 else f"and {second} are level"
    end = "established" if established else "not established"
    if not enough and pair.p_holm < LEVEL:
        end += f" with {min(pair.seeds)} seed{'s' if min(pair.seeds) > 1 else ''}"
    sentence = f"{where}: {first} {verb} (95 % {_signed(low)}…{_signed(high)}): {end}"
    return replace(pair, established=established, sentence=sentence)


def _signed(value: float) -> str:
    """A number with one decimal and a minus sign."""
    text = f"{value:.1f}"
    return text.replace("-", "−") if float(text) else "0.0"


def compared(columns: Sequence[str]) -> tuple[str, ...]:
    """The labels by which rows are compared: all but what says where a row comes from, and the backbone."""
    return tuple(column for column in columns if column not in ("dataset", "split", "backbone"))


def oriented(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Turn comparisons so that options are subtracted the same way round everywhere: baselines from the others.

    Those of the same rows but for the options come one after another.
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
        rows=(pair.rows[1], pair.rows[0]),
        difference=-pair.difference,
        interval=(-pair.interval[1], -pair.interval[0]),
        discordant=(pair.discordant[1], pair.discordant[0]),
        seeds=(pair.seeds[1], pair.seeds[0]),
    )
