"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

NETWORK = "a run's directory, a .ckpt or a .safetensors file"
SEVERAL = ", or a folder of runs, whose probabilities are averaged"


def checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add CHECKPOINT, one network."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help=NETWORK)


def inputs(parser: argparse.ArgumentParser, what: str, nargs: str, several: bool = False) -> None:
    """Add inputs, before which a network may stand, and --checkpoint, which names it otherwise.

    `fersweep.inference.which.split` divides ``words`` into the two.
    """
    first = f"; the first may be the network instead: {NETWORK}{SEVERAL if several else ''}"
    parser.usage = f"%(prog)s [CHECKPOINT] {'INPUT [INPUT ...]' if nargs == '+' else '[INPUT ...]'} [options]"
    parser.add_argument("words", metavar="INPUT", nargs=nargs, help=what + first)
    named(parser, several)


def named(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add --checkpoint."""
    parser.add_argument(
        "--checkpoint",
        metavar="CHECKPOINT",
        type=Path,
        help=f"the network: {NETWORK}{SEVERAL if several else ''}; default: the one that comes with fersweep",
    )


def detector(parser: argparse.ArgumentParser) -> None:
    """Add the options of face detection with a trained network."""
    parser.add_argument(
        "--detector",
        metavar="NAME",
        default="auto",
        help="mtcnn, libfacedetection (fast), yolo5face, or none (the image is the face); default: as for the training "
        "images",
    )
    parser.add_argument("--weights", metavar="FILE", type=Path, help="ONNX file of yolo5face")


def device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")
