"""What a benchmark is asked to measure, checked; and the machine it is measured on."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from benchmarks import PARTS
from benchmarks.measure import Case
from fersweep.config.compose import compose_config
from fersweep.config.options import options
from fersweep.errors import UserError
from fersweep.sweep.local.processes import cores, share_of_cores
from fersweep.text import did_you_mean
from fersweep.training.devices import precision

BACKBONES, BATCHES, IMAGE_SIZE, REPEATS = ("resnet50", "vgg19", "aer_cnn"), (64,), 48, 5
SMOKE_BACKBONES, SMOKE_BATCHES, SMOKE_IMAGE_SIZE, SMOKE_REPEATS = ("aer_cnn",), (8,), 32, 1
SMOKE_THREADS = 1
"""On a machine that others use too, two threads mostly wait for each other."""

FER2013 = 35_887
"""Images of FER2013: what a GPU gets to do in an epoch, and what the cost of data in memory is measured with."""


@dataclass(frozen=True)
class Settings:
    """What to measure, and how.

    Attributes:
        parts: of `benchmarks.PARTS`.
        backbones: names in ``conf/backbone``; each with the attention and activation that its name alone gives.
        batches: images a training step.
        image_size: pixels.
        repeats: rounds that count.
        threads: of every process that computes.
        device: the kind of device.
        smoke: as little as possible of everything; the figures mean nothing.
        folder: for data and runs; everything in it is temporary.
        fer2013: the archive or folder of FER2013, if there is one.
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

    @property
    def precision(self) -> str:
        """Lightning's name of what ``trainer.precision=auto`` is here."""
        return precision("auto", self.device)

    @property
    def images(self) -> int:
        """Images of the dataset; eight of ten are trained on."""
        least = 140 if self.smoke else FER2013 if self.device.type == "cuda" else 3000
        return max(least, 10 * max(self.batches))

    @property
    def least(self) -> float:
        """Seconds that one measurement of something short lasts at least."""
        return 0.01 if self.smoke else 0.3

    def overrides(self, *further: str) -> list[str]:
        """What makes a run one of this benchmark: this device, size and data, in the temporary folder."""
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
        """The configuration of such a run: the project's defaults otherwise."""
        return compose_config(self.overrides(*further))

    def cases(self) -> list[tuple[Case, tuple[str, str]]]:
        """Every backbone with every batch size: what figures say they are of, and the overrides that choose it."""
        return [
            ({"backbone": backbone, "batch": batch}, (f"backbone={backbone}", f"recipe.batch_size={batch}"))
            for backbone in self.backbones
            for batch in self.batches
        ]


def check(
    *,
    parts: Sequence[str],
    backbones: Sequence[str] | None,
    batches: Sequence[int] | None,
    image_size: int | None,
    repeats: int | None,
    threads: int | None,
    device: str,
    smoke: bool,
    folder: Path,
    fer2013: Path | None = None,
) -> Settings:
    """Put the defaults for what is not given (of a real or a smoke benchmark), and refuse what cannot be measured.

    Raises:
        UserError: for an unknown part or backbone, a number out of range, or a GPU that is not there.
    """
    backbones = backbones or (SMOKE_BACKBONES if smoke else BACKBONES)
    for kind, given, choices in (("part", parts, tuple(PARTS)), ("backbone", backbones, options("backbone"))):
        for name in given:
            if name not in choices:
                hint = did_you_mean(name, choices)
                raise UserError(f"There is no {kind} {name!r}{hint}; choices: {', '.join(choices)}.")
    batches = batches or (SMOKE_BATCHES if smoke else BATCHES)
    image_size = (SMOKE_IMAGE_SIZE if smoke else IMAGE_SIZE) if image_size is None else image_size
    repeats = (SMOKE_REPEATS if smoke else REPEATS) if repeats is None else repeats
    threads = (SMOKE_THREADS if smoke else share_of_cores(1)) if threads is None else threads
    for option, value, good, allowed in (
        *(("batch", batch, batch >= 2, "2 or more") for batch in batches),
        ("image-size", image_size, 32 <= image_size <= 256, "32 to 256"),
        ("repeats", repeats, repeats >= 1, "1 or more"),
        ("threads", threads, threads >= 1, "1 or more"),
    ):
        if not good:
            raise UserError(f"--{option} {value} is out of range: {allowed}.")
    if fer2013 is not None and parts and "data" not in parts:
        raise UserError("--fer2013 has no effect without the part data: leave it out, or name that part too.")
    if fer2013 is not None and not fer2013.exists():
        raise UserError(f"--fer2013 {fer2013} does not exist: name the archive or folder of FER2013.")
    return Settings(
        parts=tuple(name for name in PARTS if name in parts or not parts),
        backbones=tuple(dict.fromkeys(backbones)),
        batches=tuple(dict.fromkeys(batches)),
        image_size=image_size,
        repeats=repeats,
        threads=threads,
        device=_device(device),
        smoke=smoke,
        folder=folder,
        fer2013=fer2013,
    )


def _device(choice: str) -> torch.device:
    there = torch.cuda.device_count() > 0
    if choice == "gpu" and not there:
        raise UserError("--device gpu is not possible: torch sees no CUDA device here.")
    return torch.device("cuda" if there and choice != "cpu" else "cpu")


def machine(settings: Settings) -> dict[str, Any]:
    """Processor, cores this process may use, GPU or ``None``, versions, precision, threads."""
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
    """How many processes load data beside a training with ``trainer.workers=auto``."""
    return min(4, cores() - 1) if device.type == "cuda" else 0


def _processor() -> str:
    """The processor's name, as Linux knows it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
