"""How much one method is better than another, and how sure that is: other images and other runs allowed for.

A run answers each test image rightly or wrongly. An answer varies with the image, which all methods share and which
cancels in a difference; with image and method together; with the run, that is the seed of its training; and with the
rest, since the answer to an image changes from run to run. Variances are estimated from the table of answers, runs ×
images, as in an analysis of variance with two crossed random factors (S. R. Searle, G. Casella and C. E. McCulloch,
"Variance Components", Wiley 1992, chapter 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Answers = npt.NDArray[np.bool_]
"""Whether each run recognised each image, ``(runs, images)``."""

POWER = 0.8
"""The power that `Effect.seeds_needed` asks for."""

MOST_SEEDS = 200
"""The most runs of each method that are ever suggested."""


@dataclass(frozen=True)
class Effect:
    """An estimated difference in accuracy, as a fraction.

    Attributes:
        value: the estimate.
        images: the part of its variance that is due to the test images (or to the people in them).
        runs: the part that is due to the runs.
        freedom: degrees of freedom of both together.
        runs_freedom: of ``runs`` alone; 0 where nothing is known of other runs.
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
        """The two-sided p-value of there being no difference; 0 or 1 where nothing varies."""
        from scipy.stats import t

        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * t.sf(abs(self.value) / self.error, self.freedom))

    def power(self, true: float | None = None) -> float:
        """How probable it is that a ``true`` difference (by default the estimated one) gives p < 0.05."""
        return _power(self.value if true is None else true, self.images + self.runs, self.freedom)

    def seeds_needed(self, seeds: float) -> int | None:
        """How many runs of each method, from 3 on, would give a difference of this size p < 0.05 with 80 % power.

        Args:
            seeds: runs of each method now.

        Returns:
            ``None`` where more than `MOST_SEEDS` are needed: the images are too few.
        """
        share = self.runs_freedom / max(2 * (seeds - 1), 1) if self.runs_freedom else 1.0
        for wanted in range(3, MOST_SEEDS + 1):
            runs = self.runs * seeds / wanted
            freedom = _satterthwaite([(self.images, np.inf), (runs, max(share * 2 * (wanted - 1), 1.0))])
            if _power(self.value, self.images + runs, freedom) >= POWER:
                return wanted
        return None


def difference(first: Answers, second: Answers, people: npt.NDArray[np.str_] | None = None) -> Effect:
    """Accuracy of one method less that of another, over the images that both were tested on.

    The part of the images is the variance of image and method together, from which the rest is taken out (never below
    zero); the part of the runs is that of their accuracies, never below what the rest alone must give. Degrees of
    freedom after Satterthwaite and Welch (B. L. Welch, Biometrika 34 (1947) 28–35). With one run of each, nothing is
    known of other runs, and only images vary; with one run of one, its spread is taken to be the other's.

    Args:
        first: ``(runs, n)``, and ``second`` the same for the other method, over the same images.
        people: who is shown, ``(n,)``: whole people are then what varies, not images.
    """
    methods = (first, second)
    means = first.mean(axis=0) - second.mean(axis=0)
    images, freedom = _of_images(means, people)
    value, rest = float(means.mean()), _rest(methods)
    if rest is None:
        return Effect(value, images, 0.0, freedom, 0.0)
    return _effect(value, (images, freedom), (_spread(methods), _welch(methods)), rest / first.shape[1])


@dataclass(frozen=True)
class Pair:
    """Answers of two methods in one setting: ``first`` and ``second``, ``(runs, n)`` over the same images."""

    first: Answers
    second: Answers

    @property
    def gains(self) -> npt.NDArray[np.float64]:
        """Mean over runs of the first less that of the second, ``(n,)``."""
        return np.asarray(self.first.mean(axis=0) - self.second.mean(axis=0))


