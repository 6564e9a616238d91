"""Ticks labelled with their exact values, never rounded ones."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, MaxNLocator

STEPS = (1, 2, 5, 10)
"""Distances between ticks, times a power of ten; 2.5 would need one more decimal."""


class Exactly(Formatter):
    """A formatter of ``factor`` times the value and ``unit``, with as many decimals as an axis needs, up to ten."""

    def __init__(self, factor: float = 1, unit: str = "") -> None:
        self.factor, self.unit = factor, unit

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of all ticks of an axis."""
        numbers = [self.factor * float(value) for value in values]
        close = 1e-9 * max(map(abs, numbers), default=0.0)
        decimals = next((n for n in range(10) if all(abs(round(each, n) - each) <= close for each in numbers)), 10)
        texts = [f"{each:.{decimals}f}" for each in numbers]
        return [self.fix_minus(each if float(each) else each.lstrip("-")) + self.unit for each in texts]

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.format_ticks([x])[0]


def exact_ticks(axis: Axis, factor: float = 1, unit: str = "", integer: bool = False) -> None:
    """Give a linear axis a few ticks at multiples of `STEPS`, or of integers alone, labelled as by `Exactly`."""
    steps = list(STEPS)
    locator = MaxNLocator(8, steps=steps, integer=True, min_n_ticks=1) if integer else MaxNLocator(6, steps=steps)
    axis.set_major_locator(locator)
    axis.set_major_formatter(Exactly(factor, unit))
