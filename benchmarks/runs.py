"""Runs in their own processes, as a sweep starts them, and sweeps."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from multiprocessing import connection
from typing import Any

from rich.console import Console

from benchmarks.settings import Settings
from fersweep.errors import UserError
from fersweep.sweep.local.board import Board
from fersweep.sweep.local.devices import DevicePool, visible_gpus
from fersweep.sweep.local.launch import LocalSweep
from fersweep.sweep.local.place import LocalPlace
from fersweep.sweep.local.processes import RunProcesses, warm_up
from fersweep.sweep.plan import Planned, freeze
from fersweep.training.attempt import prepare

_seeds = count(1)


def new_seed() -> str:
    """Return an override with a seed that no earlier run of this process has: each run gets its own directory."""
    return f"seed={next(_seeds)}"


def wait_for_server() -> None:
    """Start the fork server, if it does not run yet, and wait for its imports."""
    warm_up()
    process = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()


@contextmanager
def forked(target: Callable[..., object], *arguments: Any) -> Iterator[connection.Connection]:
    """Call ``target(*arguments, connection)`` in a process forked from the server; yield the other end."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()  # so that the end of the process is noticed
    try:
        yield ours
    finally:
        ours.close()
        process.join()


def finish(run: RunProcesses, look: Callable[[], None] = lambda: None) -> None:
    """Wait for a run, and call ``look`` every 20 ms meanwhile.

    Raises:
        UserError: if the run fails.
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
    """Raise UserError if there is a reason for a run's failure."""
    if why is not None:
        raise UserError(f"A run of the benchmark failed: {why}.")


def seconds_of_sweep(settings: Settings, overrides: Sequence[str], runs: int, jobs: int | None) -> float:
    """Return the duration of a sweep over ``runs`` new seeds, ``jobs`` at a time (``None``: the default number)."""
    share = 1 / jobs if jobs is not None and settings.device.type == "cuda" else None
    planned = [Planned((), *prepare(settings.compose(*overrides, new_seed()))) for _ in range(runs)]
    freeze(planned)
    place = LocalPlace(planned, jobs, share)
    place.threads = max(1, settings.threads // min(place.slots, runs))
    place.pool = DevicePool(visible_gpus()[:1])  # one device, even where there are more
    sweep = LocalSweep(planned, place, Board(Console(quiet=True)))
    begun = time.perf_counter()
    outcomes = sweep.run()
    taken = time.perf_counter() - begun
    for outcome in outcomes:
        refuse_failure(outcome.error)
        shutil.rmtree(outcome.planned.directory)
    return taken
