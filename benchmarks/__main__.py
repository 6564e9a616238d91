"""The command line: ``uv run python -m benchmarks [PART ...]`` or ``python -m benchmarks CHECK``, in a checkout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks import CHECKS, PARTS
from fersweep.errors import UserError

SMOKE = "smallest size of everything, to see that it runs; the figures mean nothing"


def parser() -> argparse.ArgumentParser:
    """Return the parser for the parts."""
    parts, checks = ("; ".join(f"{name}: {what}" for name, what in each.items()) for each in (PARTS, CHECKS))
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed and memory on synthetic data. Each figure is the median, minimum and maximum of "
        "several rounds; in each round, everything that is compared takes a turn. On a shared machine, trust "
        "ratios rather than figures.",
        epilog=f"In place of parts, the name of one check, which has its own --help: {checks}.",
    )
    made.add_argument("parts", metavar="PART", nargs="*", help=f"{parts}. Default: all")
    made.add_argument("--backbone", metavar="NAME", nargs="+", dest="backbones", help="default: resnet50 vgg19 aer_cnn")
    made.add_argument(
        "--batch", metavar="N", nargs="+", type=int, dest="batches", help="images per training step; default: 64"
    )
    made.add_argument("--image-size", metavar="PIXELS", type=int, help="default: 48")
    made.add_argument("--repeats", metavar="N", type=int, help="rounds; default: 5")
    made.add_argument("--threads", metavar="N", type=int, help="CPU threads; default: one per core, or OMP_NUM_THREADS")
    made.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")
    made.add_argument("--fer2013", metavar="PATH", type=Path, help="archive or folder of FER2013, for the part data")
    made.add_argument("--json", metavar="FILE", help="also write everything to a file; -: print it instead of tables")
    made.add_argument("--smoke", action="store_true", help=SMOKE)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure parts, or run one check; return 0, 1 where a check fails, or 2 for a user's error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given and given[0] in CHECKS:
            return check(given[0], given[1:])
        from benchmarks.run import bench

        bench(**vars(parser().parse_args(given)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def check(name: str, arguments: Sequence[str]) -> int:
    """Run one of `benchmarks.CHECKS` with its own arguments; return the exit code."""
    module = import_module(f"benchmarks.checks.{name}")
    own = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own.add_argument("--smoke", action="store_true", help=SMOKE)
    module.add_arguments(own)
    code: int = module.run(own.parse_args(arguments))
    return code


if __name__ == "__main__":
    sys.exit(main())
