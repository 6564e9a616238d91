"""Entry point of a process that trains one rank of a run. Importing this imports everything that a run needs."""

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
from fersweep.text import shortened, visible
from fersweep.training.attempt import run_frozen, stop

targets.import_own()  # so that later edits of the code do not affect a running sweep

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL when the parent has died."""


def work(
    config: Mapping[str, Any],
    environment: Mapping[str, str],
    threads: int | None,
    output: Path | None,
    directory: Path | None = None,
) -> None:
    """Run ``config`` and exit with 0 (done), 1 (failed), 2 (a user's mistake) or `ELSEWHERE`.

    Args:
        config: resolved, as in ``config.yaml``.
        environment: variables of this rank: torch's rank variables, visible GPUs.
        threads: for torch; ``None`` leaves its default.
        output: file to which standard output and error are appended; ``None`` leaves them on the terminal.
        directory: working directory, to which paths in ``config`` are relative.
    """
    os.setpgid(0, 0)  # one process group with its data loaders, to end them together
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
    """Map the constants of torch's ELU into this process, which is many times slower without.

    After a fork, a page of a library is mapped when it is first read. AVX-512 code reads the constants for special
    values under a mask, which is empty for ordinary ones. The page is then never mapped, and every such read costs
    hundreds of cycles. Computing special values once maps it.
    """
    torch.expm1(torch.tensor((math.inf, -0.0) * 64))


def _code(config: Mapping[str, Any], console: bool) -> int:
    rank = os.environ.get("RANK", "0")
    try:
        run_frozen(config, console=console and rank == "0")
    except UserError as error:
        elsewhere = isinstance(error, LockedError | LockLostError)
        if console or not elsewhere:
            print(f"error: {visible(shortened(error))}", file=sys.stderr)
        return ELSEWHERE if elsewhere else 2
    except SystemExit as end:  # Lightning's on SIGTERM has no code, which would mean success
        return end.code if isinstance(end.code, int) and end.code else 143
    except Exception:  # noqa: BLE001 (the process ends here, with its code)
        if rank != "0" or Status.read(run_dir(config)).state != "failed":  # else it is in the log already
            print(visible(traceback.format_exc()), end="", file=sys.stderr)
        return 1
    return 0


def _end_with_parent() -> None:
    """End this process group when the parent process has died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE)
    os.killpg(0, signal.SIGKILL)
