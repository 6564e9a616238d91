"""Differences in accuracy between methods, with the variance from other images and other runs.

A run answers each test image correctly or not. The answer varies with the image, an effect that all methods share and
that cancels in a difference; with the interaction of image and method; with the run (the seed of its training); and
with a residual, since the answer to an image changes from run to run. Variance components are estimated from the table
of answers, runs × images, as in an analysis of variance with two crossed random factors (S. R. Searle, G. Casella and
C. E. McCulloch, "Variance Components", Wiley 1992, chapter 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Answers = npt.NDArray[np.bool_]
"""Bool ``(runs, images)``: whether each run classified each image correctly."""

POWER = 0.8
"""The power that `Effect.seeds_needed` aims at."""

MOST_SEEDS = 200
"""The most runs of each method that `Effect.seeds_needed` suggests."""


@dataclass(frozen=True)
class Effect:
    """An estimated difference in accuracy, as a fraction.

    Attributes:
        value: the estimate.
        images: its variance due to the test images (or to the people on them).
        runs: its variance due to the runs.
        freedom: degrees of freedom of the total variance.
        runs_freedom: those of ``runs`` alone; 0 if nothing is known about other runs.
    """

    value: float
    images: float
    runs: float
    freedom: float
    runs_freedom: float

    @property
    def error(self) -> float:
        """The standard error."""
        return float((self.images + self.runs) ** 0.5)

    def interval(self) -> tuple[float, float]:
        """Student's 95 % interval."""
        half = _quantile(self.freedom) * self.error
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """The two-sided p-value of no difference; 0 or 1 if nothing varies."""
        from scipy.stats import t

        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * t.sf(abs(self.value) / self.error, self.freedom))

    def power(self, true: float | None = None) -> float:
        """Return the probability that a ``true`` difference (by default the estimated one) gives p < 0.05."""
        return _power(self.value if true is None else true, self.images + self.runs, self.freedom)

    def seeds_needed(self, seeds: float) -> int | None:
        """Return the runs of each method, at least 3, that detect a difference of this size with 80 % power.

        Args:
            seeds: runs of each method now.

        Returns:
            ``None`` if more than `MOST_SEEDS` are needed: the test images are too few.
        """
        share = self.runs_freedom / max(2 * (seeds - 1), 1) if self.runs_freedom else 1.0
        for wanted in range(3, MOST_SEEDS + 1):
            runs = self.runs * seeds / wanted
            freedom = _satterthwaite([(self.images, np.inf), (runs, max(share * 2 * (wanted - 1), 1.0))])
            if _power(self.value, self.images + runs, freedom) >= POWER:
                return wanted
        return None


def difference(first: Answers, second: Answers, people: npt.NDArray[np.str_] | None = None) -> Effect:
    """Return the accuracy of one method minus that of another on the same images.

    The variance of the images is that of the interaction of image and method: the residual is subtracted (never below
    zero). The variance of the runs is that of their accuracies, never below the residual's share. Degrees of freedom
    after Satterthwaite and Welch (B. L. Welch, Biometrika 34 (1947) 28–35). With one run of each method, nothing is
    known about other runs, and only images vary; with one run of one method, the spread of the other is assumed.

    Args:
        first: ``(runs, n)``; ``second``: the same for the other method, on the same images.
        people: the person on each image, ``(n,)``: people are then the unit of sampling, not images.
    """
    methods = (first, second)
    means = first.mean(axis=0) - second.mean(axis=0)
    images, freedom = _of_images(means, people)
    value, residual = float(means.mean()), _residual(methods)
    if residual is None:
        return Effect(value, images, 0.0, freedom, 0.0)
    return _effect(value, (images, freedom), (_spread(methods), _welch(methods)), residual / first.shape[1])


