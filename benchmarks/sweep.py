"""A sweep of many small runs beside their arithmetic alone: what a run costs beyond its training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count

from benchmarks.bare import BareLoop
from benchmarks.efficiency import steps
from benchmarks.measure import Part, alternate, figures, seconds
from benchmarks.runs import wait_for_server
from benchmarks.settings import Settings
from benchmarks.together import seconds_of_sweep
from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.sweep.plan import Planned
from fersweep.training.attempt import prepare

RUNS, SMOKE_RUNS, IMAGES = 20, 2, 200
SWEEP, BARE = "sweep", "bare"


def measure(settings: Settings) -> Part:
    """Seconds of sweeps of runs of one epoch on few images, with the jobs at a time that a user gets by default."""
    runs, few = SMOKE_RUNS if settings.smoke else RUNS, f"dataset.source.size={IMAGES}"
    cfg = settings.compose(few)
    split = build.datamodule(cfg, build.samples(cfg)).split
    wait_for_server()
    part, seeds = Part(), count(1)

    def swept(overrides: Sequence[str]) -> float:
        cfgs = [settings.compose(*overrides, f"seed={next(seeds)}") for _ in range(runs)]
        return seconds_of_sweep([Planned((), *prepare(cfg)) for cfg in cfgs], None, settings)

    def trained(loop: BareLoop, size: int) -> None:
        """The arithmetic of one run."""
        for images in steps(len(split.train), size, least=2):
            loop.step(images)
        for images in (*steps(len(split.val), size), *steps(len(split.test), size)):
            loop.validate(images)

    for case, overrides in settings.cases():
        own, size = (*overrides, few, "recipe.max_epochs=1"), int(case["batch"])
        cfg = settings.compose(*own)
        loop = BareLoop(build.model(cfg, len(CLASSES)), cfg, settings.device)
        once = partial(trained, loop, size)
        once()  # for what is done only the first time
        contestants = {SWEEP: partial(swept, own), BARE: partial(seconds, once, settings.device, runs)}
        part.figures += figures("s", case, alternate(contestants, settings.repeats, warm_up=False), {BARE: SWEEP})
    part.notes.append(
        f"{runs} runs of one epoch on {IMAGES} images. bare: the steps of as many epochs and the forward passes of "
        "validation and test, with all threads, one after another in one process."
    )
    return part
