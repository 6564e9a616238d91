"""A sweep of many small runs beside their training steps alone: the cost of a run beyond its training."""

from __future__ import annotations

from functools import partial

from benchmarks.bare import BareLoop, built
from benchmarks.epochs import steps
from benchmarks.measure import Part, compare, seconds
from benchmarks.runs import seconds_of_sweep, wait_for_server
from benchmarks.settings import Settings
from fersweep import build
from fersweep.data.splits import Split

RUNS, SMOKE_RUNS, IMAGES = 20, 2, 200
SWEEP, BARE = "sweep", "bare"


def measure(settings: Settings) -> Part:
    """Measure the seconds of sweeps of one-epoch runs on few images, with the default number at a time."""
    runs, few = SMOKE_RUNS if settings.smoke else RUNS, f"dataset.source.size={IMAGES}"
    cfg = settings.compose(few)
    split = build.datamodule(cfg, build.samples(cfg)).split
    wait_for_server()
    part = Part()
    for case, overrides in settings.cases():
        own = (*overrides, few, "recipe.max_epochs=1")
        loop = built(settings.compose(*own), settings.device)
        once = partial(_train_and_test, loop, split, int(case["batch"]))
        once()  # a warm-up
        candidates = {
            SWEEP: partial(seconds_of_sweep, settings, own, runs, None),
            BARE: partial(seconds, once, settings.device, runs),
        }
        part.figures += compare("s", case, candidates, settings.repeats, to=SWEEP, warm_up=False)
    part.notes.append(
        f"{runs} runs of one epoch on {IMAGES} images. bare: the steps of as many epochs and the forward passes of "
        "validation and test, with all threads, one after another in one process."
    )
    return part


def _train_and_test(loop: BareLoop, split: Split, size: int) -> None:
    """Do the steps and forward passes of one run."""
    for images in steps(len(split.train), size, least=2):
        loop.step(images)
    for images in (*steps(len(split.val), size), *steps(len(split.test), size)):
        loop.validate(images)
