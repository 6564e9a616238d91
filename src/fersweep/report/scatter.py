"""Accuracy against cost: one point per row, one panel per dataset and split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fersweep.report import figures
from fersweep.report.contents import Report, Row
from fersweep.report.figures import BLUE, GREEN, GREY, VERMILION
from fersweep.report.placement import Point, place_names
from fersweep.report.svg import INK, ORANGE, PAPER, PURPLE, RULE, SKY, styled
from fersweep.report.ticks import exact_ticks
from fersweep.report.titles import ABSENT, joined

ATTENTION = {"none": GREY, "se": BLUE, "eca": GREEN, "cbam": VERMILION}
MARKERS = "osD^vPX*<>"

LONGEST = 30
"""Characters of a name beside a point."""


@styled
def accuracy_against(report: Report, cost: Literal["params", "time"]) -> Figure:
    """Draw the test accuracy of every row (at least one) against its trainable parameters or the time of a run.

    One panel per dataset and split. Colour encodes attention (black if a network does not take it); the marker encodes
    fidelity or, if all rows share one, the backbone's family; a line joins rows that differ in attention alone. Bars
    are ± one standard deviation over seeds. Hollow markers are the study's printed accuracies, at the parameter counts
    of its code; it prints no times.
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
    """Return the fidelity or backbone family that the marker of a row encodes."""
    return row.shown.get("fidelity") or re.sub(r"[-_ ]?\d+$", "", row.shown["backbone"])


def _looks(report: Report) -> tuple[dict[str, str], dict[str, str]]:
    """Return the colour of each attention, and the marker of each fidelity or family, by title."""
    found = {row.labels["attention"]: row.shown["attention"] for row in _taking(report.rows)}
    others = [option for option in found if option not in ATTENTION]
    colours = ATTENTION | {option: (PURPLE, ORANGE, SKY)[number % 3] for number, option in enumerate(others)}
    shapes = dict.fromkeys(_shape(row) for row in report.rows)
    return (
        {found[option]: colour for option, colour in colours.items() if option in found},
        {shape: MARKERS[number % len(MARKERS)] for number, shape in enumerate(shapes)},
    )


def _taking(rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose network takes attention."""
    return [row for row in rows if row.shown["attention"] != ABSENT]


def _handles(report: Report, cost: str) -> list[Line2D]:
    """Return the entries of the legend: for attention and shapes that differ, and for the study's figures."""
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
    """Draw the rows of one dataset and split."""
    unit, factor = _unit(rows, cost)
    lines = _draw_rows(axes, rows, report, cost, factor)
    hollow = _draw_printed(axes, rows, report, factor) if cost == "params" else []
    for points in map(sorted, lines.values()):
        axes.plot([point.x for point in points], [point.y for point in points], color=GREY, linewidth=0.7)
    axes.set_xlabel(unit)
    shown = [point for points in (*lines.values(), hollow) for point in points]
    _baseline(axes, [100 * row.majority for row in rows], [point.y for point in shown])
    _limit(axes, [point.x for point in shown])
    place_names(axes, [(name, points) for (name, *_), points in lines.items()], hollow)


def _unit(rows: Sequence[Row], cost: str) -> tuple[str, float]:
    """Return the label of the cost axis, and the factor by which costs are divided."""
    if cost == "params":
        return "Trainable parameters (millions)", 1e6
    longest = max(row.seconds for row in rows)
    unit, factor = ("h", 3600) if longest > 7200 else ("min", 60) if longest > 120 else ("s", 1)
    return f"Time of a run ({unit})", factor


def _draw_rows(
    axes: Axes, rows: Sequence[Row], report: Report, cost: str, factor: float
) -> dict[tuple[str, str, tuple[str, ...]], list[Point]]:
    """Draw a point with its bar for each row; return the points by line: those that differ in attention alone."""
    colours, markers = _looks(report)
    encoded = ("attention", "dataset", "split", "fidelity")
    lines: dict[tuple[str, str, tuple[str, ...]], list[Point]] = {}
    for row in rows:
        colour, marker = colours.get(row.shown["attention"], INK), markers[_shape(row)]
        x = (row.params_trainable if cost == "params" else row.seconds) / factor
        point = Point(x, 100 * row.accuracy.mean, 100 * (row.accuracy.sd or 0.0))
        bar = None if row.accuracy.sd is None else point.sd
        axes.errorbar(point.x, point.y, bar, fmt=marker, color=colour, markersize=6, elinewidth=1.1, capsize=2.5)
        others = tuple(label for column, label in row.labels.items() if column not in encoded)
        lines.setdefault((_short(row, encoded), marker, others), []).append(point)
    return lines


def _draw_printed(axes: Axes, rows: Sequence[Row], report: Report, factor: float) -> list[Point]:
    """Draw the study's printed accuracies as hollow markers, each once; return their points."""
    colours, markers = _looks(report)
    printed: dict[tuple[Point, str], str] = {}
    for row in rows:
        if row.reported and row.reported.params_trainable:
            point = Point(row.reported.params_trainable / factor, row.reported.accuracy_percent)
            printed.setdefault((point, colours.get(row.shown["attention"], INK)), markers[_shape(row)])
    for (point, colour), marker in printed.items():
        axes.plot(point.x, point.y, marker, markerfacecolor=PAPER, markeredgecolor=colour, markersize=6, zorder=1.8)
    return [point for point, _ in printed]


def _short(row: Row, encoded: Sequence[str]) -> str:
    """Return the name of a point: the labels that are not ``encoded`` otherwise or, if that is long, the backbone."""
    name = joined(value for column, value in row.shown.items() if column not in encoded)
    return name if len(name) <= LONGEST else row.shown["backbone"]


def _baseline(axes: Axes, majorities: Sequence[float], accuracies: Sequence[float]) -> None:
    """Draw a line at the majority class's accuracy, or write it if a line would compress the other points."""
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
    """Leave room around the points for names; use a log axis with plain numbers if they span more than a decade."""
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
    narrow = max(0.0, 2.0 - (top - bottom)) / 2  # accuracies that hardly differ should look alike
    axes.set_ylim(max(bottom - narrow, -1.0), min(top + narrow, 102.0))
    exact_ticks(axes.yaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
