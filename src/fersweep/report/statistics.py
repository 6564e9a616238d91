"""Intervals and tests for accuracies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Correct = npt.NDArray[np.bool_]

MIN_SEEDS = 3
"""The fewest seeds from which anything is concluded: fewer say too little about the spread of runs."""

ALWAYS_POSSIBLE = 6667
"""With so many images, neighbouring shares are closer than rounding or truncation to two decimals (0.015 points)."""


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, as fractions ``(low, high)``.

    Unlike the normal ("Wald") interval it stays inside [0, 1] and keeps its coverage for the small test sets and the
    accuracies near 1 of facial emotion recognition (213 images of JAFFE, 98 % on CK+).

    Args:
        correct: the number of successes, e.g. of test images that were classified correctly.
        n: the number of trials, e.g. of test images; at least 1.
        confidence: the coverage, between 0 and 1 exclusive.

    Raises:
        ValueError: for ``n`` below 1, ``correct`` outside 0…n, or ``confidence`` outside (0, 1).

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927) 209–212; recommended by Brown, Cai and DasGupta, "Interval estimation
    for a binomial proportion", Statistical Science 16 (2001) 101–133.
    """
    from scipy.stats import binomtest  # half a second to import

    if n < 1:
        raise ValueError(f"an interval needs at least one trial, got n={n}")
    if not 0 <= correct <= n:
        raise ValueError(f"correct must lie between 0 and n={n}, got {correct}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    interval = binomtest(correct, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def multiple_of(percent: float, n: int) -> tuple[bool, str]:
    """Return whether ``percent``, printed with two decimals, can be a share of ``n`` images, and the calculation.

    A share is k / n for an integer k. It may have been rounded or truncated to two decimals; the calculation says
    which. From `ALWAYS_POSSIBLE` images on, every percentage is possible.

    Returns:
        ``(False, "88.62 % of 182 is 161.29 images; 161 are 88.46 %, 162 are 89.01 %")`` or ``(True, "88.46 % is 161 of
        182, rounded or cut off")``.
    """
    exact = percent * n / 100
    below, above = math.floor(exact + 1e-9), math.floor(exact + 1e-9) + 1
    for k in (below, above):
        share = 100 * k / n
        rounded, cut = abs(share - percent) <= 0.005 + 1e-9, -1e-9 <= share - percent < 0.01 - 1e-9
        if rounded or cut:
            rule = " or ".join(word for word, fits in (("rounded", rounded), ("cut off", cut)) if fits)
            return True, f"{percent:.2f} % is {k:,} of {n:,}, {rule}"
    around = ", ".join(f"{k:,} are {100 * k / n:.2f} %" for k in (below, above))
    return False, f"{percent:.2f} % of {n:,} is {exact:.2f} images; {around}"


def mcnemar(first: Correct, second: Correct) -> tuple[float, tuple[int, int]]:
    """Return McNemar's exact test of two networks on the same images.

    Args:
        first: bool ``(n,)``, whether each image was classified correctly.
        second: the same for the other network.

    Returns:
        The two-sided p-value, and the number of images that only the first and only the second classified correctly.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947) 153–157; in its exact, binomial form, which needs no minimum number of such images.
    """
    from statsmodels.stats.contingency_tables import mcnemar as test  # slow to import

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    p = float(test([[both, only_first], [only_second, neither]], exact=True).pvalue)
    return min(1.0, p), (only_first, only_second)


def twice_the_median(p_values: Sequence[float]) -> float:
    """Combine p-values for the same hypothesis whose dependence is unknown.

    Twice their median is a valid p-value under any dependence; a single p-value is returned unchanged.

    Source: N. Meinshausen, L. Meier and P. Bühlmann, "p-values for high-dimensional regression", Journal of the
    American Statistical Association 104 (2009) 1671–1681, equation 2.2 with γ = 1/2.
    """
    if len(p_values) == 1:
        return float(p_values[0])
    return min(1.0, 2 * float(np.quantile(p_values, 0.5, method="inverted_cdf")))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple testing, controlling the family-wise error rate.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979) 65–70.
    """
    from statsmodels.stats.multitest import multipletests  # slow to import

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []
