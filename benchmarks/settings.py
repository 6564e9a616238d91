"""Settings of a benchmark, checked; and the machine it runs on."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from benchmarks import PARTS, measure
from benchmarks.measure import Case
from fersweep.config.compose import compose_config
from fersweep.config.options import options
from fersweep.errors import UserError
from fersweep.sweep.local.processes import cores, share_of_cores
from fersweep.text import did_you_mean
from fersweep.training.devices import precision

DEFAULTS = {"backbones": ("resnet50", "vgg19", "aer_cnn"), "batches": (64,), "image_size": 48, "repeats": 5}
SMOKE = {"backbones": ("aer_cnn",), "batches": (8,), "image_size": 32, "repeats": 1, "threads": 1}
"""Defaults in smoke mode: on a shared machine, two threads mostly wait for each other."""

FER2013 = 35_887
"""Images of FER2013: the size of an epoch on a GPU, and of the dataset whose memory is measured."""


@dataclass(frozen=True)
class Settings:
    """Settings of a benchmark.

    Attributes:
        parts: of `benchmarks.PARTS`.
        backbones: names in ``conf/backbone``, each with its default attention and activation.
        batches: images per training step.
        image_size: pixels.
        repeats: rounds that count.
        threads: CPU threads of each computing process.
        device: the kind of device.
        smoke: the smallest size of everything; the figures mean nothing.
        folder: temporary, for data and runs.
        fer2013: the archive or folder of FER2013, or ``None``.
        size: images in the dataset; ``None``: 3,000, or with a GPU as many as FER2013 has.
    """

    parts: tuple[str, ...]
    backbones: tuple[str, ...]
    batches: tuple[int, ...]
    image_size: int
    repeats: int
    threads: int
    device: torch.device
    smoke: bool
    folder: Path
    fer2013: Path | None = None
    size: int | None = None

    @property
    def precision(self) -> str:
        """Lightning's name of the precision that ``trainer.precision=auto`` selects."""
        return precision("auto", self.device)

    @property
    def images(self) -> int:
        """Images in the dataset, of which 80 % are for training."""
        default = FER2013 if self.device.type == "cuda" else 3000
        least = 140 if self.smoke else self.size or default
        return max(least, 10 * max(self.batches))

    def rate(self, work: Callable[[], object], images: int) -> Callable[[], float]:
        """As `measure.rate`, on this device, for 0.3 s (0.01 s in smoke mode)."""
        return measure.rate(work, images, self.device, 0.01 if self.smoke else 0.3)

    def overrides(self, *further: str) -> list[str]:
        """Overrides of every run: this device, size and data, in the temporary folder."""
        outputs, cache = (json.dumps(str(self.folder / name), ensure_ascii=False) for name in ("outputs", "cache"))
        return [
            f"trainer={'gpu' if self.device.type == 'cuda' else 'cpu'}",
            "trainer.progress_bar=false",
            f"dataset.image_size={self.image_size}",
            f"dataset.source.size={self.images}",
            f"outputs={outputs}",
            f"cache={cache}",
            *further,
        ]

    def compose(self, *further: str) -> DictConfig:
        """Compose the configuration of a run with `overrides`."""
        return compose_config(self.overrides(*further))

    def cases(self) -> list[tuple[Case, tuple[str, str]]]:
        """Return each combination of backbone and batch size, with the overrides that select it."""
        return [
            ({"backbone": backbone, "batch": batch}, (f"backbone={backbone}", f"recipe.batch_size={batch}"))
            for backbone in self.backbones
            for batch in self.batches
        ]


def check(folder: Path, parts: Sequence[str] = (), device: str = "auto", smoke: bool = False, **given: Any) -> Settings:
    """Fill in the defaults and refuse what cannot be measured.

    Args:
        folder: temporary.
        parts: of `PARTS`; none: all.
        device: auto, cpu or gpu.
        smoke: see `Settings`.
        given: other attributes of `Settings`; ``None``: the default.

    Raises:
        UserError: for an unknown part or backbone, a number out of range, or a missing GPU, dataset or ``/proc``.
    """
    values: dict[str, Any] = {"threads": share_of_cores(1), **(SMOKE if smoke else DEFAULTS)}
    values |= {name: value for name, value in given.items() if value is not None}
    values |= {name: tuple(dict.fromkeys(values[name])) for name in ("backbones", "batches")}
    measured = tuple(name for name in PARTS if name in parts or not parts)
    chosen = Settings(parts=measured, device=_device(device), smoke=smoke, folder=folder, **values)
    _check_names("part", parts, tuple(PARTS))
    _check_names("backbone", chosen.backbones, options("backbone"))
    _check_numbers(chosen)
    if chosen.fer2013 is not None and "data" not in chosen.parts:
        raise UserError("--fer2013 has no effect without the part data: leave it out, or name that part too.")
    if chosen.fer2013 is not None and not chosen.fer2013.exists():
        raise UserError(f"--fer2013 {chosen.fer2013} does not exist: name the archive or folder of FER2013.")
    if "memory" in chosen.parts and not Path("/proc/self/smaps_rollup").exists():
        raise UserError("The part memory reads /proc/self/smaps_rollup, which only Linux has: name other parts.")
    return chosen


def _check_names(kind: str, given: Sequence[str], choices: Sequence[str]) -> None:
    for name in given:
        if name not in choices:
            hint = did_you_mean(name, choices)
            raise UserError(f"Unknown {kind} {name!r}{hint}; choices: {', '.join(choices)}.")


def _check_numbers(chosen: Settings) -> None:
    for option, value, good, allowed in (
        *(("batch", batch, batch >= 2, "2 or more") for batch in chosen.batches),
        ("image-size", chosen.image_size, 32 <= chosen.image_size <= 256, "32 to 256"),
        ("repeats", chosen.repeats, chosen.repeats >= 1, "1 or more"),
        ("threads", chosen.threads, chosen.threads >= 1, "1 or more"),
    ):
        if not good:
            raise UserError(f"--{option} {value} is out of range: {allowed}.")


def _device(choice: str) -> torch.device:
    available = torch.cuda.device_count() > 0
    if choice == "gpu" and not available:
        raise UserError("--device gpu is not possible: torch finds no CUDA device.")
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


def machine(settings: Settings) -> dict[str, Any]:
    """Return processor, usable cores, GPU or ``None``, versions, precision, threads."""
    cuda = settings.device.type == "cuda"
    return {
        "cpu": _processor(),
        "cores": cores(),
        "gpu": torch.cuda.get_device_name(settings.device) if cuda else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "precision": settings.precision,
        "threads": settings.threads,
    }


def loaders(device: torch.device) -> int:
    """Return the number of loading processes of a training with ``trainer.workers=auto``."""
    return min(4, cores() - 1) if device.type == "cuda" else 0


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
