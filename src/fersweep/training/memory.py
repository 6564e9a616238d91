"""How much memory there is, and how the C library hands it back to the system while a network is trained on a CPU."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Numbers of glibc's ``malloc.h``."""


CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how many bytes a container may have; ``max`` stands for all."""


def there() -> int:
    """How many bytes the processes of this machine, or container, can have together."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CONTAINER.read_text(encoding="ascii").strip() if CONTAINER.is_file() else "max"
    return min(machine, int(limit)) if limit.isdigit() else machine


def keep_freed() -> None:
    """Keep what is freed for the next step, where the C library is glibc; elsewhere nothing happens.

    By default glibc returns large blocks to the system when they are freed, and every step of training takes them anew,
    page by page: a quarter of a VGG-19's time (docs/explanation/performance.md). The process keeps the most it ever needed.
    """
    _set({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1})


def return_freed() -> None:
    """What glibc does by itself once blocks of 32 MiB have been freed; for comparisons."""
    _set({M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: 2**26})


def _set(options: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
