"""Speed and memory, part by part, always as ratios: ``uv run python -m benchmarks`` in a checkout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import PARTS
from benchmarks.run import bench
from fersweep.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The command line of the benchmarks."""
    listed = "; ".join(f"{name}: {what}" for name, what in PARTS.items())
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed and memory on synthetic data. Each figure is a median with the smallest and the "
        "largest of several rounds; in each round everything that is compared takes a turn. On a shared machine trust "
        "the ratios rather than the figures.",
    )
    made.add_argument("parts", metavar="PART", nargs="*", help=f"{listed}. Default: all")
    made.add_argument("--backbone", metavar="NAME", nargs="+", help="default: resnet50 vgg19 aer_cnn")
    made.add_argument("--batch", metavar="N", nargs="+", type=int, help="images per training step; default: 64")
    made.add_argument("--image-size", metavar="PIXELS", type=int, help="default: 48")
    made.add_argument("--repeats", metavar="N", type=int, help="rounds; default: 5")
    made.add_argument("--threads", metavar="N", type=int, help="CPU threads; default: one per core, or OMP_NUM_THREADS")
    made.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")
    made.add_argument("--fer2013", metavar="PATH", type=Path, help="its archive or folder, for the part data")
    made.add_argument("--json", metavar="FILE", help="also write everything to a file; -: print it instead of tables")
    made.add_argument("--smoke", action="store_true", help="the least possible of everything, to see that it runs")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return 0, or 2 for what the user got wrong."""
    asked = parser().parse_args(arguments)
    try:
        bench(
            asked.json,
            parts=asked.parts,
            backbones=asked.backbone,
            batches=asked.batch,
            image_size=asked.image_size,
            repeats=asked.repeats,
            threads=asked.threads,
            device=asked.device,
            smoke=asked.smoke,
            fer2013=asked.fer2013,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
