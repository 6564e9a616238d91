"""Memory of the machine, and glibc's policy of returning freed memory to the system."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Option numbers of glibc's ``malloc.h``."""

CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""File with the memory limit of a Linux container in bytes, or ``max``."""


def there() -> int:
    """Return the bytes of memory that this machine or container has."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CONTAINER.read_text(encoding="ascii").strip() if CONTAINER.is_file() else "max"
    return min(machine, int(limit)) if limit.isdigit() else machine


def keep_freed() -> None:
    """Keep freed memory in the process for the next training step; without glibc this does nothing.

    By default glibc returns large blocks to the system, and every step faults them in again page by page, which costs a
    quarter of VGG-19's training time (docs/explanation/performance.md). The process then stays at its peak memory.
    """
    _set({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1})


def return_freed() -> None:
    """Set the thresholds that glibc adapts to after blocks of 32 MiB were freed; for benchmarks."""
    _set({M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: 2**26})


def _set(options: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
