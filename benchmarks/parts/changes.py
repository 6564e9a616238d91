"""The gain from each optimisation of this project: a training step with it and without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from unittest.mock import patch

from benchmarks.bare import BareLoop
from benchmarks.measure import Part, compare
from benchmarks.settings import Settings
from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.models import attention, convolution, gates

ALL, NONE = "all", "none of them"


def measure(settings: Settings) -> Part:
    """Measure training images per second of bare steps: with all optimisations, without one at a time, without any.

    Each candidate has a copy of the same network.
    """
    part = Part()
    without: dict[str, tuple[bool, bool, Callable[[], AbstractContextManager[object]]]] = {
        ALL: (True, True, nullcontext),
        "without matrix products": (True, True, _torchs_convolutions),
        "without own pooling": (True, True, _torchs_pooling),
        "without fused optimiser": (False, True, nullcontext),
        "without kept memory": (True, False, nullcontext),
        NONE: (False, False, _torchs_all),
    }
    for case, overrides in settings.cases():
        cfg = settings.compose(*overrides)
        network = build.model(cfg, len(CLASSES))
        candidates = {}
        for name, (fused, kept, changed) in without.items():
            loop = BareLoop(copy.deepcopy(network), cfg, settings.device, fused=fused, kept=kept)
            candidates[name] = _inside(changed, settings.rate(loop.step, int(case["batch"])))
        part.figures += compare("images/s", case, candidates, settings.repeats, to=NONE)
    return part


def _inside(context: Callable[[], AbstractContextManager[object]], work: Callable[[], float]) -> Callable[[], float]:
    def measured() -> float:
        with context():
            return work()

    return measured


def _torchs_convolutions() -> AbstractContextManager[object]:
    return patch.dict(convolution.RULES, clear=True)


def _torchs_pooling() -> AbstractContextManager[object]:
    stack = ExitStack()
    for module, name, function in (
        (attention, "spatial_mean", lambda x: x.mean(dim=(2, 3))),
        (attention, "spatial_max", lambda x: x.amax(dim=(2, 3))),
        (attention, "channel_mean", lambda x: x.mean(dim=1, keepdim=True)),
        (attention, "channel_max", lambda x: x.amax(dim=1, keepdim=True)),
        (gates, "spatial_mean", lambda x: x.mean(dim=(2, 3))),
    ):
        stack.enter_context(patch.object(module, name, function))
    return stack


def _torchs_all() -> AbstractContextManager[object]:
    stack = ExitStack()
    stack.enter_context(_torchs_convolutions())
    stack.enter_context(_torchs_pooling())
    return stack
