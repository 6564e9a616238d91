"""The figures of a search: history, slices by parameter, importance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fersweep.report import figures
from fersweep.report.figures import BLUE, GREY, VERMILION
from fersweep.report.search import Searched
from fersweep.report.svg import INK, PAPER, RULE, styled
from fersweep.report.ticks import exact_ticks
from fersweep.runs.trials import Trial

COLUMNS = 3
"""Panels beside each other in the slices."""


def captions(search: Searched) -> dict[str, str]:
    """Return the caption of each figure."""
    reached = sum(search.at_epoch(trial) is not None for trial in search.trials)
    common = f"at epoch {search.epoch}, which {reached} of {len(search.trials)} trials reached"
    return {
        "history": f"{search.metric} of each trial, and the best so far.",
        "slices": f"{search.metric} of the best epoch so far {common}. The diamond is the best trial.",
        "importance": f"Importance of the settings for {search.metric} {common} (PED-ANOVA: how far the best tenth of "
        "the trials differs from all in a setting). Of a few trials it is a rough guide.",
    }


def drawn(search: Searched) -> dict[str, Figure]:
    """Return the figures of a search by name, without empty ones: ``history``, ``slices``, ``importance``."""
    if not any(trial.history or trial.scores for trial in search.trials):
        return {}
    found = {"history": history(search)}
    if any(search.at_epoch(trial) is not None for trial in search.trials):
        found["slices"] = slices(search)
    if search.importance:
        found["importance"] = importance(search)
    return found


def _scaled(search: Searched, value: float) -> float:
    return value if search.lower_is_better else 100 * value


def _final(search: Searched, trial: Trial) -> float | None:
    """Return what is known of a trial: its result or, if it has none, its best epoch so far."""
    if trial.value is not None:
        return _scaled(search, trial.value)
    if not trial.history:
        return None
    return _scaled(search, (min if search.lower_is_better else max)(trial.history.values()))


@styled
def history(search: Searched) -> Figure:
    """Draw the metric of each trial in order, and the best so far; hollow points are of trials that ended early."""
    figure = figures.blank(7.4, 3.4)
    axes = figure.add_axes(figures.inches(figure, 0.75, 0.5, 0.2, 0.45))
    done = [(trial.number, _scaled(search, trial.value)) for trial in search.trials if trial.value is not None]
    early = [
        (trial.number, value)
        for trial in search.trials
        if trial.value is None and (value := _final(search, trial)) is not None
    ]
    if early:
        axes.plot(*zip(*early, strict=True), "o", markerfacecolor=PAPER, markeredgecolor=GREY, markersize=4.5)
    if done:
        axes.plot(*zip(*done, strict=True), "o", color=BLUE, markersize=5)
        best = (np.minimum if search.lower_is_better else np.maximum).accumulate([value for _, value in done])
        axes.step([number for number, _ in done], best, where="post", color=VERMILION, linewidth=1.4)
    hollow: Any = {"markerfacecolor": PAPER, "markeredgecolor": GREY}
    handles = [
        Line2D([], [], marker="o", linestyle="", color=BLUE, label="done"),
        Line2D([], [], marker="o", linestyle="", label="ended early: best epoch so far", **hollow),
        Line2D([], [], color=VERMILION, label="best so far"),
    ]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False)
    axes.set_xlabel("Trial")
    axes.set_ylabel(search.heading)
    exact_ticks(axes.xaxis, integer=True)
    exact_ticks(axes.yaxis)
    _plain(axes)
    return figure


@styled
def slices(search: Searched) -> Figure:
    """Draw the metric at the common epoch against each parameter, one panel each; the best trial is a diamond."""
    names = search.parameters
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    figure = figures.blank(3.1 * columns + 0.5, 2.7 * lines + 0.3)
    x, y, width, height = figures.inches(figure, 0.7, 0.5, 0.15, 0.3)
    figure.subplots_adjust(left=x, right=x + width, bottom=y, top=y + height, wspace=0.2, hspace=0.55)
    for number, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, number + 1)
        _slice(axes, search, name)
        axes.set_title(name, loc="left", fontsize=9.5, weight="bold")
        axes.set_ylabel("" if number % columns else f"{search.heading}, epoch {search.epoch}")
        exact_ticks(axes.yaxis)
        _plain(axes)
    return figure


def _slice(axes: Axes, search: Searched, name: str) -> None:
    points = [
        (trial.params[name], _scaled(search, value), trial)
        for trial in search.trials
        if name in trial.params and (value := search.at_epoch(trial)) is not None
    ]
    values = [value for value, _, _ in points]
    if values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        places: Sequence[float] = values
        if name in search.logarithmic:
            _logarithmic(axes, max(values) / min(values))
    else:
        known = list(dict.fromkeys(map(str, values)))
        places = [known.index(str(value)) for value in values]
        axes.set_xticks(range(len(known)), known)
        axes.set_xlim(-0.6, len(known) - 0.4)
    for place, (_, height, trial) in zip(places, points, strict=True):
        best = search.best is not None and trial.number == search.best.number
        look: Any = {"marker": "D", "color": INK, "markersize": 6} if best else {"marker": "o", "color": BLUE}
        axes.plot(place, height, linestyle="", **{"markersize": 4.5, "alpha": 0.8, **look}, zorder=3 if best else 2)


def _logarithmic(axes: Axes, ratio: float) -> None:
    """Make the x axis logarithmic, with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if ratio > 50 else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.12g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


@styled
def importance(search: Searched) -> Figure:
    """Draw the importance of the parameters as bars."""
    names, shares = list(search.importance), [100 * share for share in search.importance.values()]
    figure = figures.blank(7.4, 0.75 + 0.3 * len(names))
    axes = figure.add_axes(figures.inches(figure, min(0.4 + 0.075 * max(map(len, names)), 3.5), 0.5, 0.6, 0.15))
    axes.barh(range(len(names)), shares, color=BLUE, height=0.6)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("Share of the importance (%)")
    exact_ticks(axes.xaxis)
    _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
