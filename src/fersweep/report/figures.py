"""The figures of one run: its confusion matrix and its learning curves.

They are drawn on `matplotlib.figure.Figure` objects with the Agg canvas, without ``pyplot``, its global state or a
display, so several processes or threads can draw at once. The colours are those of Okabe and Ito (2008), which readers
with common colour-vision deficiencies can distinguish; lines also differ in their dashes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fersweep.files import atomic_path
from fersweep.report.statistics import wilson
from fersweep.report.ticks import exact_ticks

DPI = 150


@contextmanager
def drawing(style: Any) -> Iterator[None]:
    """Set matplotlib's style, for use as a decorator of functions that draw.

    Of names in scripts that the font lacks, and of control characters, boxes are drawn without a warning for each.
    """
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from font")
        yield


literal = drawing({"text.parse_math": False})
"""A decorator of functions that draw: a dollar sign in a name is no formula, which may be wrong."""

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#595959"


@literal
def confusion_matrix(
    counts: npt.NDArray[np.integer[Any]], class_names: Sequence[str], path: Path, title: str, subtitle: str = ""
) -> None:
    """Draw a confusion matrix as PNG.

    A cell shows the percentage of its row (the true class) and, below it, the count; its shade is the percentage. The
    column at the right is the recall of each class with the number of its images. The caption is the accuracy with its
    95 % Wilson interval, the mean recall and the number of images.

    Args:
        counts: integers ``(K, K)``; row: true class, column: predicted class. A class without images is left blank.
        class_names: K names, in the order of the rows.
        path: the file to write, atomically; its folder must exist.
        title: the first line, in bold.
        subtitle: the second line, smaller; may be empty.
    """
    counts = np.asarray(counts)
    k = len(class_names)
    assert counts.shape == (k, k), f"counts {counts.shape} for {k} classes"
    support = counts.sum(axis=1)
    share = counts / np.maximum(support, 1)[:, None]

    cell, longest = 0.72, max(map(len, class_names))  # inches, characters
    left, right, top, bottom = max(1.25, 0.5 + 0.09 * longest), 1.05, 0.85, max(1.15, 0.7 + 0.06 * longest)
    spare = max(0.0, 5.6 - (left + cell * k + right)) / 2  # two classes still leave room for the lines of text
    figure = blank(left + cell * k + right + 2 * spare, bottom + cell * k + top)
    axes = figure.add_axes(inches(figure, left + spare, bottom, right + spare, top))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(k, k):
        if support[row]:
            write_cell(axes, row, column, share[row, column], int(counts[row, column]))
    _write_recalls(axes, np.diag(share), support)
    label_classes(axes, np.arange(k), class_names, fontsize=10)
    axes.set_xlabel("Predicted", fontsize=11)
    axes.set_ylabel("True", fontsize=11)
    axes.set_xticks(np.arange(1, k) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, k) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    centred(figure, 0.12, title, size=12.5, weight="bold")
    centred(figure, 0.38, subtitle, size=9.5, color=GREY)
    centred(figure, -0.12, _caption(counts), size=9.5)
    save_png(figure, path)


def _write_recalls(axes: Axes, recalls: npt.NDArray[np.float64], support: npt.NDArray[np.integer[Any]]) -> None:
    """Write the recall and the number of images of each class at the right of its row."""
    x = len(recalls) - 0.38
    for row, (recall, n) in enumerate(zip(recalls, support, strict=True)):
        percent = f"{recall:.1%}" if n else "–"
        axes.text(x, row, f"{percent}\nn = {n:,}", va="center", ha="left", fontsize=9, color=GREY)
    axes.text(x, -0.62, "Recall", va="bottom", ha="left", fontsize=10, color=GREY)


def label_classes(axes: Axes, at: npt.NDArray[Any], class_names: Sequence[str], **style: Any) -> None:
    """Name the rows and columns of a confusion matrix, without ticks and frame."""
    axes.set_xticks(at, class_names, rotation=35, ha="right", rotation_mode="anchor", **style)
    axes.set_yticks(at, class_names, **style)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def write_cell(axes: Axes, row: int, column: int, share: float, count: int) -> None:
    """Write percentage and count into a cell, in black or white for contrast with its shade."""
    colour = "white" if share > 0.55 else "#222222" if count else "#8C8C8C"
    weight = "bold" if row == column else "normal"
    percent = f"{share:.0%}" if share >= 0.0995 or not count else f"{share:.1%}"
    axes.text(column, row - 0.12, percent, ha="center", va="center", fontsize=10.5, color=colour, weight=weight)
    axes.text(column, row + 0.22, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)


def _caption(counts: npt.NDArray[np.integer[Any]]) -> str:
    """Return the line below the matrix: accuracy with its interval, mean recall, number of images."""
    n, correct = int(counts.sum()), int(np.trace(counts))
    if n == 0:
        return "no images"
    support = counts.sum(axis=1)
    recalls = np.diag(counts)[support > 0] / support[support > 0]
    low, high = wilson(correct, n)
    return (
        f"Accuracy {100 * correct / n:.2f} % (95 % CI {100 * low:.2f}–{100 * high:.2f}), "
        f"mean recall {100 * recalls.mean():.2f} %, n = {n:,}"
    )


@literal
def learning_curves(history: pd.DataFrame, path: Path, best_epoch: int) -> None:
    """Draw loss, accuracy and learning rate over the epochs as PNG, with the selected epoch marked.

    Args:
        history: one row per epoch with the columns ``epoch``, ``train/loss``, ``train/accuracy``, ``val/loss``,
            ``val/accuracy`` and ``val/macro_f1`` (fractions), and ``lr``; one row is enough, missing values leave gaps.
        path: the file to write, atomically; its folder must exist.
        best_epoch: the value of ``epoch`` whose weights were tested.
    """
    figure = blank(10.0, 4.6)
    grid = figure.add_gridspec(2, 2, height_ratios=(5, 1), hspace=0.12, wspace=0.2)
    grid.update(left=0.075, right=0.985, top=0.845, bottom=0.115)
    loss, accuracy = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[:, 1])
    rate = figure.add_subplot(grid[1, 0], sharex=loss)
    training, validation = {"color": BLUE, "linestyle": "--"}, {"color": VERMILION, "linestyle": "-"}
    draw_line(loss, history, "train/loss", **training)
    draw_line(loss, history, "val/loss", **validation)
    lines = [
        draw_line(accuracy, history, "train/accuracy", label="training", **training),
        draw_line(accuracy, history, "val/accuracy", label="validation", **validation),
        draw_line(accuracy, history, "val/macro_f1", label="validation macro-F1", color=GREEN, linestyle=":"),
    ]
    draw_line(rate, history, "lr", color=GREY, linewidth=1.2)

    score = history.loc[history["epoch"] == best_epoch, "val/accuracy"].iloc[-1:]
    label = f"best epoch: {best_epoch}" + "".join(f" ({value:.2%})" for value in score)
    lines += accuracy.plot([best_epoch] * len(score), score, "D", color="black", markersize=6, zorder=5, label=label)
    for axes in (loss, accuracy, rate):
        axes.axvline(best_epoch, color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.9)
        plain_axes(axes, history["epoch"].to_numpy(dtype=float))
    for axes, title in ((loss, "Loss"), (accuracy, "Accuracy and macro-F1")):
        axes.set_title(title, loc="left", fontsize=11.5, weight="bold")
    for axes in (rate, accuracy):
        axes.set_xlabel("Epoch", fontsize=10.5)
    loss.tick_params(labelbottom=False)
    low, high = accuracy.get_ylim()
    accuracy.set_ylim(max(0.0, math.floor(10 * low) / 10), min(1.005, math.ceil(10 * high) / 10))
    exact_ticks(loss.yaxis)
    exact_ticks(accuracy.yaxis, 100, "%")
    _finish_rate(rate, float(history["lr"].max()))
    figure.legend(handles=lines, loc="upper center", ncols=len(lines), frameon=False, fontsize=10)
    save_png(figure, path)


def _finish_rate(axes: Axes, highest: float) -> None:
    """Name the panel of the learning rate, with ticks at 0 and the highest value."""
    words = axes.text(0.99, 0.97, "learning rate", transform=axes.transAxes, ha="right", va="top", fontsize=9)
    words.set(color=GREY, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    top = float(f"{highest:.3g}")  # the value of the tick equals its label
    axes.set_ylim(0, 1.7 * top if top > 0 else 1)
    axes.set_yticks([0, top] if top > 0 else [0], labels=["0", f"{top:g}"] if top > 0 else ["0"], fontsize=8.5)


def draw_line(axes: Axes, history: pd.DataFrame, column: str, **style: Any) -> Line2D:
    """Draw one column over the epochs, with markers if these are few; return the line."""
    few = len(history) <= 30
    style = {"linewidth": 1.6, "marker": "o" if few else "", "markersize": 3.5} | style
    (line,) = axes.plot(history["epoch"].to_numpy(), history[column].to_numpy(dtype=float), **style)
    return line


def plain_axes(axes: Axes, epochs: npt.NDArray[np.float64]) -> None:
    """Give the axes integer epochs, a light horizontal grid and no frame at the top and right."""
    margin = max(0.5, 0.02 * float(np.ptp(epochs)))
    axes.set_xlim(epochs.min() - margin, epochs.max() + margin)
    exact_ticks(axes.xaxis, integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.7)
    axes.set_axisbelow(True)


def blank(width: float, height: float) -> Figure:
    """Return an empty white figure of ``width`` × ``height`` inches with an Agg canvas."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def inches(figure: Figure, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
    """Return the axes rectangle (fractions of the figure) that leaves the given margins in inches."""
    width, height = figure.get_size_inches()
    return left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height


def centred(figure: Figure, inches: float, text: str, size: float, **style: Any) -> None:
    """Write a centred line at a distance from the top (negative: from the bottom), shrunk to fit."""
    height = figure.get_figheight()
    y, va = (1 - inches / height, "top") if inches > 0 else (-inches / height, "bottom")
    line = figure.text(0.5, y, text, ha="center", va=va, fontsize=size, **style)
    room, needed = 0.97 * figure.bbox.width, line.get_window_extent().width
    line.set_fontsize(size * min(1.0, room / max(needed, 1.0)))


@literal
def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, atomically, without date or version, so that equal figures are equal bytes."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
