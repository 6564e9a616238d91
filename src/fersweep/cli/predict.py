"""Predict expressions in images, videos or a camera stream. Exit code 1 if an input is unreadable."""

from __future__ import annotations

import argparse
from pathlib import Path

from fersweep.cli import arguments


def add(parser: argparse.ArgumentParser) -> None:
    arguments.checkpoint(parser, several=True)
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="images, folders, patterns such as 'a/*.jpg', videos; or: camera N"
    )
    parser.add_argument(
        "-o",
        metavar="OUT",
        type=Path,
        dest="out",
        help="folder for tables and annotated images, or a .csv or .jsonl file",
    )
    arguments.detector(parser)
    parser.add_argument("--choose", metavar="FACES", default="all", help="all (default), largest or confident")
    parser.add_argument("--smooth", metavar="SECONDS", type=float, help="averaging time in videos; default: 0.5")
    parser.add_argument("--every", metavar="N", type=int, default=1, help="use every N-th frame of a video")
    parser.add_argument("--frames", metavar="N", type=int, help="stop after N frames of a video or camera")
    arguments.device(parser)


def run(parsed: argparse.Namespace) -> int:
    from fersweep.inference.predict import run as predict

    parsed.inputs = tuple(parsed.inputs)
    return predict.run(predict.Job(**{name: getattr(parsed, name) for name in predict.Job.__dataclass_fields__}))