def mean_gain(datasets: Sequence[tuple[Sequence[Pair], npt.NDArray[np.str_] | None]]) -> Effect:
    """The mean difference of two methods over settings, such as backbones, each of which had both.

    Settings are paired and taken as drawn from many: their part of the variance is that of their gains. It holds what
    the runs add, so one run of each in a setting is enough, except where a dataset has a single setting. Images are
    shared by the settings of a dataset, and treated as in `difference`.

    Args:
        datasets: of each its settings, tested on the same images, and the people in these, if known.

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
    """The mean of ``gains``, ``(settings, n)``, over settings of one dataset."""
    count, n = gains.shape
    images, freedom = _of_images(gains.mean(axis=0), people)
    runs = float(gains.mean(axis=1).var(ddof=1)) / count
    floor = max(float(gains.var(axis=0, ddof=1).mean()) - count * runs, 0.0) / (n * count)
    return _effect(float(gains.mean()), (images, freedom), (runs, count - 1), floor)


def _effect(value: float, images: tuple[float, float], runs: tuple[float, float], rest: float) -> Effect:
    """An effect from the variances of images and of runs, each with its degrees of freedom, and that of the rest.

    Both hold the rest: it is taken out of the images, and the runs are never below it.
    """
    of_images = max(images[0] - rest, 0.0)
    if runs[0] < rest:
        return Effect(value, of_images, rest, _satterthwaite([(of_images, images[1]), (rest, np.inf)]), runs[1])
    return Effect(value, of_images, runs[0], _satterthwaite([(of_images, images[1]), runs]), runs[1])


def superiority(first: Sequence[float], second: Sequence[float]) -> float:
    """P(A > B): the share of pairs of runs in which the first method's is better, ties counted half.

    Source: X. Bouthillier et al., "Accounting for variance in machine learning benchmarks", MLSys 2021, section 4.
    """
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    return float(np.mean(pairs))


def best_of(values: Sequence[float], k: int) -> float:
    """The mean best of ``k`` of these runs, over all choices of ``k``; the best of all where they are fewer."""
    return float(np.mean([max(some) for some in combinations(values, min(k, len(values)))]))


def at_chance(confusion: npt.NDArray[np.int64]) -> bool:
    """Whether a network's answers have nothing to do with the images, as if it never began to learn.

    So it is where as many as it gets right (p > 0.05, one-sided) would be right had the same answers been dealt to the
    images at random; a network that always gives one answer is the clearest case.

    Args:
        confusion: counts ``(K, K)``, rows true.
    """
    from scipy.stats import binom

    n = int(confusion.sum())
    expected = float((confusion.sum(axis=0) * confusion.sum(axis=1)).sum()) / n**2
    return bool(binom.sf(int(np.trace(confusion)) - 1, n, min(expected, 1.0)) > 0.05)


def over_people(correct: Answers, people: npt.NDArray[np.str_]) -> tuple[float, float]:
    """The 95 % interval of a mean accuracy had other people been photographed: Student's, people as clusters.

    Args:
        correct: ``(runs, n)``.
        people: who is shown, ``(n,)``; two or more.
    """
    means = correct.mean(axis=0)
    variance, freedom = _of_images(means, people)
    half = _quantile(freedom) * variance**0.5
    return max(0.0, float(means.mean()) - half), min(1.0, float(means.mean()) + half)


def _of_images(values: npt.NDArray[np.float64], people: npt.NDArray[np.str_] | None) -> tuple[float, float]:
    """The variance of the mean of ``values`` over images, or over people, and its degrees of freedom."""
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
    """The variance that the runs give to the difference."""
    return sum(variance / len(each) for variance, each in zip(_variances(methods), methods, strict=True))


def _variances(methods: Sequence[Answers]) -> list[float]:
    """Of each method the variance of its runs' accuracies; that of the others where it has one run."""
    known = {k: float(each.mean(axis=1).var(ddof=1)) for k, each in enumerate(methods) if len(each) > 1}
    other = float(np.mean(list(known.values())))
    return [known.get(k, other) for k in range(len(methods))]


def _rest(methods: Sequence[Answers]) -> float | None:
    """The variance that answers changing from run to run give to an image's difference; ``None`` if all ran once."""
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
    """Degrees of freedom of `_spread`; 2 at least where each ran twice, whose spreads are then taken as equal."""
    variances = _variances(methods)
    parts = [(v / len(each), len(each) - 1) for v, each in zip(variances, methods, strict=True) if len(each) > 1]
    several = sum(len(each) - 1 for each in methods)
    return max(_satterthwaite(parts), min(2.0, several))


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent variances, each given with its own."""
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return total**2 / below if below > 0 else np.inf


def _quantile(freedom: float) -> float:
    """How many standard errors a 95 % interval reaches to either side."""
    from scipy.stats import norm, t

    return float(norm.ppf(0.975) if np.isinf(freedom) else t.ppf(0.975, freedom))


def _power(true: float, variance: float, freedom: float) -> float:
    """How probable |estimate / error| beyond Student's 97.5 % point is."""
    from scipy.stats import nct, norm

    if variance == 0:
        return 0.0 if true == 0 else 1.0
    beyond, shift = _quantile(freedom), abs(true) / variance**0.5
    if np.isinf(freedom) or shift > 30:
        return float(norm.sf(beyond - shift) + norm.cdf(-beyond - shift))
    below = float(np.nan_to_num(nct.cdf(-beyond, freedom, shift)))  # SciPy has none where it is all but zero
    return float(nct.sf(beyond, freedom, shift)) + below
