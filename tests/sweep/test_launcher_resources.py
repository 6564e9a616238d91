"""Runs of a sweep share the cores, memory and GPUs of the machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_processes import Started, install

from fersweep.sweep.local import place as local
from fersweep.sweep.local import processes
from fersweep.training import fit as training

Train = Callable[..., int]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return install(monkeypatch)


def test_parallel_runs_share_the_cores(started: Started, run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert run_train("-m", "seed=1,2,3,4,5", "hydra.launcher.n_jobs=3") == 0
    assert started.most == 3
    assert {run.threads for run in started.runs} == {2}
    assert run_train("-m", "seed=6,7", "hydra.launcher.n_jobs=2", "hydra.launcher.threads=5") == 0
    assert {run.threads for run in started.runs[5:]} == {5}
    assert run_train("-m", "seed=8,9", "trainer=ddp_cpu", "trainer.devices=4") == 0
    assert {run.threads for run in started.runs[7:]} == {1}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run_train("-m", "seed=10,11", "hydra.launcher.n_jobs=2") == 0
    assert {run.threads for run in started.runs[9:]} == {3}


@pytest.mark.parametrize(
    ("settings", "most", "shares"),
    [
        ((), 2, [["3"], ["5"], ["3"], ["5"]]),
        (("hydra.launcher.gpus_per_run=0.5",), 4, [["3"], ["5"], ["3"], ["5"]]),
        (("hydra.launcher.gpus_per_run=2",), 1, [["3", "5"]] * 4),
        (("hydra.launcher.n_jobs=1",), 1, [["3"]] * 4),
        (("trainer=ddp",), 1, [["3", "5"]] * 4),
        (("trainer=cpu",), 2, [None] * 4),
        (("trainer=cpu,auto", "sweep=${trainer.name}"), 2, [None, ["3"]] * 4),
    ],
)
def test_runs_share_the_gpus(
    started: Started,
    run_train: Train,
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
    most: int,
    shares: list[list[str] | None],
) -> None:
    monkeypatch.setattr(local, "visible_gpus", lambda: ["3", "5"])
    monkeypatch.setattr(training.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(local, "cores", lambda: 2)
    monkeypatch.setattr(local.memory, "there", lambda: 2**40)
    assert run_train("-m", "seed=1,2,3,4", *settings) == 0
    assert [run.gpus for run in started.runs] == shares
    assert started.most == most


@pytest.mark.parametrize(
    ("cores", "devices", "gib", "most"),
    [(1, 1, 64, 1), (2, 1, 64, 2), (64, 1, 64, 2), (64, 1, 8, 1), (3, 2, 64, 1), (4, 2, 64, 2)],
)
def test_two_runs_at_a_time_need_cores_and_memory(
    started: Started, run_train: Train, monkeypatch: pytest.MonkeyPatch, cores: int, devices: int, gib: int, most: int
) -> None:
    monkeypatch.setattr(local.memory, "there", lambda: gib * 2**30)
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    several = ("trainer=cpu",) if devices == 1 else ("trainer=ddp_cpu", f"trainer.devices={devices}")
    assert run_train("-m", "seed=1,2,3", *several) == 0
    assert started.most == most
    assert {run.threads for run in started.runs} == {max(1, cores // (most * devices))}


@pytest.mark.parametrize(
    ("threads", "variable", "most"), [("null", "2", 2), ("null", "3", 1), ("2", "", 2), ("3", "", 1)]
)
def test_two_runs_at_a_time_need_cores_for_their_threads(
    started: Started, run_train: Train, monkeypatch: pytest.MonkeyPatch, threads: str, variable: str, most: int
) -> None:
    monkeypatch.setattr(local.memory, "there", lambda: 2**40)
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert run_train("-m", "seed=1,2", "trainer=cpu", f"hydra.launcher.threads={threads}") == 0
    assert started.most == most
