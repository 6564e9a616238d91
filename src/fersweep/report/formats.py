"""Formats of numbers in the tables and the page of a report."""

from __future__ import annotations

from fersweep.report.titles import ABSENT


def percent(fraction: float | None) -> str:
    """0.6234 → ``62.34``; an en dash if unknown."""
    return ABSENT if fraction is None else f"{100 * fraction:.2f}"


def interval(ends: tuple[float, float]) -> str:
    """(0.5958, 0.6184) → ``59.58–61.84``."""
    return f"{percent(ends[0])}–{percent(ends[1])}"


def points(difference: float) -> str:
    """0.0123 → ``+1.23``; with a true minus sign if negative."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def p_value(p: float) -> str:
    """0.0312 → ``0.031``; ``< 0.001`` below that."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def millions(count: float | None) -> str:
    """23490739 → ``23.49``; an en dash if unknown."""
    return ABSENT if count is None else f"{count / 1e6:.2f}"


def peta(operations: float) -> str:
    """0.46e15 → ``0.460``, 29.3e15 → ``29.3``, 7e11 → ``0.00070``, in units of 10¹⁵."""
    count = operations / 1e15
    if count < 0.01:
        return f"{count:.5f}"
    return f"{count:.3f}" if count < 1 else f"{count:.2f}" if count < 10 else f"{count:,.1f}"


def grouped(count: int) -> str:
    """7178 → ``7,178``."""
    return f"{count:,}"


def duration(seconds: float) -> str:
    """14760 → ``4.1 h``, 720 → ``12 min``, 48 → ``48 s``."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