@dataclass(frozen=True)
class Pair:
    """Answers of two methods in one setting: ``first`` and ``second``, ``(runs, n)``, on the same images."""

    first: Answers
    second: Answers

    @property
    def gains(self) -> npt.NDArray[np.float64]:
        """Mean over runs of the first minus that of the second, ``(n,)``."""
        return np.asarray(self.first.mean(axis=0) - self.second.mean(axis=0))


def mean_gain(datasets: Sequence[tuple[Sequence[Pair], npt.NDArray[np.str_] | None]]) -> Effect:
    """Return the mean difference of two methods over settings, such as backbones, each of which has both.

    Settings are paired and treated as a random sample: their variance is that of their gains. It includes that of the
    runs, so one run of each method per setting is enough, except for a dataset with a single setting. The settings of
    a dataset share its images, which are treated as in `difference`.

    Args:
        datasets: for each, its settings, tested on the same images, and the people on these, if known.

    Raises:
        ValueError: for fewer than two settings in all.
    """
    total = sum(len(pairs) for pairs, _ in datasets)
    if total < 2:
        raise ValueError(f"a mean gain needs two settings or more, got {total}")
    value = images = runs = 0.0
    parts = []
    for pairs, people in datasets:
        if len(pairs) == 1:
            each = difference(pairs[0].first, pairs[0].second, people)
        else:
            each = _of_settings(np.stack([pair.gains for pair in pairs]), people)
        weight = len(pairs) / total
        value += weight * each.value
        images, runs = images + weight**2 * each.images, runs + weight**2 * each.runs
        parts.append((weight**2 * (each.images + each.runs), each.freedom))
    return Effect(value, images, runs, _satterthwaite(parts), 0.0)


def _of_settings(gains: npt.NDArray[np.float64], people: npt.NDArray[np.str_] | None) -> Effect:
    """Return the mean of ``gains``, ``(settings, n)``, over the settings of one dataset."""
    count, n = gains.shape
    images, freedom = _of_images(gains.mean(axis=0), people)
    runs = float(gains.mean(axis=1).var(ddof=1)) / count
    floor = max(float(gains.var(axis=0, ddof=1).mean()) - count * runs, 0.0) / (n * count)
    return _effect(float(gains.mean()), (images, freedom), (runs, count - 1), floor)


def _effect(value: float, images: tuple[float, float], runs: tuple[float, float], residual: float) -> Effect:
    """Return an effect from the variances of images and runs, with their degrees of freedom, and the residual's.

    Both include the residual: it is subtracted from the images', and the runs' is never below it.
    """
    of_images = max(images[0] - residual, 0.0)
    if runs[0] < residual:
        return Effect(value, of_images, residual, _satterthwaite([(of_images, images[1]), (residual, np.inf)]), runs[1])
    return Effect(value, of_images, runs[0], _satterthwaite([(of_images, images[1]), runs]), runs[1])


def superiority(first: Sequence[float], second: Sequence[float]) -> float:
    """Return P(A > B): the share of pairs of runs in which the first method's is better, ties counted half.

    Source: X. Bouthillier et al., "Accounting for variance in machine learning benchmarks", MLSys 2021, section 4.
    """
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    return float(np.mean(pairs))


def best_of(values: Sequence[float], k: int) -> float:
    """Return the mean best of ``k`` of these runs over all subsets of ``k``; the best of all if they are fewer."""
    return float(np.mean([max(some) for some in combinations(values, min(k, len(values)))]))


def at_chance(confusion: npt.NDArray[np.int64]) -> bool:
    """Return whether a network's answers are independent of the images, as if it had never begun to learn.

    They are if the same answers, permuted at random, would be correct as often (p > 0.05, one-sided); a network that
    always gives one answer is the clearest case.

    Args:
        confusion: counts ``(K, K)``, rows true.
    """
    from scipy.stats import binom

    n = int(confusion.sum())
    expected = float((confusion.sum(axis=0) * confusion.sum(axis=1)).sum()) / n**2
    return bool(binom.sf(int(np.trace(confusion)) - 1, n, min(expected, 1.0)) > 0.05)


