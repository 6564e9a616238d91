"""Clocks, rounds and figures: how every part of the benchmark measures."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

T = TypeVar("T")

Case = Mapping[str, str | int]
"""What a figure is of: the network, the batch size, …"""


@dataclass(frozen=True)
class Figure:
    """One quantity, measured in several rounds.

    Attributes:
        what: its name, unique within its case.
        unit: of ``values``: images/s, TFLOP/s, s, ms or MiB.
        values: one a round.
        case: what it is of.
        to: the figure of the same case that ``ratios`` are to, or ``None``.
        ratios: this value over that one, one a round; empty where ``to`` is ``None``.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    case: Case
    to: str | None = None
    ratios: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As `benchmarks.report` describes it."""
        ratio = None if self.to is None else {"to": self.to, **summary(self.ratios)}
        return {"what": self.what, "case": dict(self.case), "unit": self.unit, **summary(self.values), "ratio": ratio}


@dataclass
class Part:
    """The figures of one part, and what must be known to read them."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def figures(
    unit: str, case: Case, values: Mapping[str, Sequence[float]], to: Mapping[str, str] | None = None
) -> list[Figure]:
    """The figures of one case; ``to`` says which of them are given as ratios to which, round by round."""
    made = []
    for what, own in values.items():
        base = (to or {}).get(what)
        ratios = () if base is None else tuple(a / b for a, b in zip(own, values[base], strict=True))
        made.append(Figure(what, unit, tuple(own), case, base, ratios))
    return made


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, least, greatest and all of ``values``, to six digits."""
    rounded = [float(f"{value:.6g}") for value in values]
    return {"median": statistics.median(rounded), "min": min(rounded), "max": max(rounded), "values": rounded}


def alternate(
    contestants: Mapping[str, Callable[[], T]], repeats: int, warm_up: bool = True
) -> dict[str, tuple[T, ...]]:
    """Let each contestant measure itself once a round, A B A B: what disturbs the machine for a while disturbs all.

    Args:
        contestants: each returns what it measured.
        repeats: rounds that count.
        warm_up: begin with a round that does not count.
    """
    for contestant in contestants.values() if warm_up else ():
        contestant()
    rounds = [{name: contestant() for name, contestant in contestants.items()} for _ in range(repeats)]
    return {name: tuple(each[name] for each in rounds) for name in contestants}


def clock(device: torch.device) -> float:
    """Seconds, read when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(work: Callable[[], object], device: torch.device, calls: int = 1) -> float:
    """Seconds that so many calls take, to the end of what they gave the device to do."""
    begun = clock(device)
    for _ in range(calls):
        work()
    return clock(device) - begun


def rate(work: Callable[[], object], images: int, device: torch.device, least: float) -> Callable[[], float]:
    """A contestant: images a second of ``work``, which handles so many, called for at least ``least`` seconds.

    How often that is, is found out the first time, after a call for what is done only once.
    """
    calls = 0

    def measured() -> float:
        nonlocal calls
        if calls == 0:
            work()
            calls = max(1, math.ceil(least / seconds(work, device)))
        return images * calls / seconds(work, device, calls)

    return measured
