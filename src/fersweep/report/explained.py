"""What `fersweep explain` left in a run's directory: contact sheets, and what the maps on them are worth."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fersweep.errors import UserError
from fersweep.text import counted, listed

FOLDER = "explanations"
"""In the directory of a run."""

FILE = "scores.json"
QUALITY = 85


@dataclass(frozen=True)
class Explained:
    """The contact sheets of a run.

    Attributes:
        seed: of the run.
        sheets: class → the PNG file.
        gains: one sentence on deletion and insertion.
    """

    seed: int
    sheets: dict[str, Path]
    gains: str


def read(directory: Path, seed: int) -> Explained | None:
    """The contact sheets in the directory of a run, or ``None`` where there are none.

    Raises:
        UserError: where they are damaged.
    """
    folder = directory / FOLDER
    if not (folder / FILE).is_file():
        return None
    try:
        summary = json.loads((folder / FILE).read_text(encoding="utf-8"))
        sheets = {str(name): folder / Path(file).name for name, file in summary["sheets"].items()}
        for file in sheets.values():
            with Image.open(file) as image:
                image.verify()
        return Explained(seed, sheets, gains(summary))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder} cannot be read: run fersweep explain {directory} again, or delete the folder."
        ) from error


def first(runs: Iterable[tuple[Path, int]], notes: list[str]) -> Explained | None:
    """The contact sheets of the first run, a directory and its seed, that has some; what is damaged becomes a note."""
    for directory, seed in runs:
        try:
            if (found := read(directory, seed)) is not None:
                return found
        except UserError as error:
            notes.append(str(error))
    return None


def gains(summary: Mapping[str, Any]) -> str:
    """What ``scores.json`` says, in words: both scores beside those of random maps, with the intervals.

    Where an interval (of a single image, the score) does not lie above zero, the maps are said to be no better.
    """
    n = summary["n"]
    said, no_better = [], []
    for name in ("deletion", "insertion"):
        interval = summary[f"{name}_gain_interval"]
        if (summary[f"{name}_gain"] if interval is None else interval[0]) <= 0:
            no_better.append(name)
        between = "" if interval is None else f", 95 % {interval[0]:.3f} to {interval[1]:.3f}"
        said.append(
            f"{name} {summary[name]:.3f}, {summary[f'{name}_random']:.3f} with random maps "
            f"(better by {summary[f'{name}_gain']:.3f}{between})"
        )
    verdict = f" By {listed(no_better, 'and')}, these maps are no better than random ones." if no_better else ""
    return f"Grad-CAM over {counted(n, 'image')}: {'; '.join(said)}.{verdict}"


def as_webp(file: Path) -> str:
    """A picture as a ``data:`` address, an eighth of the size of the PNG file.

    Raises:
        OSError: where it cannot be read.
    """
    data = io.BytesIO()
    with Image.open(file) as image:
        image.convert("RGB").save(data, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
