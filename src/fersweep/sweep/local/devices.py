"""Assignment of a machine's GPUs to the runs of a sweep."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fersweep.errors import UserError


def visible_gpus() -> list[str]:
    """Return the ids of the visible GPUs as in ``CUDA_VISIBLE_DEVICES``, without initialising CUDA."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    ids = [each.strip() for each in named.split(",")] if named else [str(index) for index in range(count)]
    return ids[:count]


class DevicePool:
    """GPUs by id, and the fraction of each in use."""

    def __init__(self, gpus: Sequence[str]) -> None:
        self.used = dict.fromkeys(gpus, 0.0)

    def take(self, need: float) -> list[str] | None:
        """Reserve GPUs for one run and return their ids, or ``None`` if too few are free.

        Args:
            need: number of GPUs (1, 2, …), or the fraction of one (0.5: two runs on each).
        """
        if need < 1:
            gpu = min(self.used, key=lambda each: self.used[each])
            chosen = [gpu] if self.used[gpu] + need <= 1 + 1e-9 else []
        else:
            free = [gpu for gpu, used in self.used.items() if used == 0]
            chosen = free[: int(need)] if len(free) >= need else []
        for gpu in chosen:
            self.used[gpu] += min(need, 1.0)
        return chosen or None

    def give_back(self, gpus: Sequence[str], need: float) -> None:
        """Release GPUs that `take` reserved."""
        for gpu in gpus:
            self.used[gpu] = round(max(0.0, self.used[gpu] - min(need, 1.0)), 9)


def gpus_needed(config: Mapping[str, Any], per_run: float | None, available: int) -> float:
    """Return how many GPUs a run needs, 0 on the CPU.

    Raises:
        UserError: that is more than are available, or less than one per process.
    """
    trainer = config["trainer"]
    if trainer["accelerator"] == "cpu" or (trainer["accelerator"] == "auto" and available == 0):
        return 0.0
    devices = trainer["devices"]
    need = float(devices) if per_run is None else float(per_run)
    if need <= 0 or (need > 1 and need != int(need)):
        raise UserError(
            f"hydra.launcher.gpus_per_run={per_run} is not a number of GPUs: choose 1, 2, … or a fraction such as 0.5."
        )
    if need < devices and devices > 1:
        raise UserError(f"hydra.launcher.gpus_per_run={per_run} is fewer than trainer.devices={devices}: leave it out.")
    if need > available:
        raise UserError(f"A run needs {need:g} GPUs and this machine has {available}: lower trainer.devices.")
    return need
