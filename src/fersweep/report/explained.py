"""The contact sheets and faithfulness scores that ``fersweep explain`` writes into a run's directory."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from fersweep.errors import UserError
from fersweep.files import INTEGER, INTERVAL, NUMBER, mapping, read_json
from fersweep.text import counted, listed

FOLDER = "explanations"
"""The folder in the directory of a run."""

FILE = "scores.json"
FIELDS = {
    "n": INTEGER,
    "sheets": mapping("a file for each class", str),
    **{f"{score}{what}": NUMBER for score in ("deletion", "insertion") for what in ("", "_random", "_gain")},
    **{f"{score}_gain_interval": replace(INTERVAL, optional=True) for score in ("deletion", "insertion")},
    **{f"shares_between_{what}": replace(NUMBER, optional=True) for what in ("images", "channels")},
}
"""The fields of `FILE` that a report shows."""

QUALITY = 85


@dataclass(frozen=True)
class Explained:
    """The contact sheets of a run.

    Attributes:
        seed: the run's seed.
        sheets: class → PNG file.
        gains: a sentence on deletion and insertion.
    """

    seed: int
    sheets: dict[str, Path]
    gains: str


def read(directory: Path, seed: int) -> Explained | None:
    """Return the contact sheets in the directory of a run, or ``None`` if there are none.

    Raises:
        UserError: they are damaged.
    """
    folder = directory / FOLDER
    advice = f"run fersweep explain {directory} again, or delete the folder"
    summary = read_json(folder / FILE, FIELDS, "summary of explanations", advice)
    if summary is None:
        return None
    sheets = {str(name): folder / Path(file).name for name, file in summary["sheets"].items()}
    for file in sheets.values():
        try:
            with Image.open(file) as image:
                image.verify()
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{file} is damaged: {advice}.") from error
    return Explained(seed, sheets, gains(summary))


def first(runs: Iterable[tuple[Path, int]]) -> tuple[Explained | None, list[str]]:
    """Return the contact sheets of the first run (a directory and its seed) that has some, and errors on the way."""
    notes: list[str] = []
    for directory, seed in runs:
        try:
            if (found := read(directory, seed)) is not None:
                return found, notes
        except UserError as error:
            notes.append(str(error))
    return None, notes


def gains(summary: Mapping[str, Any]) -> str:
    """Return the content of ``scores.json`` in words: both scores beside those of random maps, with intervals.

    If an interval (of a single image, the gain) does not lie above zero, the maps are called no better than random.
    Shares of branches follow, if the network mixes some.
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
    return f"Grad-CAM over {counted(n, 'image')}: {'; '.join(said)}.{verdict}{_shares(summary)}"


def _shares(summary: Mapping[str, Any]) -> str:
    images, channels = (summary.get(f"shares_between_{what}") for what in ("images", "channels"))
    if images is None or channels is None:
        return ""
    return (
        f" Shares of branches differ by {images:.3f} between test images and by {channels:.3f} between channels (sd)."
    )


def as_webp(file: Path) -> str:
    """Return an image as a ``data:`` address, an eighth of the size of the PNG file.

    Raises:
        OSError: it cannot be read.
    """
    data = io.BytesIO()
    with Image.open(file) as image:
        image.convert("RGB").save(data, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
