"""Two small runs at once on one device, beside two one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.epochs import steps
from benchmarks.measure import Part, compare
from benchmarks.runs import seconds_of_sweep, wait_for_server
from benchmarks.settings import Settings
from fersweep import build

RUNS = 2
JOBS = {"one after another": 1, "two at once": 2}


def measure(settings: Settings) -> Part:
    """Measure training images per second of sweeps of two runs, over each run's full duration.

    A run is 20 steps on a CPU, whose threads the concurrent runs share, and one epoch on a GPU.
    """
    data = build.datamodule(settings.compose(), build.samples(settings.compose()))
    limit = 2 if settings.smoke else 20 if settings.device.type == "cpu" else None
    wait_for_server()
    part = Part(notes=["A run is timed from its start to its end, with validation, test and figures."])

    def trained(jobs: int, images: int, overrides: Sequence[str]) -> float:
        return RUNS * images / seconds_of_sweep(settings, overrides, RUNS, jobs)

    for case, overrides in settings.cases():
        own = (*overrides, "recipe.max_epochs=1", f"trainer.limit_batches={'null' if limit is None else limit}")
        images = sum(steps(len(data.split.train), int(case["batch"]), least=2)[:limit])
        candidates = {name: partial(trained, jobs, images, own) for name, jobs in JOBS.items()}
        part.figures += compare("images/s", case, candidates, settings.repeats, "one after another", warm_up=False)
    return part
