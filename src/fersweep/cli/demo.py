"""Try a network in the browser, on images or the camera. The page shows faces, probabilities and Grad-CAM."""

from __future__ import annotations

import argparse

from fersweep.cli import arguments


def add(parser: argparse.ArgumentParser) -> None:
    arguments.checkpoint(parser, several=True)
    parser.add_argument("--port", metavar="N", type=int, help="port on 127.0.0.1; default: the first free from 7860")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    arguments.detector(parser)
    arguments.device(parser)


def run(parsed: argparse.Namespace) -> int:
    from fersweep.inference import demo
    from fersweep.inference.predict import Predictor

    with demo.listen(parsed.port) as listener:  # before loading the network, which takes seconds
        predictor = Predictor(parsed.checkpoint, detector=parsed.detector, weights=parsed.weights, device=parsed.device)
        demo.serve(predictor, listener, parsed.open)
    return 0
