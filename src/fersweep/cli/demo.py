"""Try a network in the browser, on images or the camera. The page shows faces, probabilities and Grad-CAM."""

from __future__ import annotations

import argparse
from pathlib import Path

from fersweep.cli import arguments
from fersweep.errors import UserError


def add(parser: argparse.ArgumentParser) -> None:
    its = f"the network: {arguments.NETWORK}{arguments.SEVERAL}; default: the one that comes with fersweep"
    parser.add_argument("network", metavar="CHECKPOINT", type=Path, nargs="?", help=its)
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", type=Path, help="the same")
    parser.add_argument("--port", metavar="N", type=int, help="port on 127.0.0.1; default: the first free from 7860")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    arguments.detector(parser)
    arguments.device(parser)


def run(parsed: argparse.Namespace) -> int:
    from fersweep.inference import demo
    from fersweep.inference.predict import Predictor

    if parsed.network is not None and parsed.checkpoint is not None:
        raise UserError(f"{parsed.network} and --checkpoint {parsed.checkpoint} are two networks: name one.")
    network = parsed.network or parsed.checkpoint
    with demo.listen(parsed.port) as listener:  # before loading the network, which takes seconds
        predictor = Predictor(network, detector=parsed.detector, weights=parsed.weights, device=parsed.device)
        demo.serve(predictor, listener, parsed.open)
    return 0
