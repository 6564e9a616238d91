"""Ticks whose labels are their values: no label is rounded to what its tick is not."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, MaxNLocator

STEPS = (1, 2, 5, 10)
"""Distances between ticks, times a power of ten; 2.5 would take a decimal more than readers expect."""


class Exactly(Formatter):
    """Writes ticks with as many decimals as all of an axis need, up to ten.

    Args:
        factor: what a value is multiplied with: 100 for percent of a fraction.
        unit: stands behind the number.
    """

    def __init__(self, factor: float = 1, unit: str = "") -> None:
        self.factor, self.unit = factor, unit

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """The labels of all ticks of an axis."""
        numbers = [self.factor * float(value) for value in values]
        close = 1e-9 * max(map(abs, numbers), default=0.0)
        decimals = next((n for n in range(10) if all(abs(round(each, n) - each) <= close for each in numbers)), 10)
        texts = [f"{each:.{decimals}f}" for each in numbers]
        return [self.fix_minus(each if float(each) else each.lstrip("-")) + self.unit for each in texts]

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.format_ticks([x])[0]


def exact_ticks(axis: Axis, factor: float = 1, unit: str = "", whole: bool = False) -> None:
    """Give a linear axis a few ticks at multiples of `STEPS`, labelled with their values.

    Args:
        axis: of an ``Axes``.
        factor: see `Exactly`.
        unit: see `Exactly`.
        whole: put ticks at whole numbers alone, such as epochs.
    """
    steps = list(STEPS)
    locator = MaxNLocator(8, steps=steps, integer=True, min_n_ticks=1) if whole else MaxNLocator(6, steps=steps)
    axis.set_major_locator(locator)
    axis.set_major_formatter(Exactly(factor, unit))
