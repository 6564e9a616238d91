"""Detect faces in images and crop them.

Crops keep the folder tree of the images; faces.csv lists them. The same command resumes after an interruption and adds
new images. Exit code 1 if images are unreadable.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fersweep.cli import arguments
from fersweep.errors import UserError
from fersweep.text import printable

PRESETS = {"study": {"choose": "confident", "confidence": 0.5, "margin": 0.0, "size": 80}}
"""``study``: the study's crops of CK+ and JAFFE."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path, help="an image, or a folder of images at any depth")
    parser.add_argument("folder", metavar="OUT", type=Path, help="a new folder, or that of an earlier command")
    parser.add_argument(
        "--detector",
        metavar="NAME",
        help="mtcnn, libfacedetection, yolo5face, or none (the image is the face); default: mtcnn, or yolo5face with "
        "--weights",
    )
    parser.add_argument("--weights", metavar="FILE", type=Path, help="ONNX file of yolo5face")
    parser.add_argument(
        "--confidence",
        metavar="X",
        type=float,
        help="minimum confidence of a face; default: 0.9 (mtcnn), 0.5 (libfacedetection, yolo5face)",
    )
    parser.add_argument(
        "--choose", choices=("all", "largest", "confident"), help="which faces of an image to keep; default: confident"
    )
    parser.add_argument(
        "--margin", metavar="F", type=float, help="margin on each side as a fraction of the box; default: 0"
    )
    parser.add_argument("--align", action="store_true", help="rotate the image so that the eyes are level")
    parser.add_argument("--size", metavar="N", type=int, help="side of a crop in pixels; default: that of the box")
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="the study's crop: --choose confident --confidence 0.5 --margin 0 --size 80",
    )
    arguments.device(parser)
    parser.add_argument(
        "--jobs", metavar="N", type=int, help="threads that read and write; default: one per core, at most 4"
    )


def run(parsed: argparse.Namespace) -> int:
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
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("images")
        rows = extract.extract(
            source, folder, detector, cropping, jobs, lambda done, of: progress.update(bar, completed=done, total=of)
        )
    print(table.summary(rows))
    print(printable(str(folder / table.FILE_NAME)))
    return 1 if any(row.unreadable for its in rows.values() for row in its) else 0


def _fill(parsed: argparse.Namespace) -> None:
    """Fill in the preset and the defaults, and check ranges."""
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
    if parsed.align and parsed.detector in ("none", "libfacedetection"):
        raise UserError(
            f"--align has no effect with --detector {parsed.detector}, which finds no eyes: omit one of them."
        )
