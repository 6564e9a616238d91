"""Clocks, rounds and figures, shared by all parts."""

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
"""The subject of a figure: the network, the batch size, …"""


@dataclass(frozen=True)
class Figure:
    """One quantity, measured in several rounds.

    Attributes:
        what: its name, unique within its case.
        unit: of ``values``: images/s, TFLOP/s, s, ms or MiB.
        values: one per round.
        case: its subject.
        to: the figure of the same case that ``ratios`` are relative to, or ``None``.
        ratios: this value over that one, one per round; empty where ``to`` is ``None``.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    case: Case
    to: str | None = None
    ratios: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON described in `benchmarks.report`."""
        ratio = None if self.to is None else {"to": self.to, **summary(self.ratios)}
        return {"what": self.what, "case": dict(self.case), "unit": self.unit, **summary(self.values), "ratio": ratio}


@dataclass
class Part:
    """The figures of one part, and notes on how to read them."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def figures(
    unit: str, case: Case, values: Mapping[str, Sequence[float]], to: Mapping[str, str] | None = None
) -> list[Figure]:
    """Return the figures of one case; ``to`` maps a figure to the one that its ratios are relative to."""
    made = []
    for what, own in values.items():
        base = (to or {}).get(what)
        ratios = () if base is None else tuple(a / b for a, b in zip(own, values[base], strict=True))
        made.append(Figure(what, unit, tuple(own), case, base, ratios))
    return made


def compare(
    unit: str,
    case: Case,
    candidates: Mapping[str, Callable[[], float]],
    repeats: int,
    to: str | None = None,
    warm_up: bool = True,
) -> list[Figure]:
    """Measure the candidates in turn (`alternate`); ratios are relative to the candidate ``to``."""
    values = alternate(candidates, repeats, warm_up)
    return figures(unit, case, values, {name: to for name in values if name != to} if to else None)


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return median, minimum, maximum and ``values``, to six digits."""
    rounded = [float(f"{value:.6g}") for value in values]
    return {"median": statistics.median(rounded), "min": min(rounded), "max": max(rounded), "values": rounded}


def alternate(
    candidates: Mapping[str, Callable[[], T]], repeats: int, warm_up: bool = True
) -> dict[str, tuple[T, ...]]:
    """Let each candidate measure itself once per round, A B A B: a disturbance of the machine affects all alike.

    Args:
        candidates: functions that return their measurement.
        repeats: rounds that count.
        warm_up: begin with a round that does not count.
    """
    for candidate in candidates.values() if warm_up else ():
        candidate()
    rounds = [{name: candidate() for name, candidate in candidates.items()} for _ in range(repeats)]
    return {name: tuple(each[name] for each in rounds) for name in candidates}


def clock(device: torch.device) -> float:
    """Return the time in seconds, after waiting for all pending work of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(work: Callable[[], object], device: torch.device, calls: int = 1) -> float:
    """Return the duration of so many calls in seconds, including their work on the device."""
    begun = clock(device)
    for _ in range(calls):
        work()
    return clock(device) - begun


def rate(work: Callable[[], object], images: int, device: torch.device, least: float) -> Callable[[], float]:
    """Return a candidate: images per second of ``work``, which processes ``images``.

    It calls ``work`` as often as ``least`` seconds take; the first time, after a warm-up call, it finds out how often
    that is.
    """
    calls = 0

    def measured() -> float:
        nonlocal calls
        if calls == 0:
            work()
            calls = max(1, math.ceil(least / seconds(work, device)))
        return images * calls / seconds(work, device, calls)

    return measured
