"""How the GPUs of a machine are shared out to the runs of a sweep."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fersweep.errors import UserError


def visible_gpus() -> list[str]:
    """The ids of this machine's GPUs, as ``CUDA_VISIBLE_DEVICES`` has them; asks the driver without waking a GPU."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    ids = [each.strip() for each in named.split(",")] if named else [str(index) for index in range(count)]
    return ids[:count]


class DevicePool:
    """GPUs with room for so many runs each.

    Args:
        gpus: their ids.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        self.used = dict.fromkeys(gpus, 0.0)

    def take(self, need: float) -> list[str] | None:
        """Ids for one run, or ``None`` while there is no room.

        Args:
            need: whole GPUs (1, 2, …), or the share of one (0.5: two runs on each).
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
        """Make room again where `take` had taken it."""
        for gpu in gpus:
            self.used[gpu] = round(max(0.0, self.used[gpu] - min(need, 1.0)), 9)


def gpus_needed(config: Mapping[str, Any], per_run: float | None, there: int) -> float:
    """How many GPUs a run takes; 0 for one on the CPU.

    Raises:
        UserError: where it is more than the machine has, or less than one for each of its processes.
    """
    trainer = config["trainer"]
    if trainer["accelerator"] == "cpu" or (trainer["accelerator"] == "auto" and there == 0):
        return 0.0
    devices = trainer["devices"]
    need = float(devices) if per_run is None else float(per_run)
    if need <= 0 or (need > 1 and need != int(need)):
        raise UserError(f"hydra.launcher.gpus_per_run={per_run} is no number of GPUs: 1, 2, … or a share such as 0.5.")
    if need < devices and devices > 1:
        raise UserError(f"hydra.launcher.gpus_per_run={per_run} is fewer than trainer.devices={devices}: leave it out.")
    if need > there:
        raise UserError(f"A run takes {need:g} GPUs and this machine has {there}: lower trainer.devices.")
    return need
