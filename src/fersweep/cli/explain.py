"""Show where a network looks.

For each face in pictures: Grad-CAM, the gates of attention, arrays of both, and how much better than random maps
Grad-CAM is. Without pictures: contact sheets of a run's own test images, which `fersweep report` shows. Exit code 1 if
a picture cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from fersweep.errors import UserError
from fersweep.text import counted, printable

HELP = "show where a network looks: Grad-CAM and attention, and what the pictures are worth"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a .ckpt file or the directory of a run")
    parser.add_argument(
        "images",
        metavar="IMAGE",
        type=Path,
        nargs="*",
        help="pictures, or folders of them; none: test images of the run's dataset, into RUN/explanations",
    )
    parser.add_argument("-o", metavar="OUT", type=Path, dest="out", help="the folder to write")
    parser.add_argument(
        "--detector",
        default="auto",
        help="mtcnn, yolo5face, or none: pictures as they are; default: as the training images were made",
    )
    parser.add_argument("--weights", metavar="FILE", type=Path, help="those of yolo5face, an ONNX file")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")


def run(parsed: argparse.Namespace) -> int:
    """Explain; returns 1 where a picture cannot be read."""
    if not parsed.images and (parsed.detector != "auto" or parsed.weights):
        raise UserError("--detector and --weights have no effect without pictures: name some, or leave them out.")
    if parsed.images and parsed.out is None:
        raise UserError("Say where the pictures go, with -o OUT.")
    if not parsed.images and parsed.out is None and not parsed.checkpoint.is_dir():
        raise UserError("Name pictures to explain, or the directory of a run, or say where its sheets go, with -o OUT.")

    return _pictures(parsed) if parsed.images else _test(parsed)


def _pictures(parsed: argparse.Namespace) -> int:
    from fersweep.faces.table import NO_FACE
    from fersweep.inference.explain.files import TABLE, explain_files
    from fersweep.inference.predict import Predictor

    predictor = Predictor(parsed.checkpoint, detector=parsed.detector, weights=parsed.weights, device=parsed.device)
    if len(predictor.trained) > 1:
        raise UserError(f"{parsed.checkpoint} holds {len(predictor.trained)} runs: name one of them.")
    rows = explain_files(predictor, parsed.images, parsed.out)
    for row in rows:
        if "reason" in row:
            print(printable(f"{row['file']}: {row['reason']}"))
    print(f"{counted(sum('folder' in row for row in rows), 'face')} explained", end="")
    if useless := sum(row.get("worth", "").startswith("no better") for row in rows):
        print(f"; on {useless} Grad-CAM is no better than random maps, by deletion and by insertion", end="")
    print(f"\n{printable(str(parsed.out / TABLE))}")
    _warn(predictor.caveats)
    return 1 if any(row.get("reason", NO_FACE) != NO_FACE for row in rows) else 0


def _test(parsed: argparse.Namespace) -> int:
    from fersweep.inference import trained
    from fersweep.inference.explain.testset import explain_test
    from fersweep.report.explained import FOLDER, gains

    out = parsed.out or parsed.checkpoint / FOLDER
    network = trained.load(parsed.checkpoint, parsed.device)
    summary = explain_test(network, out)
    print(gains(summary))
    for name in summary["sheets"].values():
        print(printable(str(out / name)))
    _warn(network.caveats)
    return 0


def _warn(caveats: Iterable[str]) -> None:
    for caveat in caveats:
        print(f"warning: {caveat}", file=sys.stderr)
