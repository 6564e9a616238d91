"""Say what faces express: in pictures, folders, videos, or before a camera. Exit code 1 if something was unreadable."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "say what faces in pictures, videos or before a camera express"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="a run, its .ckpt, or a folder of runs: their mean"
    )
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="pictures, folders, patterns such as 'a/*.jpg', videos; or: camera N"
    )
    parser.add_argument(
        "-o",
        metavar="OUT",
        type=Path,
        dest="out",
        help="a folder for tables and annotated pictures; or a .csv or .jsonl file",
    )
    parser.add_argument(
        "--detector",
        default="auto",
        help="mtcnn, yolo5face, or none: pictures as they are; default: as the training images were made",
    )
    parser.add_argument("--weights", metavar="FILE", type=Path, help="YOLO5Face as an ONNX file")
    parser.add_argument("--choose", default="all", help="of several faces: all (default), largest, confident")
    parser.add_argument(
        "--smooth",
        metavar="SECONDS",
        type=float,
        help="average over so long in videos; default: 0.5",
    )
    parser.add_argument("--every", metavar="N", type=int, default=1, help="look at every N-th frame of a video")
    parser.add_argument("--frames", metavar="N", type=int, help="stop after N frames of a video or camera")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")


def run(parsed: argparse.Namespace) -> int:
    """Predict; returns 0, or 1 where something could not be read."""
    from fersweep.inference.predict.run import Job
    from fersweep.inference.predict.run import run as predict

    return predict(
        Job(
            checkpoint=parsed.checkpoint,
            inputs=tuple(parsed.inputs),
            out=parsed.out,
            detector=parsed.detector,
            weights=parsed.weights,
            choose=parsed.choose,
            device=parsed.device,
            smooth=parsed.smooth,
            every=parsed.every,
            frames=parsed.frames,
        )
    )
