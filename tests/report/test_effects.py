"""Differences between methods: against scipy's tests where these apply, and against how often they err."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fersweep.report.effects import Effect, Pair, at_chance, best_of, difference, mean_gain, over_people, superiority


def drawn(rng: np.random.Generator, rates: list[float], n: int) -> np.ndarray:
    """Runs with these accuracies, ``(runs, n)``, whose answers have nothing in common."""
    return rng.random((len(rates), n)) < np.array(rates)[:, None]


def test_one_run_of_each_gives_the_paired_interval() -> None:
    """Wald's standard error of a paired difference: sqrt(b + c - (b - c)²/n) / n."""
    b, c, n = 300, 200, 2000
    first = np.repeat([True, False, True, False], [b, c, 1000, 500])
    second = np.repeat([False, True, True, False], [b, c, 1000, 500])
    effect = difference(first[None], second[None])
    error = (b + c - (b - c) ** 2 / n) ** 0.5 / n
    assert effect.value == pytest.approx((b - c) / n)
    assert effect.error == pytest.approx(error, rel=1e-3)
    assert effect.interval() == pytest.approx((effect.value - 1.96 * error, effect.value + 1.96 * error), abs=1e-4)
    assert difference(second[None], first[None]).value == -effect.value
    assert effect.runs_freedom == 0  # nothing is known of other runs


def test_where_runs_differ_most_it_is_welchs_test_of_their_accuracies() -> None:
    rng = np.random.default_rng(1)
    one, other = drawn(rng, [0.5, 0.56, 0.62, 0.68, 0.74], 20_000), drawn(rng, [0.7, 0.6, 0.75], 20_000)
    expected = stats.ttest_ind(one.mean(axis=1), other.mean(axis=1), equal_var=False)
    effect = difference(one, other)
    assert effect.p == pytest.approx(expected.pvalue, rel=0.02)
    low, high = expected.confidence_interval()
    assert effect.interval() == pytest.approx((low, high), rel=0.02)


def test_runs_that_happen_to_agree_are_no_proof() -> None:
    """Three runs of the very same accuracy still change their answers: that alone makes accuracies differ."""
    rng = np.random.default_rng(2)
    one, other = (np.stack([rng.permutation(400) < hits for _ in range(3)]) for hits in (240, 250))
    effect = difference(one, other)
    assert one.mean(axis=1).std() == other.mean(axis=1).std() == 0
    assert effect.error == pytest.approx((2 * 0.24 / 3 / 400) ** 0.5, rel=0.05)
    assert effect.p > 0.2


@pytest.mark.parametrize(("n", "seeds", "spread"), [(182, 3, 0.01), (3589, 3, 0.01), (1000, 5, 0.003), (500, 2, 0.02)])
def test_equal_methods_are_told_apart_about_one_time_in_twenty(n: int, seeds: int, spread: float) -> None:
    rng, trials, rejected, covered = np.random.default_rng(2), 400, 0, 0
    for _ in range(trials):
        luck = 2.6 * spread * rng.normal(size=(2, seeds, 1))
        image, own = rng.normal(size=n), 0.3 * rng.normal(size=(2, 1, n))
        correct = 0.25 + luck + image + own + 0.6 * rng.normal(size=(2, seeds, n)) > 0
        effect = difference(*correct)
        low, high = effect.interval()
        assert (effect.p < 0.05) == (not low <= 0 <= high)
        rejected += effect.p < 0.05
        covered += low <= 0 <= high
    assert 0.01 <= rejected / trials <= 0.085
    assert covered == trials - rejected


def test_what_does_not_vary() -> None:
    sure, never = np.ones((3, 50), bool), np.zeros((3, 50), bool)
    same, apart = difference(sure, sure), difference(sure, never)
    assert (same.value, same.interval(), same.p, same.power()) == (0.0, (0.0, 0.0), 1.0, 0.0)
    assert (apart.value, apart.interval(), apart.p, apart.power()) == (1.0, (1.0, 1.0), 0.0, 1.0)
    assert difference(sure[:, :1], never[:, :1]).p == 0.0


def test_one_run_borrows_the_spread_of_the_others() -> None:
    rng = np.random.default_rng(3)
    many, one = drawn(rng, [0.6, 0.7, 0.65], 5000), drawn(rng, [0.66], 5000)
    spread = many.mean(axis=1).var(ddof=1)
    assert difference(many, one).runs == pytest.approx(spread * (1 + 1 / 3))
    assert difference(one, many).runs_freedom == 2


