"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def checkpoint(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add CHECKPOINT, one network or, with ``several``, also an ensemble."""
    ensemble = ", or a folder of runs, whose probabilities are averaged" if several else ""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help=f"a .ckpt file or run directory{ensemble}")


def detector(parser: argparse.ArgumentParser) -> None:
    """Add the options of face detection with a trained network."""
    parser.add_argument(
        "--detector",
        metavar="NAME",
        default="auto",
        help="mtcnn, yolo5face, or none (the image is the face); default: as for the training images",
    )
    parser.add_argument("--weights", metavar="FILE", type=Path, help="ONNX file of yolo5face")


def device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")