def over_people(correct: Answers, people: npt.NDArray[np.str_]) -> tuple[float, float]:
    """Return the 95 % interval of a mean accuracy over other people: Student's, with people as clusters.

    Args:
        correct: ``(runs, n)``.
        people: the person on each image, ``(n,)``; two or more people.
    """
    means = correct.mean(axis=0)
    variance, freedom = _of_images(means, people)
    half = _quantile(freedom) * variance**0.5
    return max(0.0, float(means.mean()) - half), min(1.0, float(means.mean()) + half)


def _of_images(values: npt.NDArray[np.float64], people: npt.NDArray[np.str_] | None) -> tuple[float, float]:
    """Return the variance of the mean of ``values`` over images or people, and its degrees of freedom."""
    n = len(values)
    if people is None:
        return (float(values.var(ddof=1)) / n, n - 1.0) if n > 1 else (0.0, 1.0)
    _, who = np.unique(people, return_inverse=True)
    count = int(who.max()) + 1
    if count < 2:
        return _of_images(values, None)
    sums = np.bincount(who, values - values.mean())
    return float((sums**2).sum()) / n**2 * count / (count - 1), count - 1.0


def _spread(methods: Sequence[Answers]) -> float:
    """Return the variance of the difference due to the runs."""
    return sum(variance / len(each) for variance, each in zip(_variances(methods), methods, strict=True))


def _variances(methods: Sequence[Answers]) -> list[float]:
    """Return the variance of each method's accuracies over runs; the other's if it has one run."""
    known = {k: float(each.mean(axis=1).var(ddof=1)) for k, each in enumerate(methods) if len(each) > 1}
    other = float(np.mean(list(known.values())))
    return [known.get(k, other) for k in range(len(methods))]


def _residual(methods: Sequence[Answers]) -> float | None:
    """Return the residual variance of an image's difference, due to answers that change from run to run.

    ``None`` if every method has one run.
    """
    known = {}
    for k, each in enumerate(methods):
        if len(each) > 1:
            within = float(each.astype(np.float64).var(axis=0, ddof=1).mean())
            known[k] = max(within - float(each.mean(axis=1).var(ddof=1)), 0.0)
    if not known:
        return None
    other = float(np.mean(list(known.values())))
    return sum(known.get(k, other) / len(each) for k, each in enumerate(methods))


def _welch(methods: Sequence[Answers]) -> float:
    """Return the degrees of freedom of `_spread`; at least 2 if each has two runs, whose variances are then pooled."""
    variances = _variances(methods)
    parts = [(v / len(each), len(each) - 1) for v, each in zip(variances, methods, strict=True) if len(each) > 1]
    several = sum(len(each) - 1 for each in methods)
    return max(_satterthwaite(parts), min(2.0, several))


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Return the degrees of freedom of a sum of independent variances, each given with its own."""
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return total**2 / below if below > 0 else np.inf


def _quantile(freedom: float) -> float:
    """Return the half-width of a 95 % interval in standard errors."""
    from scipy.stats import norm, t

    return float(norm.ppf(0.975) if np.isinf(freedom) else t.ppf(0.975, freedom))


def _power(true: float, variance: float, freedom: float) -> float:
    """Return the probability of an |estimate / error| beyond Student's 97.5 % quantile."""
    from scipy.stats import nct, norm

    if variance == 0:
        return 0.0 if true == 0 else 1.0
    beyond, shift = _quantile(freedom), abs(true) / variance**0.5
    if np.isinf(freedom) or shift > 30:
        return float(norm.sf(beyond - shift) + norm.cdf(-beyond - shift))
    below = float(np.nan_to_num(nct.cdf(-beyond, freedom, shift)))  # NaN in SciPy if it is almost zero
    return float(nct.sf(beyond, freedom, shift)) + below
