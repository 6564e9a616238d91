"""Explanations as pictures: a map over its image, the gates of a network, and the contact sheet of a class.

Drawn as `fersweep.report.figures` does. The colours are viridis: even steps of lightness, the same for readers with any
of the common colour-vision deficiencies, and in print.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fersweep.faces import Pixels
from fersweep.inference.explain import GRADCAM, Array, Explanation
from fersweep.report.figures import BLUE, GREEN, GREY, VERMILION, blank, inches, save_png
from fersweep.report.svg import styled

COLOURS = matplotlib.colormaps["viridis"]
SHARE = 0.5
"""Of the colours in an overlay; the rest is the image."""

ACROSS = 8
"""Panels in a row."""

KINDS = ("positions", "channels", "image")
"""Ends of the names of gates; the panels say themselves what they are of."""


@dataclass(frozen=True)
class Shown:
    """An image in a contact sheet: its pixels ``(H, W)`` or ``(H, W, 3)``, and what was found of it."""

    pixels: Pixels
    explanation: Explanation


def overlay(pixels: Pixels, saliency: Array, low: float = 0.0, high: float | None = None) -> Pixels:
    """An image ``(H, W)`` or ``(H, W, 3)`` in grey under the colours of a map ``(H, W)``: RGB ``(H, W, 3)``.

    The colours run from ``low`` to ``high``, by default the map's maximum.
    """
    top = float(saliency.max()) if high is None else high
    scaled = np.clip((saliency - low) / max(top - low, 1e-12), 0, 1)
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    mixed = (1 - SHARE) * grey[..., None] + SHARE * 255 * np.asarray(COLOURS(scaled))[..., :3]
    return np.asarray(mixed.round(), dtype=np.uint8)


@styled
def gradcam(path: Path, pixels: Pixels, explanation: Explanation) -> None:
    """Draw a face and, beside it, Grad-CAM over it, with the answer, a colour bar and the scores, as PNG."""
    figure = blank(6.1, 3.55)
    x, y, width, height = inches(figure, 0.15, 0.55, 0.65, 0.42)
    first = figure.add_axes((x, y, 0.48 * width, height))
    second = figure.add_axes((x + 0.52 * width, y, 0.48 * width, height))
    _image(first, pixels)
    _image(second, overlay(pixels, explanation.maps[GRADCAM]))
    first.set_title(_answer(explanation), loc="left", fontsize=11, weight="bold")
    second.set_title(f"speaks for {_line(explanation.label)}", loc="right", fontsize=8.5)
    _bar(figure, (x + width + 0.13 / figure.get_figwidth(), y, 0.1 / figure.get_figwidth(), height), 0.0, 1.0)
    scores = explanation.scores
    _write(
        figure,
        0.15,
        figure.get_figheight() - 0.45,
        f"Deletion {scores.deletion:.2f} (random {scores.deletion_random:.2f}; less is better)    "
        f"Insertion {scores.insertion:.2f} (random {scores.insertion_random:.2f}; more is better)\n"
        f"By these scores this map is {scores.worth}. Colours: shares of its largest value.",
        fontsize=8,
        color=GREY,
        va="top",
    )
    save_png(figure, path)


@styled
def attention(path: Path, pixels: Pixels, explanation: Explanation) -> None:
    """Draw all gates (there must be some) as PNG: maps over the face first, then those of channels and mixtures.

    All maps have one scale, from the smallest to the largest gate of any of them, which a colour bar beside them shows.
    """
    maps = [name for name in explanation.gates if name in explanation.maps]
    others = [name for name in explanation.gates if name not in explanation.maps]
    rows = [*_rows(maps), *_rows(others)]
    side, gap, top, left = 1.35, 0.52, 0.45, 0.32
    across = min(ACROSS, max(len(maps), len(others), 3))
    gates = [explanation.gates[name] for name in maps]
    scale = _scale([gate.mean(axis=0) if gate.ndim == 3 else gate for gate in gates])
    figure = blank(left + across * (side + 0.28) + (0.45 if maps else 0), top + len(rows) * (side + gap))
    for number, row in enumerate(rows):
        for column, name in enumerate(row):
            right = figure.get_figwidth() - left - column * (side + 0.28) - side
            above = top + number * (side + gap) + gap - 0.15
            below = figure.get_figheight() - above - side
            axes = figure.add_axes(inches(figure, left + column * (side + 0.28), below, right, above))
            _gate(axes, pixels, explanation, name, scale, first=column == 0)
    if maps:
        x, below = (
            left + min(len(maps), ACROSS) * (side + 0.28) - 0.18,
            figure.get_figheight() - top - gap + 0.15 - side,
        )
        _bar(figure, inches(figure, x, below, figure.get_figwidth() - x - 0.1, top + gap - 0.15), *scale)
    _write(figure, left, 0.12, _heading(maps, others), fontsize=8.5, color=GREY, va="top")
    save_png(figure, path)


def _rows(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), ACROSS):
        yield names[start : start + ACROSS]


def _heading(maps: Sequence[str], others: Sequence[str]) -> str:
    lines = ["Maps: gates of positions, all on the scale at the right"] * bool(maps)
    lines += ["Bars: gates of channels, sorted; of branches, stacked"] * bool(others)
    return "\n".join(lines)


def _scale(maps: Sequence[Array]) -> tuple[float, float]:
    """The smallest and the largest value of maps; 0 and 1 of none."""
    return (min(float(each.min()) for each in maps), max(float(each.max()) for each in maps)) if maps else (0.0, 1.0)


def _bar(figure: Figure, place: tuple[float, float, float, float], low: float, high: float) -> None:
    """A colour bar with its ends and the middle written beside it."""
    axes = figure.add_axes(place)
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap=COLOURS, aspect="auto", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.set_yticks((0, 0.5, 1), [f"{each:.2f}" for each in (low, (low + high) / 2, high)], fontsize=6.5)
    axes.yaxis.tick_right()
    axes.tick_params(length=2)
    axes.spines[:].set_visible(False)


def _gate(
    axes: Axes, pixels: Pixels, explanation: Explanation, name: str, scale: tuple[float, float], *, first: bool
) -> None:
    """One gate: a map, bars of channels, or stacked shares of branches."""
    gate = explanation.gates[name]
    span = f"{gate.min():.2f}…{gate.max():.2f}"
    if name in explanation.maps:
        _image(axes, overlay(pixels, explanation.maps[name], *scale))
    else:
        shares = np.atleast_2d(gate)
        shares = shares[:, np.argsort(-shares[0])]
        base = np.zeros(shares.shape[1], np.float32)
        for share, colour in zip(shares, (BLUE, VERMILION, GREEN) * len(shares), strict=False):
            axes.stairs(base + share, baseline=base, fill=True, color=colour, linewidth=0)
            base = base + share
        axes.set(ylim=(0, 1), xlim=(0, shares.shape[1]), yticks=(0, 0.5, 1))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        axes.tick_params(labelsize=6.5, length=2, labelleft=first)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{_short(name)}\n{span}", fontsize=6.5, pad=2)


def _short(name: str) -> str:
    """The name of a module without what the panel shows anyway."""
    parts = name.split(".")
    parts = parts[:-1] if parts[-1] in KINDS and len(parts) > 1 else parts
    kept = [part for part in parts if part != "attention"] or parts
    return ".".join(kept)


@styled
def sheet(path: Path, class_name: str, right: Sequence[Shown], wrong: Sequence[Shown]) -> None:
    """Draw the contact sheet of a class as PNG: its images that were recognised, and those that were not.

    Each image has Grad-CAM for the answer given below it, and the answer with its probability.
    """
    side, gap, left, top = 1.1, 0.06, 0.12, 0.42
    block = 0.3 + 2 * side + gap + 0.34
    parts = [("Recognised, surest first", right, GREEN), ("Not recognised, surest first", wrong, VERMILION)]
    height = top + sum(block if shown else 0.62 for _, shown, _ in parts)
    figure = blank(2 * left + ACROSS * (side + gap), height)
    _write(figure, left, 0.27, _line(class_name), fontsize=13, weight="bold")
    within = "Grad-CAM from 0 (purple) to the largest value in each image (yellow)"
    _write(figure, figure.get_figwidth() - left, 0.27, within, fontsize=8, color=GREY, ha="right")
    y = top
    for title, shown, colour in parts:
        _write(figure, left, y + 0.2, title if shown else f"{title.partition(',')[0]}: none", fontsize=9.5, color=GREY)
        for column, each in enumerate(shown[:ACROSS]):
            x = left + column * (side + gap)
            over = overlay(each.pixels, each.explanation.maps[GRADCAM])
            for number, picture in enumerate((each.pixels, over)):
                above = y + 0.3 + number * (side + gap)
                place = inches(figure, x, height - above - side, figure.get_figwidth() - x - side, above)
                _image(figure.add_axes(place), picture)
            text = _answer(each.explanation)
            size = min(8.5, 8.5 * 17 / max(len(text), 1))
            _write(figure, x, y + 0.3 + 2 * side + gap + 0.16, text, fontsize=size, color=colour)
        y += block if shown else 0.62
    save_png(figure, path)


def _image(axes: Axes, pixels: Pixels) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()


def _write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write a line that many inches from the left and the top."""
    figure.text(x / figure.get_figwidth(), 1 - y / figure.get_figheight(), text, **style)


def _answer(explanation: Explanation) -> str:
    return f"{_line(explanation.label)} {100 * explanation.probability:.0f} %"


def _line(name: str) -> str:
    """A name in one line that fits."""
    text = " ".join(name.split())
    return text if len(text) <= 24 else f"{text[:23]}…"


def channels_last(image: npt.NDArray[np.uint8]) -> Pixels:
    """``(1, H, W)`` to ``(H, W)``, ``(3, H, W)`` to ``(H, W, 3)``."""
    return image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
