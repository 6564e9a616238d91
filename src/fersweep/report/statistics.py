"""The statistics a score is reported with."""

from __future__ import annotations


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, as fractions ``(low, high)``.

    Unlike the normal ("Wald") interval it stays inside [0, 1] and keeps its coverage for the small test sets and the
    accuracies near 1 that facial emotion recognition knows (213 images of JAFFE, 98 % on CK+).

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
