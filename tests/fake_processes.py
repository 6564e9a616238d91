"""Fake processes for sweeps, which leave the files of a finished run and train nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fersweep.config.schema import choices_of
from fersweep.files import write_json
from fersweep.runs.identity import run_hash
from fersweep.runs.status import Status, mark_done
from fersweep.sweep.local import place, processes


class Started:
    """Replacement of `RunProcesses` that records the runs to start and creates `FakeProcesses`."""

    def __init__(self) -> None:
        self.errors: dict[int, str] = {}
        self.runs: list[FakeProcesses] = []
        self.most = 0

    def __call__(
        self, config: dict[str, Any], directory: Path, threads: int | None, gpus: list[str] | None
    ) -> FakeProcesses:
        self.runs.append(FakeProcesses(config, directory, threads, gpus, self.errors.get(config["seed"])))
        self.most = max(self.most, sum(not run.over for run in self.runs))
        return self.runs[-1]

    @property
    def configs(self) -> list[dict[str, Any]]:
        return [run.config for run in self.runs]


class FakeProcesses:
    """A run that ends at the second call of ``ended`` and leaves the files of a finished run."""

    seconds = 1.0
    elsewhere = False

    def __init__(
        self,
        config: dict[str, Any],
        directory: Path,
        threads: int | None,
        gpus: list[str] | None,
        error: str | None,
    ) -> None:
        self.config, self.directory, self.threads, self.gpus, self.error = config, directory, threads, gpus, error
        self.status_at_start = Status.read(directory)
        self.asked = 0
        self.over = False
        reading, writing = os.pipe()
        os.close(writing)  # so that it reads as ready at once
        self.sentinels = [reading]

    def ended(self) -> bool:
        self.asked += 1
        if self.asked < 2:
            return False
        os.close(self.sentinels.pop())
        self.over = True
        if self.error is None:
            scores = {"val/accuracy": 0.5, "test/accuracy": 0.9, "test/n": 10}
            about = {"run": run_hash(self.config), "choices": choices_of(self.config), "seed": self.config["seed"]}
            rest = {"metrics": scores, "accuracy_interval": [0.6, 0.98], "data_digest": "0"}
            write_json(self.directory / "result.json", {**about, **rest})
            mark_done(self.directory)
        return True

    def failure(self, why: str | None) -> str | None:
        return self.error


def install(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Make sweeps start fake processes; ``errors`` of what is returned gives the failures by seed."""
    fake = Started()
    monkeypatch.setattr(processes, "warm_up", lambda: None)
    monkeypatch.setattr(place, "RunProcesses", fake)
    monkeypatch.setattr(place, "visible_gpus", list)
    return fake
