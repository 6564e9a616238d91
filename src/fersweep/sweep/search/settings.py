"""Settings of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fersweep.errors import UserError
from fersweep.text import did_you_mean, listed

METRICS = ("val/accuracy", "val/macro_f1", "val/loss")
SAMPLERS = ("tpe", "random", "grid", "cmaes", "gp")
PRUNERS = ("none", "median", "asha", "hyperband")


@dataclass
class Settings:
    """Section ``hydra.sweeper``, see ``conf/hydra/sweeper/search.yaml``."""

    trials: int | None = 20
    epochs: int | None = None
    hours: float | None = None
    metric: str = "val/accuracy"
    sampler: str = "tpe"
    seed: int = 1
    startup: int = 10
    pruner: str = "asha"
    first_rung: int = 1
    factor: int = 3
    warmup: int = 1
    seeds: int = 1
    promising: float = 0.25
    each: str | None = None
    finals: int = 0
    finals_overrides: Any = None
    at_once: int | None = None
    where: Any = None
    exclude: Any = None
    zip: Any = None
    params: dict[str, str] | None = None

    def check(self) -> None:
        """Raise UserError for values that cannot work."""
        for name, choices in (("metric", METRICS), ("sampler", SAMPLERS), ("pruner", PRUNERS)):
            value = getattr(self, name)
            if value not in choices:
                why = "" if not value.startswith("test/") else " selects by test images, which may play no part"
                wrong = why or f" is not known{did_you_mean(value, choices)}"
                raise UserError(f"hydra.sweeper.{name}={value}{wrong}; choices: {listed(choices, 'or')}.")
        least = {"trials": 1, "epochs": 1, "startup": 0, "first_rung": 1, "factor": 2, "warmup": 0, "seeds": 1}
        for name, minimum in (least | {"at_once": 1, "seed": 0, "finals": 0}).items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UserError(f"hydra.sweeper.{name}={value} is out of range: {minimum} or more.")
        if self.hours is not None and not self.hours > 0:
            raise UserError(f"hydra.sweeper.hours={self.hours:g} is out of range: null, or hours above 0.")
        if not 0 <= self.promising <= 1:
            raise UserError(f"hydra.sweeper.promising={self.promising:g} is out of range: a share from 0 to 1.")
        if self.trials is None and self.epochs is None and self.hours is None and self.sampler != "grid":
            raise UserError("The search would never end: set hydra.sweeper.trials, epochs or hours.")
