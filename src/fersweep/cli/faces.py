"""Find faces in pictures and cut them out into a folder of the same tree, with a table.

The same call again goes on where one was interrupted, and with new pictures. Exit code 1 if pictures are unreadable.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fersweep.errors import UserError
from fersweep.text import printable

HELP = "find faces in pictures and cut them out"

PRESETS = {"study": {"choose": "confident", "confidence": 0.5, "margin": 0.0, "size": 80}}
"""``study``: its crops of CK+ and JAFFE."""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("source", metavar="IN", type=Path, help="a picture, or a folder of pictures at any depth")
    parser.add_argument("folder", metavar="OUT", type=Path, help="a new folder, or that of an earlier call")
    parser.add_argument(
        "--detector",
        metavar="NAME",
        help="mtcnn, yolo5face, or none: the picture is the face; default: mtcnn, or yolo5face with --weights",
    )
    parser.add_argument("--weights", metavar="FILE.onnx", type=Path, help="of yolo5face")
    parser.add_argument(
        "--confidence", metavar="X", type=float, help="faces above it; default: 0.9 (mtcnn), 0.5 (yolo5face)"
    )
    parser.add_argument(
        "--choose", choices=("all", "largest", "confident"), help="faces of a picture; default: confident"
    )
    parser.add_argument(
        "--margin", metavar="F", type=float, help="added on each side, as a part of the box; default: 0"
    )
    parser.add_argument("--align", action="store_true", help="turn the picture so that the eyes are level")
    parser.add_argument("--size", metavar="N", type=int, help="pixels a side; default: those of the box")
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="the study's crop: --choose confident --confidence 0.5 --margin 0 --size 80",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")
    parser.add_argument(
        "--jobs", metavar="N", type=int, help="threads that read and write; default: one a core, at most 4"
    )


def run(parsed: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    import os
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fersweep.faces import detectors, extract, table

    _fill(parsed)
    source, folder = parsed.source, parsed.folder
    detector = detectors.make(
        parsed.detector, weights=parsed.weights, confidence=parsed.confidence, device=parsed.device
    )
    cropping = extract.Cropping(parsed.choose, parsed.margin, parsed.align, parsed.size)
    jobs = parsed.jobs or min(os.cpu_count() or 1, 4)
    columns = (TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("pictures")
        rows = extract.extract(
            source, folder, detector, cropping, jobs, lambda done, of: progress.update(bar, completed=done, total=of)
        )
    print(table.summary(rows))
    print(printable(str(folder / table.FILE_NAME)))
    return 1 if any(row.unreadable for its in rows.values() for row in its) else 0


def _fill(parsed: argparse.Namespace) -> None:
    """Put the preset's values, then the defaults, where nothing is asked for, and refuse what makes no sense."""
    defaults = {"choose": "confident", "margin": 0.0, "detector": "mtcnn" if parsed.weights is None else "yolo5face"}
    preset = dict(PRESETS.get(parsed.preset, {}))
    if parsed.detector == "none":
        preset.pop("confidence", None)
    for name, value in {**defaults, **preset}.items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)
    if not 0 <= parsed.margin <= 2:
        raise UserError(f"--margin {parsed.margin} is out of range: choose 0 to 2.")
    if parsed.size is not None and not 1 <= parsed.size <= 4096:
        raise UserError(f"--size {parsed.size} is out of range: choose 1 to 4096 pixels.")
    if parsed.jobs is not None and parsed.jobs < 1:
        raise UserError(f"--jobs {parsed.jobs} is out of range: choose 1 or more.")
    if parsed.align and parsed.detector == "none":
        raise UserError("--align has no effect with --detector none, which knows no eyes: leave one of them out.")
