"""The gain from each optimisation of this project: a training step with it and without it."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from benchmarks.bare import BareLoop
from benchmarks.measure import Part, compare
from benchmarks.settings import Settings
from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.models.fast import SWAPS

NONE = "none of them"

CANDIDATES: dict[str, dict[str, Any]] = {
    "all": {},
    "without matrix products": {"swaps": {plain: fast for plain, fast in SWAPS.items() if plain is not nn.Conv2d}},
    "without own pooling": {"swaps": {nn.Conv2d: SWAPS[nn.Conv2d]}},
    "without fused optimiser": {"fused": False},
    "without kept memory": {"kept": False},
    NONE: {"fused": False, "kept": False, "swaps": {}},
}
"""Arguments of `BareLoop`."""


def measure(settings: Settings) -> Part:
    """Measure training images per second of bare steps: with all optimisations, without one at a time, without any.

    Each candidate has a copy of the same network.
    """
    part = Part()
    for case, overrides in settings.cases():
        cfg = settings.compose(*overrides)
        network = build.model(cfg, len(CLASSES))
        candidates = {}
        for name, changes in CANDIDATES.items():
            loop = BareLoop(copy.deepcopy(network), cfg, settings.device, **changes)
            candidates[name] = settings.rate(loop.step, int(case["batch"]))
        part.figures += compare("images/s", case, candidates, settings.repeats, to=NONE)
    return part
