"""Run all parts and checks with ``--smoke``: ``uv run python -m benchmarks.smoke``.

They share one process, because half of the time of each would be imports, and compute with one thread.
"""

from __future__ import annotations

import os
import sys
import time

from benchmarks import CHECKS
from benchmarks.__main__ import main


def smoke() -> int:
    """Run everything; return the first exit code other than 0."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in ("", *CHECKS):
        print(f"\n{name or 'parts'}", flush=True)
        begun = time.perf_counter()
        code = main([*name.split(), "--smoke"])
        if code:
            return code
        print(f"{time.perf_counter() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(smoke())
