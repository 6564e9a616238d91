"""The mean gain of one option over another, over all backbones and datasets with both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fersweep.report.compare import LEVEL, differ_too, in_words, oriented, signed
from fersweep.report.contents import Claim, Comparison, Row
from fersweep.report.effects import Pair, mean_gain
from fersweep.report.statistics import MIN_SEEDS, holm
from fersweep.report.titles import joined

ACROSS = ("dataset", "split", "backbone")
"""The labels over which a mean is taken."""

MIN_SETTINGS = 4
"""Fewer establish no mean difference: equal options would differ significantly in 7 to 12 % of cases, not in 5."""


def claims(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> tuple[Claim, ...]:
    """Return the mean difference of each two options of one group over two or more settings.

    Args:
        rows: all rows of the report.
        comparisons: those of one group, see `fersweep.report.compare.compare`.
    """
    by_key = {row.key: row for row in rows}
    alike: dict[tuple[str, str, str], list[Comparison]] = {}
    for each in oriented(comparisons):
        shared = joined(value for key, value in each.shared.items() if key not in ACROSS)
        alike.setdefault((shared, *each.names), []).append(each)
    found = [_claim(shared, pairs, by_key) for (shared, *_), pairs in alike.items() if len(pairs) > 1]
    corrected = holm([each.p for each in found])
    return tuple(_judged(replace(each, p_holm=p)) for each, p in zip(found, corrected, strict=True))


def _claim(shared: str, comparisons: Sequence[Comparison], rows: dict[str, Row]) -> Claim:
    """Return the mean over ``comparisons`` of the same two options, not yet corrected for other claims."""
    datasets: dict[str, tuple[list[Pair], npt.NDArray[np.str_] | None]] = {}
    seeds: list[int] = []
    for each in comparisons:
        one, other = (rows[key] for key in each.rows)
        pairs, _ = datasets.setdefault("\n".join((one.choices["dataset"], *one.ids)), ([], one.people))
        pairs.append(Pair(one.correct, other.correct))
        seeds += each.seeds
    effect = mean_gain(list(datasets.values()))
    alone = [pairs[0] for pairs, _ in datasets.values() if len(pairs) == 1]
    named = [(joined(v for k, v in each.shared.items() if k in ACROSS), each.difference) for each in comparisons]
    first, second = comparisons[0].names
    counts = {name: len(_values(comparisons, name)) for name in ("backbone", "dataset")}
    varied = [f"{count} {name}s" for name, count in counts.items() if count > 1]
    return Claim(
        group=comparisons[0].group,
        shared=shared,
        first=first,
        second=second,
        over=" and ".join(varied) or f"{len(named)} settings",
        pairs=tuple(named),
        positive=sum(value > 0 for _, value in named),
        seeds=(min(seeds), max(seeds)),
        difference=effect.value,
        interval=effect.interval(),
        p=effect.p,
        p_holm=effect.p,
        established=False,
        sentence="",
        open=_open(len(named), [len(runs) for pair in alone for runs in (pair.first, pair.second)]),
        beside=tuple(dict.fromkeys(setting for each in comparisons for setting in each.beside)),
    )


def _open(settings: int, seeds: Sequence[int]) -> str:
    """Return why nothing can be established; empty if something can.

    Args:
        settings: their number.
        seeds: those of the rows of datasets with one setting, in which seeds alone show how much runs differ.
    """
    if settings < MIN_SETTINGS:
        return f"{settings} settings; it takes {MIN_SETTINGS}"
    if seeds and min(seeds) < MIN_SEEDS:
        return f"a dataset with one setting takes {MIN_SEEDS} seeds"
    return ""


def _values(comparisons: Sequence[Comparison], label: str) -> set[str]:
    return {each.shared[label] for each in comparisons if label in each.shared}


def _judged(claim: Claim) -> Claim:
    """Add the conclusion and the sentence that states it."""
    low, high = (signed(100 * end) for end in claim.interval)
    first, second = in_words(claim.group, claim.first), in_words(claim.group, claim.second)
    established = not claim.open and claim.p_holm < LEVEL
    end = "established" if established else "not established" + (f" ({claim.open})" if claim.open else "")
    where = f"{claim.shared}: " if claim.shared else ""
    sentence = (
        f"{where}{first} minus {second} is {signed(100 * claim.difference)} points on average over {claim.over} "
        f"(95 % {low}…{high}), above zero in {claim.positive} of {len(claim.pairs)}: {end}{differ_too(claim.beside)}"
    )
    return replace(claim, established=established, sentence=sentence)
