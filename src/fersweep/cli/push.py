"""Put a trained network on the Hugging Face Hub: ONNX, torch.export, safetensors and a model card, each checked."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "put a trained network on the Hugging Face Hub, with a model card"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a .ckpt file, or the directory of a run")
    parser.add_argument("repo", metavar="REPO", help="OWNER/NAME, or NAME for your own; made where it is missing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")


def run(parsed: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from fersweep.inference.export import hub

    print(hub.push(parsed.checkpoint, parsed.repo, parsed.private))
    return 0
