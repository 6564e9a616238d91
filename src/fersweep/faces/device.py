"""Devices for detectors and trained networks."""

from __future__ import annotations

import torch

from fersweep.errors import UserError


def choose_device(choice: str) -> torch.device:
    """Return the device for ``cpu``, ``gpu`` or ``auto`` (a GPU if available).

    Raises:
        UserError: ``gpu`` without a GPU.
    """
    available = torch.cuda.device_count() > 0
    if choice == "gpu" and not available:
        raise UserError("--device gpu is not possible: torch sees no CUDA device here.")
    return torch.device("cuda" if available and choice != "cpu" else "cpu")
