"""`fersweep bench --smoke` and every program beside this one with ``--smoke``: ``uv run python benchmarks/smoke.py``.

One process, and one thread: half of what each takes alone is importing, and two threads wait for each other where
something else computes too.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path

import torch

from fersweep.cli.main import main as fersweep

HERE = Path(__file__).resolve()


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    programs = sorted(each for each in HERE.parent.glob("*.py") if each != HERE)
    for program in (None, *programs):
        print(f"\n{program.stem if program else 'fersweep bench'}", flush=True)
        begun = time.perf_counter()
        try:
            if program is None:
                raise SystemExit(fersweep(["bench", "--smoke"]))
            sys.argv = [str(program), "--smoke"]
            runpy.run_path(str(program), run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
        print(f"{time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
