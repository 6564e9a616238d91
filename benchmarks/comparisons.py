"""How often the report's statistics err: ``uv run python -m benchmarks.comparisons [--trials 2000] [--smoke]``.

Trials are drawn from a model of their own: an image is recognised where a normal sum of its difficulty, of what image
and method share, of the run's luck and of the rest is above a threshold. Shares of the variance are such that two runs
agree on 78 % of the images at 62 % accuracy, as those of VGG-19 on FER2013 do (results/fer2013_study_vgg19).

Each line is of one size of test set, number of seeds and spread of runs (points of accuracy):

- size: how often two equal methods are said to differ (p < 0.05); 5 % is meant.
- coverage: how often the 95 % interval has the true difference.
- ± : the mean half-width of the interval, in points.
- power: how often the study's mean gain of CBAM on that dataset is found.
"""

from __future__ import annotations

import argparse
import json
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
"""Shares of the variance: of the image, and of image and method together."""

Draw = Callable[[np.random.Generator], tuple[Effect, float]]


def answers(
    rng: np.random.Generator, n: int, accuracy: Iterable[float], runs: int, spread: float, image: npt.NDArray
) -> list[npt.NDArray[np.bool_]]:
    """Of methods with this accuracy, ``(runs, n)`` each; ``image`` is the difficulty that all share."""
    found = []
    for mean in accuracy:
        own = SHARED**0.5 * rng.standard_normal(n)
        luck = spread / norm.pdf(ndtri(mean)) * rng.standard_normal((runs, 1))
        rest = (1 - IMAGE - SHARED) ** 0.5 * rng.standard_normal((runs, n), dtype=np.float32)
        found.append(ndtri(mean) + image + own + luck + rest > 0)
    return found


def two_methods(n: int, seeds: int, spread: float, true: float) -> Draw:
    """Two methods of which one is better by ``true``."""

    def draw(rng: np.random.Generator) -> tuple[Effect, float]:
        image = IMAGE**0.5 * rng.standard_normal(n)
        one, other = answers(rng, n, (ACCURACY[n] + true, ACCURACY[n]), seeds, spread, image)
        return difference(one, other), true

    return draw


def backbones(n: int, seeds: int, spread: float, true: float, count: int = 8, differ: float = 0.01) -> Draw:
    """The mean gain over backbones whose gains differ by ``differ``, tested on the same images."""

    def draw(rng: np.random.Generator) -> tuple[Effect, float]:
        image, pairs = IMAGE**0.5 * rng.standard_normal(n), []
        for _ in range(count):
            base = ACCURACY[n] + 0.02 * rng.uniform(-1, 1)
            gain = true + differ * rng.standard_normal()
            pairs.append(Pair(*answers(rng, n, (min(base + gain, 0.995), base), seeds, spread, image)))
        return mean_gain([(pairs, None)]), true

    return draw


def gain(n: int) -> float:
    """The study's mean gain of CBAM over none on this dataset, as a fraction."""
    rows, dataset = study()["rows"].values(), DATASETS[n]
    return float(np.mean([row["cbam"][dataset] - row["none"][dataset] for row in rows])) / 100


def rates(draw: Callable[[float], Draw], true: float, trials: int, seed: int = 0) -> dict[str, float]:
    """Size, coverage, half-width and power over ``trials``, in percent and points."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="of each line (default 2000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--smoke", action="store_true", help="few lines of few trials: whether it runs")
    options = parser.parse_args()
    trials = 20 if options.smoke else options.trials
    sizes, seeds, spreads = (
        ((45, 182), (3,), (0.01,)) if options.smoke else (DATASETS, (3, 5, 10), (0.003, 0.01, 0.02, 0.05))
    )
    found = {
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
    if options.json:
        print(json.dumps(found))
        return
    for title, lines in found.items():
        table = Table(title=title, box=None, header_style="dim", title_justify="left")
        for name in ("n", "seeds", "sd of runs", "size %", "coverage %", "±", "power %", "gain"):
            table.add_column(name, justify="right")
        for each in lines:
            table.add_row(
                f"{each['n']:,}",
                str(each["seeds"]),
                f"{each['spread']:g}",
                *(f"{each[key]:.1f}" for key in ("size", "coverage")),
                f"{each['half_width']:.2f}",
                f"{each['power']:.0f}",
                f"{each['gain']:.2f}",
            )
        Console().print(table)


if __name__ == "__main__":
    main()
