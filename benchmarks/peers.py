"""The same work as others do it: torchvision's networks, timm's attention, a plain Lightning program; and fp32."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from itertools import count

from benchmarks import plain
from benchmarks.efficiency import Epoch, EpochClock, rates, steps
from benchmarks.measure import Case, Figure, Part, alternate, figures
from benchmarks.networks import OURS, beside_timm, beside_torchvision, precisions
from benchmarks.settings import Settings
from fersweep import build, logs
from fersweep.training.attempt import prepare, run_frozen


def measure(settings: Settings) -> Part:
    """Images a second of ours and of each peer, in turn; ratios are the peer's to ours, below 1 where ours is faster.

    What cannot be compared here (timm is not installed, the processor has no bf16) is left out, and a note says so.
    """
    part = Part(
        notes=[
            "Networks and attention: bare steps. Plain Lightning: a map-style dataset, albumentations image by image, "
            "self.log, a CSV logger, ModelCheckpoint; network and arithmetic are ours."
        ]
    )
    timm, bf16 = find_spec("timm") is not None, settings.precision == "bf16-mixed"
    if not timm:
        part.notes.append("timm is not installed: attention is compared with nothing.")
    if not bf16:
        part.notes.append("This device has no bf16 arithmetic: fp32 is compared with nothing.")
    for batch in settings.batches:
        part.figures += beside_torchvision(settings, batch)
        part.figures += beside_timm(settings, batch) if timm else []
    for case, overrides in settings.cases():
        part.figures += precisions(settings, case, overrides) if bf16 else []
        part.figures += _beside_plain(settings, case, overrides)
    return part


def _beside_plain(settings: Settings, case: Case, overrides: tuple[str, ...]) -> list[Figure]:
    """Training images a second of an epoch as this project does it, and as a plain Lightning program does."""
    cfg = settings.compose(*overrides, "recipe.max_epochs=1")
    data = build.datamodule(cfg, build.samples(cfg))
    folder, seeds = settings.folder / "plain", count(1)

    def ours() -> Epoch:
        timer = EpochClock(settings.device)
        config, directory = prepare(settings.compose(*overrides, "recipe.max_epochs=1", f"seed={next(seeds)}"))
        run_frozen(config, callbacks=(timer,))
        shutil.rmtree(directory)
        return timer.epochs[0]

    def theirs() -> Epoch:
        timer = EpochClock(settings.device)
        folder.mkdir()
        with logs.to_run(folder, echo=False):
            plain.fit(cfg, data.samples, data.split, folder, settings.device, timer)
        shutil.rmtree(folder)
        return timer.epochs[0]

    timed = alternate({OURS: ours, "plain Lightning": theirs}, settings.repeats)
    images = sum(steps(len(data.split.train), int(case["batch"]), least=2))
    values = {
        name: each
        for who, epochs in timed.items()
        for name, each in rates(images, epochs, f"{who}, training batches", f"{who}, whole epoch").items()
    }
    parts = ("training batches", "whole epoch")
    return figures("images/s", case, values, {f"plain Lightning, {each}": f"{OURS}, {each}" for each in parts})
