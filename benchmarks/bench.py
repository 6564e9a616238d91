"""How fast the parts are, in one run, as ratios: ``uv run python benchmarks/bench.py [--smoke]``.

Every figure is a median over repeats, with its least and greatest. Compare figures of one run only: machines differ,
and shared ones differ from minute to minute. ``--smoke`` takes seconds and checks that everything still runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from fersweep import build
from fersweep.callbacks import precision
from fersweep.compose import compose_config
from fersweep.data import augment, cache
from fersweep.data.datamodule import BatchDataset, BatchKey
from fersweep.models import build_model


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of ``repeats`` calls, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return seconds


def train_step(model: nn.Module, channels: int, image_size: int, batch: int, bf16: bool) -> Callable[[], object]:
    """One bare training step, the batch already in memory."""
    model = model.to(memory_format=torch.channels_last).train()
    images, labels = torch.rand(batch, channels, image_size, image_size), torch.randint(0, 7, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def networks(repeats: int, batch: int) -> dict[str, tuple[int, list[float]]]:
    """Training steps: torchvision's ResNet-50 and ours, per precision and attention."""
    from torchvision.models import resnet50

    cases: dict[str, Callable[[], object]] = {}
    best = precision("auto", torch.device("cpu")) == "bf16-mixed"
    for name, bf16 in (("fp32", False), *((("bf16", True),) if best else ())):
        cases[f"train torchvision resnet50 {name}"] = train_step(resnet50(num_classes=7), 3, 48, batch, bf16)
        for attention in ("none", "se", "eca", "cbam"):
            ours = build_model("resnet50", attention, "relu", "paper")
            cases[f"train resnet50+{attention} {name}"] = train_step(ours, 1, 48, batch, bf16)
    return {name: (batch, timed(step, repeats)) for name, step in cases.items()}


def data(repeats: int, size: int, folder: Path) -> dict[str, tuple[int, list[float]]]:
    """Drawing, the cache, and each augmentation."""
    cfg = compose_config([f"dataset.source.size={size}"])
    source = build.source(cfg)
    samples = cache.load(source, folder)
    results = {
        "draw synthetic faces": (size, timed(source.load, 1)),
        "open cached dataset": (size, timed(lambda: cache.load(source, folder), repeats)),
    }
    chosen = torch.arange(64).numpy() % size
    key = BatchKey(indices=chosen, seed=1, whole=chosen)
    for name in ("none", "flip_zoom", "standard"):
        transform = build.make(compose_config([f"augmentation={name}"]).augmentation.transform)(image_size=48)
        augment.apply(transform, samples.images[:1], 0)
        dataset = BatchDataset(samples, transform)
        results[f"batch with {name}"] = (64, timed(lambda dataset=dataset: dataset[key], repeats))
    return results


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, not minutes; the figures mean nothing")
    smoke = parser.parse_args().smoke
    with tempfile.TemporaryDirectory() as folder:
        results = data(2 if smoke else 20, 70 if smoke else 3000, Path(folder))
    results |= networks(1 if smoke else 7, 4 if smoke else 64)
    table = Table("what", "images/s (median)", "least", "greatest", title=f"{torch.get_num_threads()} threads")
    for name, (images, seconds) in results.items():
        rates = [images / each for each in seconds]
        table.add_row(name, *(f"{rate:,.0f}" for rate in (statistics.median(rates), min(rates), max(rates))))
    Console().print(table)


if __name__ == "__main__":
    main()
