"""Open a page on this machine to try a network: a picture or the camera in; boxes, probabilities, Grad-CAM out."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from fersweep.errors import UserError

HELP = "open a page to try a network with pictures or the camera"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        type=Path,
        help="a .ckpt file, the directory of a run, or a folder of runs: the mean of all",
    )
    parser.add_argument("--port", metavar="N", type=int, help="of 127.0.0.1; default: the first free one from 7860")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    parser.add_argument(
        "--detector",
        metavar="NAME",
        default="auto",
        help="mtcnn, yolo5face, or none: pictures as they are; default: as the training images were made",
    )
    parser.add_argument("--weights", metavar="FILE", type=Path, help="YOLO5Face's ONNX file")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")


def run(parsed: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; returns the exit code."""
    if find_spec("gradio") is None:
        raise UserError("fersweep demo needs gradio: uv sync --extra demo")

    from fersweep.inference import demo
    from fersweep.inference.predict import Predictor

    with demo.listen(parsed.port) as listener:  # before the network, which takes seconds
        predictor = Predictor(parsed.checkpoint, detector=parsed.detector, weights=parsed.weights, device=parsed.device)
        demo.serve(predictor, listener, parsed.open)
    return 0
