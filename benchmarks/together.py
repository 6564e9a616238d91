"""Two small runs at once on one device, beside two one after the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from itertools import count

from rich.console import Console

from benchmarks.efficiency import steps
from benchmarks.measure import Part, alternate, figures
from benchmarks.runs import refuse_failure, wait_for_server
from benchmarks.settings import Settings
from fersweep import build
from fersweep.sweep.local.board import Board
from fersweep.sweep.local.devices import DevicePool, visible_gpus
from fersweep.sweep.local.launch import LocalSweep
from fersweep.sweep.plan import Planned, freeze
from fersweep.training.attempt import prepare

RUNS = 2
JOBS = {"one after another": 1, "two at once": 2}


def measure(settings: Settings) -> Part:
    """Training images a second of sweeps of two runs, over all that a run takes from its start to its end.

    A run is 20 steps on a CPU, whose threads are shared out to the runs at work, and one epoch on a GPU.
    """
    data = build.datamodule(settings.compose(), build.samples(settings.compose()))
    limit = 2 if settings.smoke else 20 if settings.device.type == "cpu" else None
    wait_for_server()
    part, seeds = Part(notes=["A run is timed from its start to its end: validation, test and figures too."]), count(1)

    def trained(jobs: int, images: int, overrides: Sequence[str]) -> float:
        cfgs = [settings.compose(*overrides, f"seed={next(seeds)}") for _ in range(RUNS)]
        return RUNS * images / seconds_of_sweep([Planned((), *prepare(cfg)) for cfg in cfgs], jobs, settings)

    for case, overrides in settings.cases():
        own = (*overrides, "recipe.max_epochs=1", f"trainer.limit_batches={'null' if limit is None else limit}")
        images = sum(steps(len(data.split.train), int(case["batch"]), least=2)[:limit])
        contestants = {name: partial(trained, jobs, images, own) for name, jobs in JOBS.items()}
        rates = alternate(contestants, settings.repeats, warm_up=False)
        part.figures += figures("images/s", case, rates, {"two at once": "one after another"})
    return part


def seconds_of_sweep(runs: Sequence[Planned], jobs: int | None, settings: Settings) -> float:
    """Seconds that a sweep takes with so many jobs, or as many as by default; its directories are removed."""
    share = 1 / jobs if jobs is not None and settings.device.type == "cuda" else None
    freeze(runs)
    sweep = LocalSweep(runs, jobs, share, None, None, Board(Console(quiet=True)))
    sweep.threads = max(1, settings.threads // min(sweep.slots, len(runs)))
    sweep.pool = DevicePool(visible_gpus()[:1])  # one device, also where there are more
    begun = time.perf_counter()
    outcomes = sweep.run()
    taken = time.perf_counter() - begun
    for outcome in outcomes:
        refuse_failure(outcome.error)
        shutil.rmtree(outcome.planned.directory)
    return taken
