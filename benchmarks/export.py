"""How near ONNX is to PyTorch, over all networks: ``uv run python -m benchmarks.export [--smoke] [--fidelity NAME]``.

Every backbone with every attention it can have is built with random weights, exported and asked in onnxruntime and in
PyTorch about the same random images, in batches of 1, 3 and 17. Batch norms get the statistics of random images, and
the temperature makes the logits spread as a trained network's do, so that the probabilities are not all alike. Prints
a table in Markdown, and ends with code 1 where one differs by more than is allowed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from fersweep import build
from fersweep.config.compose import compose_config
from fersweep.config.options import option_file, options
from fersweep.data.samples import CLASSES
from fersweep.errors import UserError
from fersweep.inference.export import onnx_file
from fersweep.inference.trained import Trained

SPREAD = 3.0
"""Standard deviation of the logits that go into the softmax."""

SMOKE = (("resnet50", "cbam", ("backbone.model.depths=[1,1,1,1]",)), ("aer_cnn", "none", ()))


def networks(smoke: bool) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Backbone, attention and further settings of every network."""
    if smoke:
        yield from SMOKE
        return
    for backbone in options("backbone"):
        for attention in options("attention") if option_file("backbone", backbone)["attention_position"] else ("none",):
            yield backbone, attention, ()


def trained(*overrides: str) -> Trained:
    """A network as if it were trained: random weights, norms that know the images, a temperature."""
    cfg = compose_config(list(overrides))
    torch.manual_seed(0)
    network = build.model(cfg, len(CLASSES))
    images = torch.rand(16, cfg.dataset.channels, cfg.dataset.image_size, cfg.dataset.image_size)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches seen, of which there is one
    with torch.no_grad():
        network.train()(images)
        network.eval().requires_grad_(False)
        temperature = float(network(images).std()) / SPREAD
    return Trained(Path("random weights"), network, cfg, CLASSES, temperature, torch.device("cpu"))


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two small networks, to see that it runs")
    parser.add_argument("--fidelity", choices=options("fidelity"), default="paper", help="default: %(default)s")
    parsed = parser.parse_args()
    size = 45 if parsed.smoke else 48  # 45: what AER-CNN fuses has maps of 23, 12 and 6 rows
    print(f"fidelity={parsed.fidelity}, {size}×{size} pixels\n")
    print("| Backbone | Attention | Probabilities differ by | Logits, relative | MB | Seconds |")
    print("|---|---|---|---|---|---|")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for backbone, attention, further in networks(parsed.smoke):
            names = (f"backbone={backbone}", f"attention={attention}", f"fidelity={parsed.fidelity}")
            network = trained(*names, f"dataset.image_size={size}", *further)
            begun = time.perf_counter()
            try:
                probabilities, logits, _ = onnx_file.write(network, path)
            except UserError as error:
                failed += 1
                print(f"| {backbone} | {attention} | {error} | | | |", flush=True)
                continue
            seconds = time.perf_counter() - begun
            cells = (f"{probabilities:.1e}", f"{logits:.1e}", f"{path.stat().st_size / 1e6:.1f}", f"{seconds:.0f}")
            print(f"| {backbone} | {attention} | {' | '.join(cells)} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
