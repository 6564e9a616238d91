"""Settings and figures for the tests of the benchmarks."""

from __future__ import annotations

from pathlib import Path

from benchmarks import settings
from benchmarks.measure import Figure
from benchmarks.settings import Settings


def smoke_settings(folder: Path) -> Settings:
    """Return the settings of a smoke benchmark of two rounds."""
    return settings.check(folder, device="cpu", smoke=True, repeats=2, threads=1)


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    """Return figures by name, after checking that each has two rounds and the ratios of its rounds."""
    assert all(len(figure.values) == 2 and min(figure.values) > 0 for figure in figures)
    named = {figure.what: figure for figure in figures}
    for figure in figures:
        base = () if figure.to is None else named[figure.to].values
        assert figure.ratios == tuple(a / b for a, b in zip(figure.values[: len(base)], base, strict=True))
    return named
