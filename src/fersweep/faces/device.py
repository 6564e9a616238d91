"""Where a detector or a trained network computes."""

from __future__ import annotations

import torch

from fersweep.errors import UserError


def choose_device(choice: str) -> torch.device:
    """The device that ``cpu``, ``gpu`` or ``auto`` (a GPU where there is one) stands for.

    Raises:
        UserError: there is no GPU, and one is asked for.
    """
    there = torch.cuda.device_count() > 0
    if choice == "gpu" and not there:
        raise UserError("--device gpu is not possible: torch sees no CUDA device here.")
    return torch.device("cuda" if there and choice != "cpu" else "cpu")
