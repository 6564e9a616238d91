"""The figures of a report: accuracy against cost, differences with intervals, learning curves, confusion matrices.

Drawn like those of one run (`fersweep.report.figures`), with the style and the writers of `fersweep.report.svg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fersweep.report import figures, search_plots
from fersweep.report.compare import oriented
from fersweep.report.contents import Comparison, Report, Row
from fersweep.report.figures import BLUE, GREY, VERMILION
from fersweep.report.results import counts
from fersweep.report.scatter import accuracy_against
from fersweep.report.search import prefixes
from fersweep.report.svg import INK, PAPER, RULE, save, styled
from fersweep.report.ticks import exact_ticks
from fersweep.report.titles import joined

MOST = 200
"""The most comparisons that a figure shows."""


def overview(report: Report, time: bool = False) -> dict[str, Figure]:
    """Return the figures over all rows by name, without empty ones.

    They are ``accuracy_params``, with ``time`` also ``accuracy_time``, ``options`` and ``fidelity``. Times are
    comparable if no run shared its machine, which a report cannot know.
    """
    drawn = {}
    if report.rows:
        drawn["accuracy_params"] = accuracy_against(report, "params")
        if time:
            drawn["accuracy_time"] = accuracy_against(report, "time")
    if report.options:
        drawn["options"] = differences(report.options)
    if report.fidelity:
        drawn["fidelity"] = differences(report.fidelity)
    return drawn


def write(report: Report, folder: Path, time: bool = False) -> list[Path]:
    """Write every figure into ``folder``, created if missing, as SVG and PNG; return the files.

    They are those of `overview`, of each search and, for each row, ``confusion-<key>`` and, if it has curves,
    ``curves-<key>``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [path for name, figure in overview(report, time).items() for path in save(figure, folder, name)]
    for search, prefix in zip(report.searches, prefixes(report.searches), strict=True):
        for name, figure in search_plots.drawn(search).items():
            files += save(figure, folder, f"{prefix}search-{name}")
    for row in report.rows:
        files += save(confusion_matrix(row), folder, f"confusion-{row.key}")
        if row.curves:
            files += save(learning_curves(row), folder, f"curves-{row.key}")
    return files


@styled
def differences(comparisons: Sequence[Comparison]) -> Figure:
    """Draw differences in accuracy (points) with their 95 % intervals as a forest plot, one line per comparison.

    Filled markers are established differences. Of more than `MOST` comparisons, those with the smallest p are drawn.
    """
    kept = sorted(range(len(comparisons)), key=lambda i: (comparisons[i].p_holm, comparisons[i].p))[:MOST]
    lines = _lines(oriented([comparisons[i] for i in sorted(kept)]))
    height, size = (0.25, 9.0) if len(lines) <= 100 else (0.18, 7.5)
    figure = figures.blank(8.6, 1.05 + height * len(lines))
    longest = max(len(name) for name, _ in lines)
    axes = figure.add_axes(figures.inches(figure, min(0.35 + 0.0085 * size * longest, 4.5), 0.55, 1.75, 0.5))
    text: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": size}
    for y, (name, drawn) in enumerate(lines):
        axes.text(-0.02, y, name, ha="right", weight="normal" if drawn else "bold", **text)
        if drawn:
            centre, low, high = (100 * value for value in (drawn.difference, *drawn.interval))
            axes.plot([low, high], [y, y], color=BLUE, linewidth=1.4, solid_capstyle="butt")
            fill = BLUE if drawn.established else PAPER
            axes.plot(centre, y, "o", markersize=6, markerfacecolor=fill, markeredgecolor=BLUE, markeredgewidth=1.2)
            axes.text(1.02, y, f"{centre:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−"), ha="left", **text)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_yticks([])
    axes.margins(x=0.06)
    exact_ticks(axes.xaxis)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.set_xlabel("Difference in test accuracy (points), with its 95 % interval")
    of = f"; the {MOST} of {len(comparisons)} with the smallest p" if len(comparisons) > MOST else ""
    figures.centred(figure, 0.15, f"Filled: established after Holm's correction. Hollow: not{of}.", size=9, color=GREY)
    return figure


