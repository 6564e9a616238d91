"""From the start of a run to its first training step: as a Python of its own, and forked from a sweep's server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.measure import Case, Part, alternate, figures
from benchmarks.runs import finish, refuse_failure, wait_for_server
from benchmarks.settings import Settings
from fersweep import build
from fersweep.config.compose import compose_config
from fersweep.errors import UserError
from fersweep.sweep.local.processes import RunProcesses
from fersweep.training.attempt import prepare

TRAIN = Path(__file__).parents[1] / "train.py"


def measure(settings: Settings) -> Part:
    """Seconds to the first training step, of the first backbone and batch size."""
    backbone, batch = settings.backbones[0], settings.batches[0]
    overrides = settings.overrides(f"backbone={backbone}", f"recipe.batch_size={batch}")
    times = first_steps(overrides, settings.threads, settings.repeats)
    case: Case = {"backbone": backbone, "batch": batch}
    return Part(figures("s", case, times, {"warm": "cold"}), ["cold: python train.py; warm: a run of a sweep."])


def refuse_without_script() -> None:
    """Raise UserError where the package was installed without ``train.py``, which a cold start is measured with."""
    if not TRAIN.is_file():
        raise UserError(f"The part startup needs {TRAIN.name}, which a checkout of the project has: name other parts.")


def first_steps(overrides: Sequence[str], threads: int, repeats: int) -> dict[str, tuple[float, ...]]:
    """Seconds to the first training step, in turn: ``cold``, a new ``python train.py``; ``warm``, a run of a sweep.

    Data are decoded and the server has imported everything before. Each run is one epoch of two batches, and its
    directory is removed.

    Args:
        overrides: of the runs.
        threads: of each run.
        repeats: runs of each kind.
    """
    build.samples(compose_config(list(overrides)))
    wait_for_server()
    seeds = count(1)

    def timed(kind: str) -> float:
        own = [*overrides, "recipe.max_epochs=1", "trainer.limit_batches=2", f"seed={next(seeds)}"]
        config, directory = prepare(compose_config(own))
        begun = time.time()
        if kind == "cold":
            _run_cold(own, threads)
        else:
            finish(RunProcesses(config, directory, threads))
        taken = _first_step(directory) - begun
        shutil.rmtree(directory)
        return taken

    return alternate({kind: partial(timed, kind) for kind in ("cold", "warm")}, repeats, warm_up=False)


def _run_cold(overrides: Sequence[str], threads: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, str(TRAIN), *overrides]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    refuse_failure(ended.stderr.strip().rpartition("\n")[2] if ended.returncode else None)


def _first_step(directory: Path) -> float:
    """When a run's first training step began, from its log, in seconds since the epoch."""
    line = next(each for each in (directory / "train.log").read_text().splitlines() if "first training step" in each)
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
