"""ONNX beside PyTorch, for every network.

Every backbone with every attention that it takes is built with random weights, exported, and evaluated in onnxruntime
and in PyTorch on the same random images, in batches of 1, 3 and 17. Batch norms have the statistics of random images,
and the temperature spreads the logits like a trained network's, so that the probabilities differ. Prints a table in
Markdown; the exit code is 1 where a difference is larger than allowed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from benchmarks.report import markdown
from fersweep import build
from fersweep.config.compose import compose_config
from fersweep.config.options import option_file, options
from fersweep.data.samples import CLASSES
from fersweep.errors import UserError
from fersweep.inference.export import onnx_file
from fersweep.inference.trained import Trained
from fersweep.models.fast import speed_up

SPREAD = 3.0
"""Standard deviation of the logits after division by the temperature."""

SMOKE = (("resnet50", "cbam", ("backbone.model.depths=[1,1,1,1]",)), ("aer_cnn", "none", ()))


def networks(smoke: bool) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield backbone, attention and further overrides of every network."""
    if smoke:
        yield from SMOKE
        return
    for backbone in options("backbone"):
        for attention in options("attention") if option_file("backbone", backbone)["attention_position"] else ("none",):
            yield backbone, attention, ()


def trained(*overrides: str) -> Trained:
    """Return a network with random weights, but batch norm statistics and a temperature as after training."""
    cfg = compose_config(list(overrides))
    torch.manual_seed(0)
    network = speed_up(build.model(cfg, len(CLASSES)))
    images = torch.rand(16, cfg.dataset.channels, cfg.dataset.image_size, cfg.dataset.image_size)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches: here one
    with torch.no_grad():
        network.train()(images)
        network.eval().requires_grad_(False)
        temperature = float(network(images).std()) / SPREAD
    return Trained(Path("random weights"), network, cfg, CLASSES, temperature, torch.device("cpu"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fidelity", choices=options("fidelity"), default="paper", help="default: %(default)s")


def run(asked: argparse.Namespace) -> int:
    """Print the table."""
    size = 45 if asked.smoke else 48  # 45 gives the maps that AER-CNN fuses odd numbers of rows: 23, 12, 6
    print(f"fidelity={asked.fidelity}, {size}×{size} pixels\n")
    header = ("Backbone", "Attention", "Probabilities differ by", "Logits, relative", "MB", "Seconds")
    markdown(header, header=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for backbone, attention, further in networks(asked.smoke):
            names = (f"backbone={backbone}", f"attention={attention}", f"fidelity={asked.fidelity}")
            network = trained(*names, f"dataset.image_size={size}", *further)
            try:
                cells = exported(network, Path(folder) / "model.onnx")
            except UserError as error:
                failed += 1
                cells = [str(error), "", "", ""]
            markdown((backbone, attention, *cells))
    return 1 if failed else 0


def exported(network: Trained, path: Path) -> list[str]:
    """Export a network, and return the last four cells of its row."""
    begun = time.perf_counter()
    probabilities, logits, _ = onnx_file.write(network, path)
    seconds = time.perf_counter() - begun
    return [f"{probabilities:.1e}", f"{logits:.1e}", f"{path.stat().st_size / 1e6:.1f}", f"{seconds:.0f}"]
