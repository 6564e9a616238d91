"""Error rates of the report's statistics, simulated.

In the simulation, an image is recognised where a sum of normal variables is above a threshold: its difficulty, an
interaction of image and method, the run's luck, and the rest. Their shares of the variance are such that two runs agree
on 78 % of the images at 62 % accuracy, like VGG-19 on FER2013 (results/fer2013_study_vgg19).

Each row has one size of the test set, number of seeds and standard deviation of runs (points of accuracy):

size: how often two equal methods are said to differ (p < 0.05; nominally 5 %).
coverage: how often the 95 % interval contains the true difference.
±: the mean half-width of the interval, in points.
power: how often the study's mean gain of CBAM on that dataset is found.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.special import ndtri
from scipy.stats import norm

from fersweep.report.effects import Effect, Pair, difference, mean_gain
from fersweep.report.study import study

DATASETS = {45: "jaffe", 182: "ckplus", 3589: "fer2013", 7178: "fer2013"}
ACCURACY = {45: 0.67, 182: 0.88, 3589: 0.62, 7178: 0.62}
IMAGE, SHARED = 0.74, 0.04
"""Shares of the variance: image; interaction of image and method."""

COLUMNS = (
    ("n", "n", ",d"),
    ("seeds", "seeds", "d"),
    ("sd of runs", "spread", "g"),
    ("size %", "size", ".1f"),
    ("coverage %", "coverage", ".1f"),
    ("±", "half_width", ".2f"),
    ("power %", "power", ".0f"),
    ("gain", "gain", ".2f"),
)
"""Title, key and format of the columns."""

Draw = Callable[[np.random.Generator], tuple[Effect, float]]


def answers(
    rng: np.random.Generator, n: int, accuracy: Iterable[float], runs: int, spread: float, image: npt.NDArray
) -> list[npt.NDArray[np.bool_]]:
    """Draw which images are recognised, ``(runs, n)`` per method; all methods share the difficulty ``image``."""
    found = []
    for mean in accuracy:
        own = SHARED**0.5 * rng.standard_normal(n)
        luck = spread / norm.pdf(ndtri(mean)) * rng.standard_normal((runs, 1))
        rest = (1 - IMAGE - SHARED) ** 0.5 * rng.standard_normal((runs, n), dtype=np.float32)
        found.append(ndtri(mean) + image + own + luck + rest > 0)
    return found


def two_methods(n: int, seeds: int, spread: float, true: float) -> Draw:
    """Compare two methods of which one is better by ``true``."""

    def draw(rng: np.random.Generator) -> tuple[Effect, float]:
        image = IMAGE**0.5 * rng.standard_normal(n)
        one, other = answers(rng, n, (ACCURACY[n] + true, ACCURACY[n]), seeds, spread, image)
        return difference(one, other), true

    return draw


def backbones(n: int, seeds: int, spread: float, true: float, count: int = 8, differ: float = 0.01) -> Draw:
    """Compare over backbones tested on the same images; the standard deviation of their gains is ``differ``."""

    def draw(rng: np.random.Generator) -> tuple[Effect, float]:
        image, pairs = IMAGE**0.5 * rng.standard_normal(n), []
        for _ in range(count):
            base = ACCURACY[n] + 0.02 * rng.uniform(-1, 1)
            gain = true + differ * rng.standard_normal()
            pairs.append(Pair(*answers(rng, n, (min(base + gain, 0.995), base), seeds, spread, image)))
        return mean_gain([(pairs, None)]), true

    return draw


def gain(n: int) -> float:
    """Return the study's mean gain of CBAM over none on the dataset of ``n`` test images, as a fraction."""
    rows, dataset = study()["rows"].values(), DATASETS[n]
    return float(np.mean([row["cbam"][dataset] - row["none"][dataset] for row in rows])) / 100


def rates(draw: Callable[[float], Draw], true: float, trials: int, seed: int = 0) -> dict[str, float]:
    """Return size, coverage and power over ``trials`` in percent, half-width and gain in points."""
    rng = np.random.default_rng(seed)
    null = [draw(0.0)(rng) for _ in range(trials)]
    real = [draw(true)(rng) for _ in range(trials)]
    within = [low <= true <= high for (effect, true) in (*null, *real) for low, high in [effect.interval()]]
    widths = [high - low for effect, _ in (*null, *real) for low, high in [effect.interval()]]
    return {
        "size": 100 * float(np.mean([effect.p < 0.05 for effect, _ in null])),
        "coverage": 100 * float(np.mean(within)),
        "half_width": 50 * float(np.mean(widths)),
        "power": 100 * float(np.mean([effect.p < 0.05 and effect.value > 0 for effect, _ in real])),
        "gain": 100 * true,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=2000, help="per row; default: %(default)s")


def run(asked: argparse.Namespace) -> int:
    """Simulate, and print the tables."""
    found = simulate(20 if asked.smoke else asked.trials, asked.smoke)
    for title, rows in found.items():
        table = Table(title=title, box=None, header_style="dim", title_justify="left")
        for name, _, _ in COLUMNS:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*(format(row[key], form) for _, key, form in COLUMNS))
        Console().print(table)
    return 0


def simulate(trials: int, smoke: bool) -> dict[str, list[dict[str, float]]]:
    """Return the rows of both tables."""
    sizes, seeds, spreads = ((45, 182), (3,), (0.01,)) if smoke else (DATASETS, (3, 5, 10), (0.003, 0.01, 0.02, 0.05))
    return {
        "two methods": [
            {"n": n, "seeds": s, "spread": 100 * sd} | rates(partial(two_methods, n, s, sd), gain(n), trials)
            for n, s, sd in product(sizes, seeds, spreads)
        ],
        "mean gain over 8 backbones": [
            {"n": n, "seeds": s, "spread": 100 * sd}
            | rates(partial(backbones, n, s, sd), gain(n), max(trials // 4, 10))
            for n, s, sd in product(sizes, (1, *seeds[:1]), spreads[1:3] or spreads)
        ],
    }
