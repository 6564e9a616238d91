"""Run all parts and checks with ``--smoke``: ``uv run python -m benchmarks.smoke``.

Three processes take the checks in turn, those that take longest first, and compute with one thread each: a check mostly
waits for the processes that it starts, and half of the time of one alone would be imports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from benchmarks import CHECKS

LONGEST = ("search", "chaos", "")
"""Names to begin with; the empty one stands for all parts."""

AT_ONCE = 3


def captured(name: str) -> tuple[int, str]:
    """Run one check, or the parts (empty name), in this process; return its exit code, and its output and time."""
    from benchmarks.__main__ import main

    begun = time.perf_counter()
    with tempfile.TemporaryFile() as file:
        kept = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):  # the files, not `sys.stdout`: also what the processes of a check print
            os.dup2(file.fileno(), number)
        try:
            code = main([*name.split(), "--smoke"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except Exception:  # noqa: BLE001 (of a check that has a fault: its output is shown, too)
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
        file.seek(0)
        output = file.read().decode(errors="replace")
    return code, f"{output}{time.perf_counter() - begun:.0f} s"


def smoke(names: Sequence[str] = ("", *CHECKS)) -> int:
    """Run everything; print each output when it is complete, and return the first exit code other than 0."""
    os.environ["OMP_NUM_THREADS"] = "1"
    order = sorted(names, key=lambda name: LONGEST.index(name) if name in LONGEST else len(LONGEST))
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(captured, name): name for name in order}
        for each in as_completed(running):
            code, output = each.result()
            print(f"\n{running[each] or 'parts'}\n{output}", flush=True)
            if code:
                pool.shutdown(wait=True, cancel_futures=True)
                return code
    return 0


if __name__ == "__main__":
    sys.exit(smoke())
