"""Sweeps on one machine: which runs start with which settings, and what is printed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import FACES
from fake_processes import FakeProcesses, Started, install
from fakes import encoded, picture, write
from rich.console import Console

from fersweep.config.schema import choices_of
from fersweep.runs.status import Status
from fersweep.sweep.local import launch as local
from fersweep.sweep.local import place, processes
from fersweep.sweep.local.board import Board
from fersweep.sweep.plan import Outcome, Planned
from fersweep.training import results as record

Train = Callable[..., int]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return install(monkeypatch)


def test_every_run_gets_new_processes_and_a_frozen_configuration(
    started: Started, run_train: Train, tmp_path: Path
) -> None:
    root = tmp_path / "a=b" / "c,d e"
    for number, name in enumerate(("happy", "sad")):
        write(root / name / "face.png", encoded(picture(number)))
    exclude = "hydra.sweeper.exclude=attention:eca,seed:1"
    assert run_train("-m", "attention=se,eca", "seed=1,2", exclude, "dataset=folder", f"dataset.root='{root}'") == 0
    chosen = [(config["attention"]["name"], config["seed"]) for config in started.configs]
    assert chosen == [("se", 1), ("se", 2), ("eca", 2)]
    for run in started.runs:
        assert run.config["dataset"]["root"] == str(root)
        assert yaml.safe_load((run.directory / "config.yaml").read_text()) == run.config
        assert run.status_at_start.state == "pending"
        assert run.status_at_start.choices == choices_of(run.config)
    assert not list(tmp_path.rglob("multirun.yaml"))  # it would have the launcher's settings, with their secrets


def test_all_runs_are_frozen_before_the_first_starts(
    run_train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "warm_up", lambda: None)

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, "RunProcesses", end)
    assert run_train("-m", "seed=1,2,3") == 130
    directories = sorted(path.parent for path in tmp_path.glob("outputs/runs/*/config.yaml"))
    assert [Status.read(path).seed for path in directories] == [1, 2, 3]


def test_settings_of_a_group_that_is_swept_reach_every_run(started: Started, run_train: Train) -> None:
    settings = ("backbone.model.batch_norm=true", "backbone.model.dropout=0,0.5")
    assert run_train("-m", "backbone=vgg16,vgg19", *settings) == 0
    found = [(config["backbone"]["name"], config["backbone"]["model"]["dropout"]) for config in started.configs]
    assert found == [("vgg16", 0), ("vgg16", 0.5), ("vgg19", 0), ("vgg19", 0.5)]
    assert all(config["backbone"]["model"]["batch_norm"] is True for config in started.configs)


def test_failed_runs_do_not_end_the_sweep_and_are_listed(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started.errors = {1: "ArithmeticError: the sky fell", 3: "its process was killed by signal 9"}
    assert run_train("-m", "seed=1,2,3,4", "sweep=some", "hydra.launcher.n_jobs=1") == 1
    assert len(started.runs) == 4
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "4 runs"
    assert [line.split()[1] for line in lines[1:9]] == ["start", "failed", "start", "done"] * 2
    table = [line.split() for line in lines[9:] if line]
    assert table[0] == ["run", "seed", "validation", "test", "95", "%", "interval", "n"]
    assert [row[1] for row in table[1:-3]] == ["2", "4"]  # those that are done, with their seeds
    assert lines[-2:] == ["Folder: outputs/some/", "Next: uv run fersweep report outputs/some"]
    assert "Traceback" not in captured.err
    assert "2 of 4 runs failed:" in captured.err
    for number, run in enumerate(started.runs):
        assert (f"  {run.directory.name}\n    {run.error}\n" in captured.err) == (number in (0, 2))
    assert all(run.directory.parent == tmp_path / "outputs" / "some" for run in started.runs)


def test_runs_that_are_done_are_not_started_again(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "data_digest", lambda _: "0")
    started.errors = {2: "ArithmeticError: the sky fell"}
    assert run_train("-m", "seed=1,2", FACES) == 1
    started.errors.clear()
    capsys.readouterr()
    assert run_train("-m", "seed=1,2,3", FACES) == 0
    assert [config["seed"] for config in started.configs] == [1, 2, 2, 3]
    assert "done before: 1" in capsys.readouterr().out
    assert run_train("-m", "seed=1,2,3", FACES, "force=true") == 0
    assert [config["seed"] for config in started.configs[4:]] == [1, 2, 3]


@pytest.mark.parametrize("name", ["status.json", "result.json"])
def test_a_damaged_file_fails_only_its_run(
    started: Started,
    run_train: Train,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(record, "data_digest", lambda _: "0")
    assert run_train("-m", "seed=1", FACES) == 0
    (started.runs[0].directory / name).write_text('{"state": ')
    assert run_train("-m", "seed=1,2", FACES) == 1
    assert [config["seed"] for config in started.configs] == [1, 2]
    error = capsys.readouterr().err
    assert f"{started.runs[0].directory / name} is not a readable" in error
    assert "delete it" in error


def test_a_done_run_of_other_data_is_a_failure_and_not_trained_over(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "data_digest", lambda _: "0")
    assert run_train("-m", "seed=1,2", FACES) == 0
    monkeypatch.setattr(record, "data_digest", lambda _: "1")
    assert run_train("-m", "seed=1,2", FACES) == 1
    assert len(started.runs) == 2
    assert capsys.readouterr().err.count("was trained on different data") == 2


def test_a_sweeper_gets_the_validation_score(
    started: Started, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned: list[Any] = []
    original = local.launch

    def launch(*arguments: Any, **named: Any) -> Any:
        returned.extend(jobs := original(*arguments, **named))
        return jobs

    monkeypatch.setattr(local, "launch", launch)
    assert run_train("-m", "seed=1,2") == 0
    assert [job.return_value for job in returned] == [0.5, 0.5]
    assert len(started.runs) == 2


def test_a_table_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    stream = io.StringIO()
    board = Board(Console(file=stream, force_terminal=True, width=120, color_system=None))
    config = {"recipe": {"max_epochs": 8}}
    runs = [Planned((), config, tmp_path / name) for name in ("one", "two", "three")]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "history.csv").write_text("epoch,val/accuracy\n1,0.25\n2,0.5\n")
    board.begin(3, 0)
    board.ended(0, Outcome(runs[0], {"metrics": {"val/accuracy": 0.4, "test/accuracy": 0.3}}), 60.0)
    running = [SimpleNamespace(run=runs[1], processes=SimpleNamespace(seconds=30.0))]
    board.show(running)
    board.end()
    shown = stream.getvalue()
    assert "[1/3] done    one  validation 40.00%  test 30.00% (1 min 00 s)" in shown
    row = next(line.split() for line in shown.splitlines() if "2/8" in line)
    assert row == ["two", "2/8", "50.00%", "30", "s"]
    assert "1 done · 1 running · 0 failed · 1 left · about 1 min 30 s to go" in shown


@pytest.mark.parametrize("same", [True, False])
def test_a_run_that_another_process_finished_must_have_seen_the_same_data(
    started: Started,
    run_train: Train,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    same: bool,
) -> None:
    monkeypatch.setattr(FakeProcesses, "elsewhere", True)
    monkeypatch.setattr("fersweep.sweep.place.POLL_ELSEWHERE", 0.0)
    if same:
        monkeypatch.setattr("fersweep.training.results.data_digest", lambda _: "0")
    assert run_train("-m", "seed=1", "dataset.source.size=70") == (0 if same else 1)
    assert ("was trained on different data from" in capsys.readouterr().err) is not same
    assert len(started.runs) == 1
