"""The interval a score is reported with, against published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from fersweep.report.statistics import ALWAYS_POSSIBLE, holm, mcnemar, multiple_of, twice_the_median, wilson

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


@pytest.mark.parametrize(
    ("percent", "n", "possible", "words"),
    [
        (87.91, 182, True, "87.91 % is 160 of 182, rounded or cut off"),
        (88.62, 182, False, "88.62 % of 182 is 161.29 images; 161 are 88.46 %, 162 are 89.01 %"),
        (89.82, 182, False, "89.82 % of 182 is 163.47 images; 163 are 89.56 %, 164 are 90.11 %"),
        (15.56, 45, True, "15.56 % is 7 of 45, rounded"),
        (15.66, 45, False, "15.66 % of 45 is 7.05 images; 7 are 15.56 %, 8 are 17.78 %"),
        (62.05, 7178, True, "62.05 % is 4,454 of 7,178, rounded or cut off"),
        (66.66, 3, True, "66.66 % is 2 of 3, cut off"),
        (66.68, 3, False, "66.68 % of 3 is 2.00 images; 2 are 66.67 %, 3 are 100.00 %"),
        (100.0, 45, True, "100.00 % is 45 of 45, rounded or cut off"),
        (0.0, 45, True, "0.00 % is 0 of 45, rounded or cut off"),
    ],
)
def test_a_percentage_must_be_a_multiple_of_one_image(percent: float, n: int, possible: bool, words: str) -> None:
    assert multiple_of(percent, n) == (possible, words)


@pytest.mark.parametrize("k", range(46))
def test_every_share_is_possible_rounded_or_cut_off(k: int) -> None:
    exact = 100 * k / 45
    assert multiple_of(round(exact, 2), 45)[0]
    assert multiple_of(int(exact * 100) / 100, 45)[0]


def test_of_many_images_every_hundredth_is_a_share() -> None:
    hundredths = np.arange(10_001) / 100
    assert all(multiple_of(percent, ALWAYS_POSSIBLE)[0] for percent in hundredths)
    assert not all(multiple_of(percent, ALWAYS_POSSIBLE - 100)[0] for percent in hundredths)


def answers(only_first: int, only_second: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two methods' answers on the same images, with so many of each kind."""
    pattern = [(True, False)] * only_first + [(False, True)] * only_second + [(True, True)] * both
    first, second = zip(*(pattern + [(False, False)] * neither), strict=True)
    return np.array(first), np.array(second)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (10, 2, 2 * (1 + 12 + 66) / 4096),  # two tails of a fair coin thrown twelve times
        (2, 10, 2 * (1 + 12 + 66) / 4096),
        (86, 150, 3.716e-05),  # Agresti, "Categorical Data Analysis" (2002), table 10.1: z = -4.17 gives 3.0e-05
        (5, 5, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_counts_the_images_that_one_alone_recognised(only_first: int, only_second: int, p: float) -> None:
    value, counts = mcnemar(*answers(only_first, only_second, both=794, neither=570))
    assert value == pytest.approx(p, rel=0.05 if p < 1e-3 else 1e-9)
    assert counts == (only_first, only_second)


def test_holm_gives_the_textbook_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_twice_the_median() -> None:
    assert twice_the_median([0.03]) == 0.03
    assert twice_the_median([0.01, 0.02, 0.9]) == 0.04
    assert twice_the_median([0.01, 0.02, 0.3, 0.9]) == 0.04  # the lower of two middle ones, as the theorem's quantile
    assert twice_the_median([0.6, 0.7]) == 1.0
