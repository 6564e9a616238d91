"""Output of a benchmark: tables and JSON.

The JSON (``--json``) is one object:

- ``machine``: ``cpu``, ``cores``, ``gpu`` (null without one), ``torch``, ``python``, ``platform``, ``precision``
  (Lightning's name), ``threads``.
- ``settings``: ``parts``, ``backbones``, ``batches``, ``image_size``, ``repeats``, ``smoke``.
- ``parts``: by name (`benchmarks.PARTS`), each with its duration ``seconds``, ``notes`` (sentences), and
  ``figures``, a list of objects:

  - ``case``: its subject: ``backbone``, ``batch``, ``attention``, ``activation``, ``map``, ``images``; only what
    applies. A backbone alone has its default attention and activation.
  - ``what``: its name; unique within the part, together with ``case``.
  - ``unit``: ``images/s``, ``TFLOP/s``, ``s``, ``ms`` or ``MiB``.
  - ``median``, ``min``, ``max``, ``values``: over the rounds, one value each, to six digits.
  - ``ratio``: null, or ``to`` (the ``what`` of another figure of the same case) and ``median``, ``min``, ``max``,
    ``values`` of this value over that one, round by round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from benchmarks.measure import Case, Part
from benchmarks.settings import Settings


def headline(machine: Mapping[str, Any]) -> str:
    """Return a line about the machine."""
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    cores, threads = (f"{machine[key]} {key[:-1]}{'s'[: machine[key] != 1]}" for key in ("cores", "threads"))
    return f"{machine['cpu']}, {cores}{gpu}, torch {machine['torch']}, {machine['precision']}, {threads}"


def asked(settings: Settings) -> dict[str, Any]:
    """Return the ``settings`` of the JSON."""
    names = ("parts", "backbones", "batches", "image_size", "repeats", "smoke")
    return {name: getattr(settings, name) for name in names}


def as_dict(part: Part, seconds: float) -> dict[str, Any]:
    """Return a part of the JSON."""
    return {"seconds": round(seconds, 2), "notes": part.notes, "figures": [each.as_dict() for each in part.figures]}


def markdown(cells: Iterable[str], header: bool = False) -> None:
    """Print a row of a table in Markdown; below a header, its rule too."""
    row = list(cells)
    print(f"| {' | '.join(row)} |", flush=True)
    if header:
        print("|---" * len(row) + "|")


def table(title: str, part: Mapping[str, Any]) -> Table:
    """Return a part of the JSON as a table with one row per figure; the notes are its caption."""
    shown = Table(
        title=f"{title} ({part['seconds']:.0f} s)",
        caption="\n".join(part["notes"]),
        box=None,
        header_style="dim",
        title_justify="left",
        caption_justify="left",
    )
    for column in ("of", "what", "unit"):
        shown.add_column(column, no_wrap=True)
    for column in ("n", "median", "min", "max", "ratio", "min", "max"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("to", no_wrap=True)
    above = None
    for each in part["figures"]:
        case, ratio = _case(each["case"]), each["ratio"]
        numbers = [str(len(each["values"])), *(_number(each[key]) for key in ("median", "min", "max"))]
        ratios = [*(f"{ratio[key]:.3f}" for key in ("median", "min", "max")), ratio["to"]] if ratio else []
        shown.add_row(case if case != above else "", each["what"], each["unit"], *numbers, *ratios)
        above = case
    return shown


def _case(case: Case) -> str:
    return " ".join(value if isinstance(value, str) else f"{key} {value:,}" for key, value in case.items())


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
