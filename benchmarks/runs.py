"""Runs of the benchmark in processes of their own, as a sweep starts them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing import connection

from fersweep.errors import UserError
from fersweep.sweep.local.processes import RunProcesses, warm_up


def wait_for_server() -> None:
    """Start the fork server, if there is none yet, and wait until it has imported what runs need."""
    warm_up()
    process = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()


def finish(run: RunProcesses, look: Callable[[], None] = lambda: None) -> None:
    """Wait for a run; ``look`` is called every 20 ms meanwhile.

    Raises:
        UserError: where it failed.
    """
    try:
        while not run.ended():
            look()
            connection.wait(run.sentinels, timeout=0.02)
    except BaseException:
        run.end()
        raise
    refuse_failure(run.failure())


def refuse_failure(why: str | None) -> None:
    """Raise UserError where there is a reason why a run failed."""
    if why is not None:
        raise UserError(f"A run of the benchmark failed: {why}.")
