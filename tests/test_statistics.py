"""The interval a score is reported with, against published numbers."""

from __future__ import annotations

import pytest

from fersweep.report.statistics import wilson

# R. G. Newcombe, "Two-sided confidence intervals for the single proportion: comparison of seven methods", Statistics in
# Medicine 17 (1998) 857-872, table I, method 3
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("correct", "n", "low", "high"), NEWCOMBE)
def test_wilson_gives_the_published_intervals(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_in_the_unit_interval_and_mirrors() -> None:
    low, high = wilson(213, 213)
    assert 0.98 < low < high <= 1
    assert wilson(30, 100) == pytest.approx(tuple(1 - bound for bound in reversed(wilson(70, 100))))


def test_wilson_widens_with_confidence() -> None:
    low, high = wilson(70, 100, confidence=0.99)
    assert low < wilson(70, 100)[0]
    assert high > wilson(70, 100)[1]


@pytest.mark.parametrize(
    ("correct", "n", "confidence", "message"),
    [(0, 0, 0.95, "at least one"), (5, 4, 0.95, "between 0 and n=4"), (-1, 4, 0.95, "between"), (1, 4, 95, "got 95")],
)
def test_wilson_refuses_what_is_no_proportion(correct: int, n: int, confidence: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wilson(correct, n, confidence)
