"""Small sweeps on this machine, and waiting for what they do."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import FACES, NARROW, plain
from rich.console import Console

from fersweep.config.compose import compose_config
from fersweep.runs.identity import run_dir
from fersweep.sweep.local.board import Board
from fersweep.sweep.local.launch import LocalSweep
from fersweep.sweep.local.place import LocalPlace
from fersweep.sweep.plan import Outcome, Planned


@pytest.fixture
def planned(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Planned]:
    """``planned("seed=2")`` returns a small real run below ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def compose(*overrides: str) -> Planned:
        settings = (*NARROW, FACES, f"cache={cache}", "recipe.max_epochs=8")
        config = plain(compose_config([*settings, *overrides]))
        return Planned(overrides, config, run_dir(config).absolute())

    return compose


def changed(run: Planned, **settings: Any) -> Planned:
    """The run with other values of settings (``recipe__mixup=1``), without the third of a second that Hydra takes."""
    config = copy.deepcopy(run.config)
    for name, value in settings.items():
        *sections, key = name.split("__")
        node = config
        for section in sections:
            node = node[section]
        node[key] = value
    return Planned(run.overrides, config, run_dir(config).absolute())


def sweep(
    runs: list[Planned], n_jobs: int = 2, timeout: float | None = None, gpus_per_run: float | None = None
) -> list[Outcome]:
    return LocalSweep(runs, LocalPlace(runs, n_jobs, gpus_per_run, timeout, 1), Board(Console(quiet=True))).run()


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> Any:
    """Wait until ``condition`` is true and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("it took too long")
