"""Accuracy against cost: a point a row, a panel a dataset and split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fersweep.report import figures
from fersweep.report.contents import Report, Row
from fersweep.report.figures import BLUE, GREEN, GREY, VERMILION
from fersweep.report.svg import INK, ORANGE, PAPER, PURPLE, RULE, SKY, styled
from fersweep.report.ticks import exact_ticks
from fersweep.report.titles import ABSENT, joined

ATTENTION = {"none": GREY, "se": BLUE, "eca": GREEN, "cbam": VERMILION}
MARKERS = "osD^vPX*<>"

LONGEST = 30
"""Characters of a name beside a point."""


class Point(NamedTuple):
    """What a row costs, its accuracy in percent, and the standard deviation of that (0 where there is none)."""

    x: float
    y: float
    sd: float = 0.0


@styled
def accuracy_against(report: Report, cost: Literal["params", "time"]) -> Figure:
    """Draw the test accuracy of every row (at least one) against its trainable parameters or the time of a run.

    One panel a dataset and split. Colour is attention, ink where a network does not take it; the marker is fidelity, or
    where all rows have the same, the family of the backbone; a line joins rows that differ in attention alone. Bars are
    ± one standard deviation over seeds. Hollow is what the study prints, at the parameters of its code; it prints no
    times.
    """
    panels: dict[str, list[Row]] = {}
    names = [name for name in ("dataset", "split") if name == "dataset" or name in report.columns]
    for row in report.rows:
        panels.setdefault(" · ".join(row.titles.get(name, "") for name in names), []).append(row)
    handles = _handles(report, cost)
    columns = min(2, len(panels))
    lines, per_line = -(-len(panels) // columns), max(1, min(len(handles), 4 * columns))
    width, top = 10.2 if columns == 2 else 7.4, 0.4 + 0.21 * -(-len(handles) // per_line)
    figure = figures.blank(width, 3.8 * lines + top - 0.2)
    x, y, w, h = figures.inches(figure, 0.62, 0.5, 0.3, top)
    figure.subplots_adjust(left=x, right=x + w, bottom=y, top=y + h, wspace=0.14, hspace=0.3)
    for number, (title, rows) in enumerate(panels.items()):
        axes = figure.add_subplot(lines, columns, number + 1)
        _panel(axes, rows, report, cost)
        axes.set_title(title, loc="left", fontsize=10.5, weight="bold")
        axes.set_ylabel("" if number % columns else "Test accuracy (%)")
    if handles:
        figure.legend(handles=handles, loc="upper center", ncols=per_line, frameon=False)
    return figure


def _shape(row: Row) -> str:
    """What the marker of a row tells."""
    return row.shown.get("fidelity") or re.sub(r"[-_ ]?\d+$", "", row.shown["backbone"])


def _looks(report: Report) -> tuple[dict[str, str], dict[str, str]]:
    """The colour of each attention, and the marker of each fidelity or family, as they are shown."""
    found = {row.labels["attention"]: row.shown["attention"] for row in _taking(report.rows)}
    others = [option for option in found if option not in ATTENTION]
    colours = ATTENTION | {option: (PURPLE, ORANGE, SKY)[number % 3] for number, option in enumerate(others)}
    shapes = dict.fromkeys(_shape(row) for row in report.rows)
    return (
        {found[option]: colour for option, colour in colours.items() if option in found},
        {shape: MARKERS[number % len(MARKERS)] for number, shape in enumerate(shapes)},
    )


def _taking(rows: Sequence[Row]) -> list[Row]:
    """The rows whose network takes attention."""
    return [row for row in rows if row.shown["attention"] != ABSENT]


def _handles(report: Report, cost: str) -> list[Line2D]:
    """The entries of the legend: of what rows differ in, and of what the study prints."""
    colours, markers = _looks(report)
    handles = []
    if len({row.shown["attention"] for row in report.rows}) > 1:
        handles += [Line2D([], [], color=colour, linewidth=4, label=name) for name, colour in colours.items()]
    if len(markers) > 1:
        marked: Any = {"color": INK, "linestyle": ""}
        handles += [Line2D([], [], marker=marker, label=shape, **marked) for shape, marker in markers.items()]
    if cost == "params" and any(row.reported and row.reported.params_trainable for row in report.rows):
        hollow: Any = {"markerfacecolor": PAPER, "markeredgecolor": INK}
        handles.append(Line2D([], [], marker="o", linestyle="", label="as the study prints", **hollow))
    return handles


def _panel(axes: Axes, rows: Sequence[Row], report: Report, cost: str) -> None:
    """Draw the rows of one dataset."""
    unit, factor = "Trainable parameters (millions)", 1e6
    if cost == "time":
        longest = max(row.seconds for row in rows)
        unit, factor = ("h", 3600) if longest > 7200 else ("min", 60) if longest > 120 else ("s", 1)
        unit = f"Time of a run ({unit})"
    colours, markers = _looks(report)
    lines: dict[tuple[str, str, tuple[str, ...]], list[Point]] = {}
    printed: dict[tuple[Point, str], str] = {}
    for row in rows:
        colour, marker = colours.get(row.shown["attention"], INK), markers[_shape(row)]
        x = (row.params_trainable if cost == "params" else row.seconds) / factor
        point = Point(x, 100 * row.accuracy.mean, 100 * (row.accuracy.sd or 0.0))
        bar = None if row.accuracy.sd is None else point.sd
        axes.errorbar(point.x, point.y, bar, fmt=marker, color=colour, markersize=6, elinewidth=1.1, capsize=2.5)
        told = ("attention", "dataset", "split", "fidelity")
        others = tuple(label for column, label in row.labels.items() if column not in told)
        lines.setdefault((_short(row, told), marker, others), []).append(point)
        if cost == "params" and row.reported and row.reported.params_trainable:
            x = row.reported.params_trainable / factor
            printed.setdefault((Point(x, row.reported.accuracy_percent), colour), marker)
    for (point, colour), marker in printed.items():
        axes.plot(point.x, point.y, marker, markerfacecolor=PAPER, markeredgecolor=colour, markersize=6, zorder=1.8)
    for points in map(sorted, lines.values()):
        axes.plot([point.x for point in points], [point.y for point in points], color=GREY, linewidth=0.7)
    axes.set_xlabel(unit)
    hollow = [point for point, _ in printed]
    shown = [point for points in (*lines.values(), hollow) for point in points]
    _baseline(axes, [100 * row.majority for row in rows], [point.y for point in shown])
    _limit(axes, [point.x for point in shown])
    _name(axes, [(name, points) for (name, *_), points in lines.items()], hollow)


def _short(row: Row, told: Sequence[str]) -> str:
    """What stands beside a point: what the figure does not tell otherwise, or where that is long, the backbone."""
    name = joined(value for column, value in row.shown.items() if column not in told)
    return name if len(name) <= LONGEST else row.shown["backbone"]


def _baseline(axes: Axes, majorities: Sequence[float], accuracies: Sequence[float]) -> None:
    """A line at what the commonest class scores, or its value where a line would press the points together."""
    low, reach = min(accuracies), 2.0 * max(np.ptp(accuracies), 5.0)
    edge: Any = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": GREY}
    for majority in sorted({round(each, 2): each for each in majorities}.values()):
        words = f"majority class {majority:.1f} %"
        if low - majority <= reach:
            axes.axhline(majority, color=GREY, linewidth=1, linestyle=(0, (5, 3)))
            axes.text(0.995, majority, words, **edge)
        else:
            axes.text(0.995, 0.01, f"{words}, below this axis ↓", **edge | {"transform": axes.transAxes})


def _limit(axes: Axes, xs: Sequence[float]) -> None:
    """Leave room around the points for names; a log axis with plain numbers where they span more than a decade."""
    low, high = min(xs), max(xs)
    if high > 10 * low > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.12g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(low / 1.5, high * 1.5)
    else:
        room = 0.17 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_xlim(low - room, high + room)
        exact_ticks(axes.xaxis)
    axes.margins(y=0.1)
    bottom, top = axes.get_ylim()
    narrow = max(0.0, 2.0 - (top - bottom)) / 2  # accuracies that hardly differ should look so
    axes.set_ylim(max(bottom - narrow, -1.0), min(top + narrow, 102.0))
    exact_ticks(axes.yaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)


def _name(axes: Axes, named: Sequence[tuple[str, list[Point]]], hollow: Sequence[Point]) -> None:
    """Write each name beside one of its points, where it covers least of points, lines and other names."""
    pixels, frame = axes.transData.transform, np.array([axes.get_window_extent().extents])
    taken = [np.array(text.get_window_extent().extents) for text in axes.texts]  # left, bottom, right, top in pixels
    for x, y, sd in (*hollow, *(point for _, points in named for point in points)):
        taken.append(np.concatenate([pixels((x, y - sd)) - 9, pixels((x, y + sd)) + 9]))
    for _, points in named:
        for start, end in pairwise(pixels([point[:2] for point in sorted(points)])):
            steps = np.linspace(start, end, 2 + int(np.hypot(*(end - start)) / 6))
            taken += list(np.hstack([steps - 3, steps + 3]))
    written: list[tuple[str, Any]] = []
    for name, points in named:
        if any(name == other and np.hypot(*(pixels(points[0][:2]) - pixels(at))) < 40 for other, at in written):
            continue  # its neighbour has the same name
        text = axes.annotate(name, points[0][:2], (0, 0), textcoords="offset points", fontsize=8.5)
        size = np.array(text.get_window_extent().size)
        choices: list[tuple[float, int, int, Any, Any]] = []
        for number, (x, y, _) in enumerate(points):
            for side in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
                offset = 14 * np.array(side) - size * (1 - np.array(side)) / 2
                box = np.concatenate([pixels((x, y)) + offset, pixels((x, y)) + offset + size])
                covered = _overlap(box, np.array(taken)).sum()
                outside = size.prod() - _overlap(box, frame).sum()
                choices.append((covered + 9 * outside, number, len(choices), offset, box))
        _, number, _, offset, box = min(choices, key=lambda choice: choice[:3])
        text.xy = points[number][:2]
        written.append((name, text.xy))
        text.set_position(tuple(offset * 72 / figures.DPI))
        taken.append(box)


def _overlap(box: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The area that a box has in common with each of the others ``(N, 4)``."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    area: npt.NDArray[np.float64] = sides.clip(min=0).prod(axis=1)
    return area