def test_people_vary_instead_of_their_images() -> None:
    """The same 40 answers, of 40 people or 10 times each of 4: as sure as the people are many."""
    rng = np.random.default_rng(4)
    one, other = rng.random((1, 40)) < 0.8, rng.random((1, 40)) < 0.5
    often = [np.repeat(each, 10, axis=1) for each in (one, other)]
    who = np.repeat([f"P{k}" for k in range(40)], 10)
    assert difference(*often, who).error == pytest.approx(difference(one, other).error)
    assert difference(*often).error < 0.5 * difference(one, other).error
    low, high = over_people(often[0], who)
    plain = stats.t.interval(0.95, 39, one.mean(), one.std(ddof=1) / 40**0.5)
    assert (low, high) == pytest.approx((plain[0], min(1.0, plain[1])))


def test_mean_gain_is_the_paired_test_over_backbones() -> None:
    rng = np.random.default_rng(5)
    gains = [0.02, 0.10, 0.06, 0.12]
    pairs = [Pair(drawn(rng, [0.6 + gain], 30_000), drawn(rng, [0.6], 30_000)) for gain in gains]
    means = [pair.gains.mean() for pair in pairs]
    expected = stats.ttest_1samp(means, 0.0)
    effect = mean_gain([(pairs, None)])
    assert effect.value == pytest.approx(np.mean(means))
    assert effect.p == pytest.approx(expected.pvalue, rel=0.1)
    assert mean_gain([(pairs[:2], None), (pairs[2:], None)]).value == pytest.approx(np.mean(means))
    with pytest.raises(ValueError, match="two settings or more, got 1"):
        mean_gain([(pairs[:1], None)])


def test_power_and_the_seeds_that_would_give_it() -> None:
    effect = Effect(value=0.02, images=0.0, runs=2 * 0.01**2 / 3, freedom=4, runs_freedom=4)
    shift = 0.02 / effect.error
    beyond = stats.t.ppf(0.975, 4)
    assert effect.power() == pytest.approx(stats.nct.sf(beyond, 4, shift) + stats.nct.cdf(-beyond, 4, shift))
    assert effect.power(0.0) == pytest.approx(0.05)
    assert effect.seeds_needed(3) == 6  # two groups, sd half the difference: the textbooks' 5.1, rounded up
    assert Effect(0.001, 0.01, 1e-4, 50, 4).seeds_needed(3) is None  # the images are too few


def test_the_seeds_needed_do_give_that_power() -> None:
    needed = Effect(0.02, 0.0, 2 * 0.015**2 / 3, 4, 4).seeds_needed(3)
    rng = np.random.default_rng(6)
    one, other = (rng.normal(mean, 0.015, (2000, needed)) for mean in (0.62, 0.60))
    found = stats.ttest_ind(one, other, axis=1).pvalue < 0.05
    assert 0.78 <= found.mean() <= 0.88


def test_superiority_and_the_best_of_three() -> None:
    assert superiority([0.6, 0.7], [0.5, 0.65, 0.7]) == pytest.approx((1 + 2 + 0.5) / 6)
    assert best_of([0.1, 0.2, 0.3], 3) == 0.3
    assert best_of([0.1, 0.2, 0.3, 0.4], 3) == pytest.approx((0.3 + 3 * 0.4) / 4)
    assert best_of([0.2], 3) == 0.2


@pytest.mark.parametrize(
    ("confusion", "stuck"),
    [
        ([[0, 0, 7], [0, 0, 31], [0, 0, 7]], True),  # one answer to all
        ([[5, 5, 5], [5, 5, 5], [5, 5, 5]], True),  # any answer to any image
        ([[8, 4, 3], [4, 8, 3], [4, 3, 8]], False),  # 53 %
        ([[9, 5, 0], [1, 110, 0], [0, 10, 2]], False),  # little more than the commonest class, and still learnt
    ],
)
def test_runs_that_never_left_chance(confusion: list[list[int]], stuck: bool) -> None:
    assert at_chance(np.array(confusion)) is stuck


@pytest.mark.parametrize("freedom", [1.0, 2.0, 9.0, 180.0])
def test_power_is_a_number_for_every_size(freedom: float) -> None:
    """SciPy's noncentral t has none where the other tail is all but zero."""
    powers = [Effect(size, 0.0, 1.0, freedom, freedom).power() for size in np.linspace(0, 31, 1000)]
    assert np.isfinite(powers).all()
    assert max(powers) <= 1
    assert np.diff(powers).min() > -0.001


def test_a_few_people_leave_few_degrees_of_freedom() -> None:
    """Runs that happen to agree do not make three people into many."""
    rng = np.random.default_rng(7)
    one, other = (np.stack([rng.permutation(45) < hits for _ in range(3)]) for hits in (35, 25))
    effect = difference(one, other, np.repeat(["A", "B", "C"], 15))
    assert effect.images > 0
    assert 2 <= effect.freedom < np.inf
    assert difference(one, other).freedom == np.inf
