"""Benchmarks of runs: epochs, sweeps, processes, memory, the input pipeline and inference."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from benchmarking import by_name, smoke_settings
from fakes import fer2013_zip
from torch import nn

from benchmarks import epochs, runs
from benchmarks.bare import BareLoop
from benchmarks.parts import data, efficiency, inference, memory, startup, sweep, together
from benchmarks.parts import input as pipeline
from benchmarks.runs import wait_for_server
from benchmarks.settings import Settings
from fersweep.sweep.local.launch import LocalSweep
from fersweep.sweep.plan import Outcome
from fersweep.training.attempt import prepare, run_frozen


@pytest.fixture
def smoke(tmp_path: Path) -> Settings:
    """A smoke benchmark of two rounds."""
    return smoke_settings(tmp_path)


@pytest.mark.parametrize(
    ("images", "least", "sizes"), [(20, 2, (8, 8, 4)), (17, 2, (8, 8)), (17, 1, (8, 8, 1)), (3, 2, (3,))]
)
def test_steps_of_an_epoch(images: int, least: int, sizes: tuple[int, ...]) -> None:
    assert epochs.steps(images, 8, least) == sizes


@pytest.mark.usefixtures("tiny_network")
def test_epochs_are_timed_without_the_work_between_them(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    away, calls = 0.0, 0

    def between(trainer: pl.Trainer, _: Any) -> None:
        nonlocal away, calls
        assert trainer.current_epoch == calls
        away, calls = away + 1000, calls + 1

    monkeypatch.setattr(epochs, "clock", lambda _: time.perf_counter() + away)
    timer = epochs.EpochClock(torch.device("cpu"), between)
    config, _ = prepare(smoke.compose("recipe.max_epochs=3", "recipe.batch_size=8"))
    run_frozen(config, callbacks=(timer,))
    assert calls == len(timer.epochs) == 3
    for epoch in timer.epochs:
        assert 0 < epoch.training < epoch.training + epoch.validation < epoch.total < 100


@pytest.mark.usefixtures("tiny_network")
def test_an_epoch_is_compared_with_the_same_steps(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    step = BareLoop.step
    monkeypatch.setattr(BareLoop, "step", lambda self, size: counts.append(size) or step(self, size))
    found = efficiency.measure(smoke).figures
    assert counts == [8] * 14 * 3  # 112 images, before each of three epochs
    assert all(figure.case == {"backbone": "aer_cnn", "batch": 8} for figure in found)
    named = by_name(found)
    assert [(name, figure.unit, figure.to) for name, figure in named.items()] == [
        ("bare loop", "images/s", None),
        ("bare epoch", "images/s", None),
        ("training batches", "images/s", "bare loop"),
        ("epoch", "images/s", "bare epoch"),
        ("history and checkpoints, per epoch", "s", None),
    ]
    for epoch, batches in (("bare epoch", "bare loop"), ("epoch", "training batches")):
        assert all(a < b for a, b in zip(named[epoch].values, named[batches].values, strict=True))
    assert list((smoke.folder / "outputs" / "runs").iterdir()) == []


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None, int | None]]:
    """Number of runs, jobs at a time and threads of each sweep, none of which is run."""
    started: list[tuple[int, int | None, int | None]] = []

    class Sweep(LocalSweep):
        def run(self) -> list[Outcome]:
            assert (self.place.gpus_per_run, self.place.timeout) == (None, None)
            assert all(each.directory.is_dir() for each in self.runs)
            started.append((len({each.directory for each in self.runs}), self.place.n_jobs, self.place.threads))
            return [Outcome(each, {}) for each in self.runs]

    monkeypatch.setattr(runs, "LocalSweep", Sweep)
    monkeypatch.setattr("fersweep.sweep.local.place.cores", lambda: 2)
    monkeypatch.setattr("fersweep.training.memory.there", lambda: 2**40)
    for part in (together, sweep):
        monkeypatch.setattr(part, "wait_for_server", lambda: None)
    return started


def test_runs_at_once_share_the_threads(smoke: Settings, started: list[tuple[int, int | None, int | None]]) -> None:
    four = replace(smoke, threads=4)
    named = by_name(together.measure(four).figures)
    assert started == [(2, 1, 4), (2, 2, 2)] * 2
    assert named["two at once"].to == "one after another"
    assert list((smoke.folder / "outputs" / "runs").iterdir()) == []


@pytest.mark.usefixtures("tiny_network")
def test_small_runs_are_compared_with_the_same_steps(
    smoke: Settings, started: list[tuple[int, int | None, int | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[str, int]] = []
    step, validate = BareLoop.step, BareLoop.validate
    monkeypatch.setattr(BareLoop, "step", lambda self, n: sizes.append(("step", n)) or step(self, n))
    monkeypatch.setattr(BareLoop, "validate", lambda self, n: sizes.append(("validate", n)) or validate(self, n))
    named = by_name(sweep.measure(replace(smoke, threads=4, batches=(64,))).figures)
    assert started == [(2, None, 2)] * 2  # of two at a time
    once = [("step", 64), ("step", 64), ("step", 30), ("validate", 21), ("validate", 21)]
    assert sizes == once * (1 + 2 * 2)
    assert named[sweep.BARE].to == sweep.SWEEP
    assert list((smoke.folder / "outputs" / "runs").iterdir()) == []


def test_a_first_step_is_found_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(
        "2026-01-02 03:04:05,006 INFO fersweep: decoding\n2026-01-02 03:04:07,250 DEBUG fersweep: first training step\n"
    )
    assert startup.first_step(tmp_path) == datetime(2026, 1, 2, 3, 4, 7, 250_000).timestamp()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")
def test_a_memory_map_costs_a_process_less_than_a_copy(smoke: Settings) -> None:
    wait_for_server()
    small, full = (smoke.compose("dataset.image_size=256", f"dataset.source.size={size}") for size in (21, 140))
    named = {figure.what: figure for figure in memory.one_more(small, full, 2)}
    size = 140 * 256**2 / 2**20
    assert named["images, decoded"].values == (size,)
    assert len(named["one more process, at its start"].values) == 4
    mapped, copied = named[memory.MAPPED], named[memory.COPIED]
    assert mapped.to == memory.COPIED
    assert max(mapped.values) < size / 4
    assert size * 0.9 < min(copied.values) <= max(copied.values) < size * 1.5
    assert multiprocessing.active_children() == []


def test_fer2013_is_decoded_again_each_round(smoke: Settings, tmp_path: Path) -> None:
    assert data.measure(smoke).figures == []
    assert data.measure(smoke).notes == ["Not measured: --fer2013 PATH names the archive or folder of FER2013."]
    archive = fer2013_zip(tmp_path / "copy" / "fer2013.zip")
    part = data.measure(replace(smoke, fer2013=archive))
    assert list(by_name(part.figures)) == ["decoded first", "from the cache"]
    assert [len(list(tmp_path.glob(f"fer2013-{n}/fer2013-*/images.npy"))) for n in range(3)] == [1, 1, 0]
    assert multiprocessing.active_children() == []


def test_single_input_steps_are_faster_than_the_loader(smoke: Settings) -> None:
    part = pipeline.measure(smoke)
    named = by_name(part.figures)
    assert list(named) == [
        "indexing the memory map",
        "flip_zoom",
        "standard",
        "to a tensor batch",
        "loader, flip_zoom",
        "loader, standard",
    ]
    assert all(figure.to == pipeline.LOADER for name, figure in named.items() if name != pipeline.LOADER)
    for step in ("indexing the memory map", "to a tensor batch"):
        assert min(named[step].values) > max(named["loader, flip_zoom"].values)
    assert part.notes == ["Images come in batches; the loader has 0 processes."]


def test_answers_are_timed_by_batch_and_view(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "FERModule", Views)
    asked.clear()
    found = inference.measure(smoke).figures
    assert set(asked) == {("one", 1), ("ten", 1), ("one", 4), ("ten", 4)}
    rates = [(figure.case["batch"], figure.what) for figure in found if figure.unit == "images/s"]
    assert rates == [(1, "single view"), (1, "ten crops"), (4, "single view"), (4, "ten crops")]
    latencies = by_name([figure for figure in found if figure.unit == "ms"])
    for view in inference.VIEWS:
        middle, slow = latencies[f"latency, {view}"], latencies[f"latency, {view}, 95th percentile"]
        assert all(a <= b for a, b in zip(middle.values, slow.values, strict=True))


asked: list[tuple[str, int]] = []


class Views(nn.Module):
    """Stands for `FERModule`, and records its calls."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        asked.append(("one", len(images)))
        return torch.zeros(len(images), 7)

    def ten_crop_probabilities(self, images: torch.Tensor) -> torch.Tensor:
        asked.append(("ten", len(images)))
        return torch.zeros(len(images), 7)
