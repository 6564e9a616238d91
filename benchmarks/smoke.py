"""Run every benchmark with ``--smoke``: ``uv run python -m benchmarks.smoke``.

One process, and one thread: half of what each takes alone is importing, and two threads wait for each other where
something else computes too.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

import torch

PROGRAMS = ("__main__", "chaos", "comparisons", "export", "faces", "predict")
"""The modules of this package that are commands."""


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    for program in PROGRAMS:
        print(f"\n{program}", flush=True)
        begun = time.perf_counter()
        try:
            sys.argv = [program, "--smoke"]
            runpy.run_module(f"benchmarks.{program}", run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
        print(f"{time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