def _lines(comparisons: Sequence[Comparison]) -> list[tuple[str, Comparison | None]]:
    """Return comparisons with their names, below headings: the labels they share or, if none do, the options."""
    groups = {each.group for each in comparisons}
    lines: list[tuple[str, Comparison | None]] = []
    blocks: dict[str, list[Comparison]] = {}
    for each in comparisons:
        shared = joined(each.shared.values())
        blocks.setdefault(f"{each.group}: {shared}" if len(groups) > 1 else shared, []).append(each)
    if all(len(block) == 1 for block in blocks.values()):
        pairs: dict[str, list[tuple[str, Comparison | None]]] = {}
        for shared, (each,) in blocks.items():
            pairs.setdefault(" − ".join(each.names), []).append((shared, each))
        return [line for pair, below in pairs.items() for line in [(pair, None), *below]]
    for shared, block in blocks.items():
        lines += [(shared, None)] if shared else []
        lines += [(" − ".join(each.names), each) for each in block]
    return lines


@styled
def learning_curves(row: Row) -> Figure:
    """Draw loss and accuracy over the epochs of each run of a row (at least one), training dashed, validation solid.

    A diamond marks the epoch whose weights were tested.
    """
    figure = figures.blank(8.6, 2.9)
    x, y, width, height = figures.inches(figure, 0.55, 0.48, 0.1, 0.58)
    figure.subplots_adjust(left=x, right=x + width, bottom=y, top=y + height, wspace=0.16)
    longest = max(row.curves, key=len)["epoch"].to_numpy(dtype=float)
    names = ("training", "validation", "epoch tested")
    for number, name in enumerate(("loss", "accuracy")):
        axes = figure.add_subplot(1, 2, number + 1)
        for curve, best in zip(row.curves, row.best_epoch, strict=True):
            tested = curve[curve["epoch"] == best]
            handles = [
                figures.draw_line(axes, curve, f"train/{name}", color=BLUE, linewidth=1.0, linestyle="--", marker=""),
                figures.draw_line(axes, curve, f"val/{name}", color=VERMILION, linewidth=1.0, marker=""),
                figures.draw_line(axes, tested, f"val/{name}", color=INK, linestyle="", marker="D", markersize=4),
            ]
        figures.plain_axes(axes, longest)
        exact_ticks(axes.yaxis)
        axes.set_title(name.capitalize(), loc="left", fontsize=10, weight="bold")
        axes.set_xlabel("Epoch")
    exact_ticks(axes.yaxis, 100, "%")
    figure.legend(handles, names, loc="upper right", ncols=3, frameon=False)
    return figure


@styled
def confusion_matrix(row: Row) -> Figure:
    """Draw the confusion matrix of a row: percentages of the true class, with counts summed over seeds and folds."""
    support = row.confusion.sum(axis=1)
    share, k = row.confusion / np.maximum(support, 1)[:, None], len(row.class_names)
    cell, longest = 0.72, max(map(len, row.class_names))  # inches, characters
    left, bottom = 0.6 + 0.09 * longest, max(1.15, 0.7 + 0.06 * longest)
    spare = max(0.0, 6.0 - left - cell * k - 0.2) / 2
    figure = figures.blank(left + cell * k + 0.2 + 2 * spare, 0.75 + cell * k + bottom)
    axes = figure.add_axes(figures.inches(figure, left + spare, bottom, 0.2 + spare, 0.75))
    axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolor=PAPER, linewidth=1.5)
    axes.set(xlim=(0, k), ylim=(k, 0), xlabel="Predicted", ylabel="True")
    figures.label_classes(axes, np.arange(k) + 0.5, row.class_names)
    for true, predicted in np.argwhere(np.broadcast_to(support[:, None] > 0, share.shape)):
        figures.write_cell(
            axes, true + 0.5, predicted + 0.5, share[true, predicted], int(row.confusion[true, predicted])
        )
    sd = "" if row.accuracy.sd is None else f" ± {100 * row.accuracy.sd:.2f}"
    scores = f"Accuracy {100 * row.accuracy.mean:.2f}{sd} %, macro-F1 {row.macro_f1.mean:.3f}"
    figures.centred(figure, 0.14, row.name, size=11.5, weight="bold")
    figures.centred(figure, 0.4, f"Percentages of the true class. {counts(row)}", size=9, color=GREY)
    figures.centred(figure, -0.12, scores, size=9)
    return figure
