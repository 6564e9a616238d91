"""Drawings of explanations: Grad-CAM over its image, the gates of a network, and the contact sheet of a class.

Drawn as in `fersweep.report.figures`. The colour map is viridis: perceptually uniform, readable with the common
colour-vision deficiencies and in grey.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from fersweep.faces import Pixels
from fersweep.inference.explain import GRADCAM, Array, Explanation
from fersweep.report.figures import BLUE, GREEN, GREY, VERMILION, blank, save_png
from fersweep.report.svg import styled

COLOURS = matplotlib.colormaps["viridis"]
SHARE = 0.5
"""Weight of the colours in an overlay; the rest is the image."""

ACROSS = 8
"""Panels per row."""


def pixels_of(image: Tensor) -> Pixels:
    """Turn ``(1, H, W)`` into ``(H, W)`` and ``(3, H, W)`` into ``(H, W, 3)``."""
    return image.permute(1, 2, 0).squeeze(2).numpy()


def overlay(pixels: Pixels, saliency: Array, low: float = 0.0, high: float | None = None) -> Pixels:
    """Blend an image ``(H, W)`` or ``(H, W, 3)`` in grey with the colours of a map ``(H, W)``: RGB ``(H, W, 3)``.

    The colours run from ``low`` to ``high``, by default the map's maximum.
    """
    top = float(saliency.max()) if high is None else high
    scaled = np.clip((saliency - low) / max(top - low, 1e-12), 0, 1)
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    mixed = (1 - SHARE) * grey[..., None] + SHARE * 255 * np.asarray(COLOURS(scaled))[..., :3]
    return np.asarray(mixed.round(), dtype=np.uint8)


@styled
def gradcam(path: Path, pixels: Pixels, explanation: Explanation) -> None:
    """Draw a face and Grad-CAM over it, with the prediction, a colour bar and the scores, as PNG."""
    figure = blank(6.1, 3.55)
    side, height, top = 2.54, 2.58, 0.42
    first, second = (_axes(figure, x, top, side, height) for x in (0.15, 2.91))
    _image(first, pixels)
    _image(second, overlay(pixels, explanation.maps[GRADCAM]))
    first.set_title(_label(explanation), loc="left", fontsize=11, weight="bold")
    second.set_title(f"evidence for {_short(explanation.label)}", loc="right", fontsize=8.5)
    _colour_bar(_axes(figure, 5.58, top, 0.1, height), 0.0, 1.0)
    scores = explanation.scores
    text = (
        f"Deletion {scores.deletion:.2f} (random {scores.deletion_random:.2f}; less is better)    "
        f"Insertion {scores.insertion:.2f} (random {scores.insertion_random:.2f}; more is better)\n"
        f"By these scores this map is {scores.worth}. Colours: shares of its largest value."
    )
    _write(figure, 0.15, figure.get_figheight() - 0.45, text, fontsize=8, color=GREY, va="top")
    save_png(figure, path)


@styled
def attention(path: Path, pixels: Pixels, explanation: Explanation) -> None:
    """Draw all gates (at least one) as PNG: spatial gates over the face, then those of channels and branches.

    All spatial gates share one colour scale, from their smallest to their largest value.
    """
    maps = [name for name in explanation.gates if name in explanation.maps]
    others = [name for name in explanation.gates if name not in explanation.maps]
    rows = [names[start : start + ACROSS] for names in (maps, others) for start in range(0, len(names), ACROSS)]
    side, gap, top, left = 1.35, 0.52, 0.45, 0.32
    step = side + 0.28
    across = min(ACROSS, max(len(maps), len(others), 3))
    gates = [gate.reshape(-1, *gate.shape[-2:]).mean(axis=0) for gate in (explanation.gates[name] for name in maps)]
    scale = min(map(np.min, gates), default=0.0), max(map(np.max, gates), default=1.0)
    figure = blank(left + across * step + (0.45 if maps else 0), top + len(rows) * (side + gap))
    for number, row in enumerate(rows):
        y = top + number * (side + gap) + gap - 0.15
        for column, name in enumerate(row):
            axes = _axes(figure, left + column * step, y, side, side)
            _gate(axes, pixels, explanation, name, scale, first=column == 0)
    if maps:
        _colour_bar(_axes(figure, left + min(len(maps), ACROSS) * step - 0.18, top + gap - 0.15, 0.1, side), *scale)
    heading = ["Maps: spatial gates, all on the scale at the right"] * bool(maps)
    heading += ["Bars: channel gates, sorted; gates of branches, stacked"] * bool(others)
    _write(figure, left, 0.12, "\n".join(heading), fontsize=8.5, color=GREY, va="top")
    save_png(figure, path)


def _gate(
    axes: Axes, pixels: Pixels, explanation: Explanation, name: str, scale: tuple[float, float], *, first: bool
) -> None:
    """Draw one gate: a map, bars of channels, or stacked shares of branches."""
    gate = explanation.gates[name]
    if name in explanation.maps:
        _image(axes, overlay(pixels, explanation.maps[name], *scale))
    else:
        shares = np.atleast_2d(gate)
        shares = shares[:, np.argsort(-shares[0])]
        base = np.zeros(shares.shape[1], np.float32)
        for share, colour in zip(shares, (BLUE, VERMILION, GREEN) * len(shares), strict=False):
            axes.stairs(base + share, baseline=base, fill=True, color=colour, linewidth=0)
            base = base + share
        top = 1 if base.max() <= 1.001 else 2  # factors of a channel, as GCT has, reach 2
        axes.set(ylim=(0, top), xlim=(0, shares.shape[1]), yticks=(0, top / 2, top))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        axes.tick_params(labelsize=6.5, length=2, labelleft=first)
        axes.spines[["top", "right"]].set_visible(False)
    module = re.sub(r"(^|\.)(attention(?=\.|$)|(positions|channels|image)$)", "", name) or name
    axes.set_title(f"{module}\n{gate.min():.2f}…{gate.max():.2f}", fontsize=6.5, pad=2)


@styled
def sheet(
    path: Path,
    class_name: str,
    right: Sequence[tuple[Pixels, Explanation]],
    wrong: Sequence[tuple[Pixels, Explanation]],
) -> None:
    """Draw the contact sheet of a class as PNG: correctly and wrongly classified images.

    Each image has Grad-CAM of the predicted class, that class and its probability below it.
    """
    side, gap, left, top, empty = 1.1, 0.06, 0.12, 0.42, 0.62
    block = 0.3 + 2 * side + gap + 0.34
    parts = [("Correct, most confident first", right, GREEN), ("Wrong, most confident first", wrong, VERMILION)]
    height = top + sum(block if shown else empty for _, shown, _ in parts)
    figure = blank(2 * left + ACROSS * (side + gap), height)
    _write(figure, left, 0.27, _short(class_name), fontsize=13, weight="bold")
    legend = "Grad-CAM from 0 (purple) to the largest value in each image (yellow)"
    _write(figure, figure.get_figwidth() - left, 0.27, legend, fontsize=8, color=GREY, ha="right")
    y = top
    for title, shown, colour in parts:
        _write(figure, left, y + 0.2, title if shown else f"{title.partition(',')[0]}: none", fontsize=9.5, color=GREY)
        for column, (pixels, explanation) in enumerate(shown[:ACROSS]):
            x = left + column * (side + gap)
            _image(_axes(figure, x, y + 0.3, side, side), pixels)
            over = overlay(pixels, explanation.maps[GRADCAM])
            _image(_axes(figure, x, y + 0.3 + side + gap, side, side), over)
            text = _label(explanation)
            size = min(8.5, 8.5 * 17 / max(len(text), 1))
            _write(figure, x, y + 0.3 + 2 * side + gap + 0.16, text, fontsize=size, color=colour)
        y += block if shown else empty
    save_png(figure, path)


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Add axes of a size in inches, ``x`` from the left and ``y`` from the top."""
    across, down = figure.get_size_inches()
    return figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))


def _colour_bar(axes: Axes, low: float, high: float) -> None:
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap=COLOURS, aspect="auto", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.set_yticks((0, 0.5, 1), [f"{each:.2f}" for each in (low, (low + high) / 2, high)], fontsize=6.5)
    axes.yaxis.tick_right()
    axes.tick_params(length=2)
    axes.spines[:].set_visible(False)


def _image(axes: Axes, pixels: Pixels) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()


def _write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write a text, ``x`` inches from the left and ``y`` from the top."""
    figure.text(x / figure.get_figwidth(), 1 - y / figure.get_figheight(), text, **style)


def _label(explanation: Explanation) -> str:
    return f"{_short(explanation.label)} {100 * explanation.probability:.0f} %"


def _short(name: str) -> str:
    """Shorten a name to fit on one line."""
    text = " ".join(name.split())
    return text if len(text) <= 24 else f"{text[:23]}…"
