"""What a process does that was started for a run, as one rank of it. Importing this imports all that a run needs."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fersweep.config import targets
from fersweep.errors import LockLostError, UserError
from fersweep.report import figures  # noqa: F401 (matplotlib takes a second)
from fersweep.runs.identity import run_dir
from fersweep.runs.lock import ELSEWHERE, LockedError
from fersweep.runs.status import Status
from fersweep.training.attempt import run_frozen, stop

targets.import_own()  # so that whoever edits the code while a sweep runs changes none of its runs

GRACE = 10.0
"""Seconds that a process has to come to its end after it was told to."""


def work(
    config: Mapping[str, Any],
    environment: Mapping[str, str],
    threads: int | None,
    output: Path | None,
    directory: Path | None = None,
) -> None:
    """Run ``config`` and end the process with an exit code: 0 done, 1 failed, 2 a user's mistake, `ELSEWHERE`.

    Args:
        config: resolved, as in ``config.yaml``.
        environment: what to set for this rank: torch's rank variables, the GPUs it may see.
        threads: how many to compute with; ``None`` leaves it to torch.
        output: the file that everything printed is appended to; ``None`` leaves it on the terminal.
        directory: the working directory, to which the paths in ``config`` are relative.
    """
    os.setpgid(0, 0)  # a group of its own, with the loaders it starts, so that all of it can be ended
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if directory is not None:
        os.chdir(directory)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        torch.set_num_threads(threads)
    map_constants()
    sys.exit(_code(config, console=output is None))


def map_constants() -> None:
    """Have in this process's memory the constants that torch's ELU reads, which is many times slower without.

    After a fork, a page of a library is mapped when it is first read. AVX-512 code reads constants for odd numbers
    under a mask, which is empty for others: the page is never mapped, and every such read costs the processor hundreds
    of cycles. So here are odd numbers, once.
    """
    torch.expm1(torch.tensor((math.inf, -0.0) * 64))


def _code(config: Mapping[str, Any], console: bool) -> int:
    rank = os.environ.get("RANK", "0")
    try:
        run_frozen(config, console=console and rank == "0")
    except UserError as error:
        elsewhere = isinstance(error, LockedError | LockLostError)
        if console or not elsewhere:
            print(f"error: {error}", file=sys.stderr)
        return ELSEWHERE if elsewhere else 2
    except SystemExit as end:  # Lightning's on SIGTERM has no code, which would read as success
        return end.code if isinstance(end.code, int) and end.code else 143
    except Exception:  # noqa: BLE001 (the process ends here, with its code)
        if rank != "0" or Status.read(run_dir(config)).state != "failed":  # else it stands in the log
            traceback.print_exc()
        return 1
    return 0


def _end_with_parent() -> None:
    """End this process when the one that asked for it is gone, as a terminal's programs end with the terminal."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE)
    os.killpg(0, signal.SIGKILL)
