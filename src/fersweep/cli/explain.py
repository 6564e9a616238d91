"""Show which parts of a face a network uses, with Grad-CAM and attention maps.

For each face in the images: Grad-CAM and attention maps, as pictures and arrays, and how much better than random maps
Grad-CAM is. The network is the one that comes with fersweep, unless one is named: before the images, or with
--checkpoint. A run without images: contact sheets of its test images, which `fersweep report` shows. Exit code 1 if an
image cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from fersweep.cli import arguments
from fersweep.errors import UserError
from fersweep.files import given
from fersweep.text import counted, printable


def add(parser: argparse.ArgumentParser) -> None:
    what = "images or folders of images; with a run alone, test images of its dataset, written to RUN/explanations"
    arguments.inputs(parser, what, "*")
    parser.add_argument("-o", metavar="OUT", type=Path, dest="out", help="output folder")
    arguments.detector(parser)
    arguments.device(parser)


def run(parsed: argparse.Namespace) -> int:
    from fersweep.inference import which

    parsed.checkpoint, inputs = which.split(parsed.words, parsed.checkpoint)
    parsed.images = [given(Path(each)) for each in inputs]
    if parsed.checkpoint is None and not parsed.images:
        raise UserError(f"Name images to explain, or a run ({arguments.NETWORK}).")
    if parsed.checkpoint is not None and not parsed.checkpoint.exists():
        raise UserError(f"There is no checkpoint {parsed.checkpoint}: give {arguments.NETWORK}.")
    if not parsed.images and (parsed.detector != "auto" or parsed.weights):
        raise UserError("--detector and --weights have no effect without images: name some, or omit them.")
    if parsed.images and parsed.out is None:
        raise UserError("Name the output folder with -o OUT.")
    if not parsed.images and parsed.out is None and not parsed.checkpoint.is_dir():
        raise UserError("Name images to explain, or a run directory, or the output folder with -o OUT.")

    return _explain_images(parsed) if parsed.images else _explain_test_set(parsed)


def _explain_images(parsed: argparse.Namespace) -> int:
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


def _explain_test_set(parsed: argparse.Namespace) -> int:
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
