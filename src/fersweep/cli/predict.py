"""Predict expressions in images, videos or a camera stream.

The network is the one that comes with fersweep, unless one is named: before the inputs, or with --checkpoint. Exit code
1 if an input is unreadable.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fersweep.cli import arguments
from fersweep.errors import UserError


def add(parser: argparse.ArgumentParser) -> None:
    what = "images, folders, patterns such as 'a/*.jpg', videos; or: camera N"
    arguments.inputs(parser, what, "+", several=True)
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
    parser.add_argument(
        "--detect-every",
        metavar="N",
        type=int,
        default=1,
        help="search every N-th frame of a video for faces, and follow them in the others; default: 1",
    )
    parser.add_argument("--frames", metavar="N", type=int, help="stop after N frames of a video or camera")
    arguments.device(parser)


def run(parsed: argparse.Namespace) -> int:
    from fersweep.inference import which
    from fersweep.inference.predict import run as predict

    parsed.checkpoint, inputs = which.split(parsed.words, parsed.checkpoint)
    if not inputs:
        raise UserError(f"{parsed.checkpoint} is a network: name {which.A_PICTURE}, after it.")
    parsed.inputs = tuple(inputs)
    return predict.run(predict.Job(**{name: getattr(parsed, name) for name in predict.Job.__dataclass_fields__}))
