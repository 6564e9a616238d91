"""Learning-rate schedules as factors of the base rate."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """The factor for one optimiser step.

    Linear warm-up from ``1 / (warmup + 1)`` to 1 over ``warmup`` steps (Goyal et al. 2017), then either constant or
    half a cosine down to 0 at ``steps`` (Loshchilov and Hutter 2017, eq. 5, without restarts).

    Args:
        step: the number of steps done, from 0.
        steps: the length of the whole training.
        warmup: steps of warm-up; 0 is none.
        schedule: ``constant`` or ``cosine``.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1.0, steps - warmup))
    return 0.5 * (1 + math.cos(math.pi * progress))
