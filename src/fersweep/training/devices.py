"""Device, precision and number of processes of a run."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from fersweep import compat
from fersweep.errors import UserError
from fersweep.text import counted


def num_processes(cfg: DictConfig) -> int:
    """Return the number of processes that train a run, on all machines."""
    return int(cfg.trainer.devices * cfg.trainer.num_nodes)


def find_device(cfg: DictConfig) -> torch.device:
    """Return the kind of device a run uses on this machine.

    Raises:
        UserError: the run asks for more GPUs than torch sees.
    """
    available, trainer = torch.cuda.device_count(), cfg.trainer
    if trainer.accelerator == "gpu" and available < trainer.devices:
        seen = "no CUDA device" if available == 0 else counted(available, "CUDA device")
        advice = "use trainer=auto or trainer=cpu" if available == 0 else "lower trainer.devices"
        raise UserError(
            f"trainer={trainer.name} asks for trainer.devices={trainer.devices}, but torch sees {seen} here: {advice}."
        )
    return torch.device("cuda" if trainer.accelerator != "cpu" and available > 0 else "cpu")


def precision(choice: str, device: torch.device) -> str:
    """Return Lightning's name of a precision; ``auto`` is bf16 where the device computes in bf16, else float32."""
    if choice == "auto":
        if device.type == "cuda":
            choice = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
        else:
            choice = "bf16" if compat.cpu_has_bf16() else "32"
    return {"bf16": "bf16-mixed", "32": "32-true"}[choice]
