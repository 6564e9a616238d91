"""Time from the start of a run to its first training step: a new Python process, and one forked by a sweep."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from benchmarks.measure import Part, compare
from benchmarks.runs import finish, new_seed, refuse_failure, wait_for_server
from benchmarks.settings import Settings
from fersweep import build
from fersweep.config.compose import compose_config
from fersweep.sweep.local.processes import RunProcesses
from fersweep.training.attempt import prepare

TRAIN = Path(__file__).parents[2] / "train.py"


def measure(settings: Settings) -> Part:
    """Measure the seconds to the first training step, of the first backbone and batch size.

    The data are decoded and the server has its imports before. Each run is one epoch of two batches.
    """
    case, choices = settings.cases()[0]
    overrides = settings.overrides(*choices, "recipe.max_epochs=1", "trainer.limit_batches=2")
    build.samples(compose_config(overrides))
    wait_for_server()
    candidates = {kind: partial(_first_step, kind, overrides, settings.threads) for kind in ("cold", "warm")}
    times = compare("s", case, candidates, settings.repeats, to="cold", warm_up=False)
    return Part(times, ["cold: python train.py; warm: a run of a sweep."])


def _first_step(kind: str, overrides: Sequence[str], threads: int) -> float:
    """Start a run, and return the seconds to its first training step."""
    own = [*overrides, new_seed()]
    config, directory = prepare(compose_config(own))
    begun = time.time()
    if kind == "cold":
        _run_cold(own, threads)
    else:
        finish(RunProcesses(config, directory, threads))
    taken = first_step(directory) - begun
    shutil.rmtree(directory)
    return taken


def _run_cold(overrides: Sequence[str], threads: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, str(TRAIN), *overrides]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    refuse_failure(ended.stderr.strip().rpartition("\n")[2] if ended.returncode else None)


def first_step(directory: Path) -> float:
    """Return the time of a run's first training step, from its log, in seconds since the epoch."""
    line = next(each for each in (directory / "train.log").read_text().splitlines() if "first training step" in each)
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
