"""Export a network as ONNX, torch.export program, safetensors, or a model card. Outputs are compared with PyTorch's."""

from __future__ import annotations

import argparse
from pathlib import Path

from fersweep.cli import arguments
from fersweep.text import printable, visible

USE = {
    ".onnx": 'probabilities, logits = onnxruntime.InferenceSession("{path}").run(None, {{"images": images}})',
    ".pt2": 'probabilities, logits = torch.export.load("{path}").module()(images)',
    ".safetensors": 'labels, probabilities, boxes = fersweep.Predictor("{path}")("photo.jpg")',
}


def add(parser: argparse.ArgumentParser) -> None:
    arguments.checkpoint(parser)
    parser.add_argument(
        "-o",
        metavar="FILE|DIR",
        type=Path,
        action="append",
        dest="outputs",
        help="output file .onnx, .pt2, .safetensors or .md (model card), or a folder for all four; may be repeated; "
        "default: model.onnx",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="weights in half precision: a .safetensors file, or a folder for it, a model card and card.json; "
        "default: model.safetensors",
    )


def run(parsed: argparse.Namespace) -> int:
    from fersweep.inference.export import about, files
    from fersweep.inference.trained import load

    trained = load(parsed.checkpoint, "cpu")
    lines, used = [], []
    usual = Path("model.safetensors" if parsed.half else "model.onnx")
    for path in files.places(parsed.outputs or [usual], parsed.half):
        difference = files.write(trained, path, parsed.half)
        lines.append(f"{printable(str(path))}  {path.stat().st_size / 1e6:,.1f} MB")
        if difference is not None:
            lines[-1] += f"  at most {difference.probabilities:.1e} from PyTorch's probabilities"
            lines[-1] += f", in {difference.images} images"
            used.append(f"  {USE[path.suffix.lower()].format(path=printable(str(path)))}")
    if used:
        shape = f"(batch, {trained.channels}, {trained.image_size}, {trained.image_size})"
        lines.append(f"images: uint8 {shape}, 0 to 255, as in training: {about.faces(trained)}")
        lines.append(f"classes: {visible(', '.join(trained.class_names))}")
    print("\n".join([*lines, *used]))  # only now: a reader such as `head`, which leaves, ends no half-written folder
    return 0
