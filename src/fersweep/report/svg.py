"""The style of a report's figures, and their formats: SVG and PNG files, and markup for the page.

Files are black on white. In the page, colours are CSS variables, so that figures follow its light or dark theme.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure

from fersweep.files import atomic_path
from fersweep.report.figures import BLUE, GREEN, GREY, VERMILION, drawing, save_png

INK, RULE, PAPER = "#010101", "#E6E6E6", "#FFFFFF"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"

VARIABLES = {
    INK: "--ink",
    GREY: "--muted",
    RULE: "--rule",
    PAPER: "--paper",
    BLUE: "--blue",
    GREEN: "--green",
    VERMILION: "--vermilion",
    PURPLE: "--purple",
    ORANGE: "--orange",
    SKY: "--sky",
}
"""Colour → its CSS variable in the page; other colours stay as they are."""

STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    **{"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.0},
    "text.parse_math": False,  # a dollar sign in a name is literal
    **{"svg.fonttype": "none", "svg.hashsalt": "fersweep"},
}
styled = drawing(STYLE)
"""A decorator of functions that draw: figures have this style regardless of the user's matplotlib settings."""


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``<name>.svg`` and ``<name>.png`` into ``folder``, which must exist, atomically; return both.

    Equal figures are equal bytes. The text of the SVG stays text.
    """
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    with atomic_path(svg) as temporary:
        temporary.write_text(_svg(figure), encoding="utf-8")
    save_png(figure, png)
    return svg, png


NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, which a class or an option may have in its name."""


@styled
def _svg(figure: Figure, transparent: bool = False) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=transparent)
    return NOT_XML.sub("\ufffd", text.getvalue())


def inline(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element for HTML: transparent, with `VARIABLES` and the page's font.

    Args:
        figure: drawn under `styled`.
        name: prefix of every id, so that ids of several figures in a page differ.
        description: the text for screen readers.
    """
    root = ElementTree.fromstring(_svg(figure, transparent=True))
    used = {value.rpartition("#")[2].rstrip(")") for part in root.iter() for value in part.attrib.values()}
    for part in list(root.iter()):
        for child in [each for each in part if each.tag.endswith(("}metadata", "}style"))]:
            part.remove(child)  # a style element would apply to the entire page
        part.tag, part.tail = part.tag.rpartition("}")[2], None
        part.text = part.text if part.tag == "text" else None
        if part.get("id") not in used:
            part.attrib.pop("id", None)
        part.attrib = {key.rpartition("}")[2]: _rewritten(key, value, name) for key, value in part.items()}
    width, height = root.attrib["viewBox"].split()[2:]
    root.attrib = {"viewBox": f"0 0 {width} {height}", "width": f"{width}pt", "role": "img", "aria-label": description}
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    return ElementTree.tostring(root, encoding="unicode")


def _rewritten(key: str, value: str, name: str) -> str:
    """Return an attribute's value in the page."""
    if key == "id":
        return f"{name}-{value}"
    if key == "style":
        value = re.sub(r" ?font-family: [^;]*;?", "", value)
        return re.sub(r"#[0-9a-f]{6}", lambda found: _variables.get(found[0], found[0]), value)
    if key == "d":
        return re.sub(r"(\.\d\d)\d+", r"\1", " ".join(value.split()))
    return value.replace("#", f"#{name}-")


_variables = {colour.lower(): f"var({variable})" for colour, variable in VARIABLES.items()}
