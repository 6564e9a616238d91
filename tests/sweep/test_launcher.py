"""Sweeps on one machine: what is started, in which order, with what, and what is said of it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import FACES
from fakes import encoded, picture, write
from rich.console import Console

from fersweep.config.schema import choices_of
from fersweep.files import write_json
from fersweep.runs.identity import run_hash
from fersweep.runs.status import Status, mark_done
from fersweep.sweep.local import launch as local
from fersweep.sweep.local import processes
from fersweep.sweep.local.board import Board
from fersweep.sweep.plan import Outcome, Planned
from fersweep.training import fit as training
from fersweep.training import results as record

Train = Callable[..., int]


class Started:
    """Stands for `RunProcesses` in a sweep: notes what it should start, and leaves what such a run leaves."""

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
    """A run that ends the second time it is asked whether it has."""

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


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """No process is started; ``started.errors`` gives the failures by seed."""
    noted = Started()
    monkeypatch.setattr(processes, "warm_up", lambda: None)
    monkeypatch.setattr(local, "RunProcesses", noted)
    monkeypatch.setattr(local, "visible_gpus", list)
    return noted


def test_every_run_gets_processes_of_its_own_with_its_own_frozen_configuration(
    started: Started, run_train: Train, tmp_path: Path
) -> None:
    root = tmp_path / "a=b" / "c,d e"
    for number, name in enumerate(("happy", "sad")):
        write(root / name / "face.png", encoded(picture(number)))
    assert run_train("-m", "attention=se,eca", "seed=1,2", "dataset=folder", f"dataset.root='{root}'") == 0
    chosen = [(config["attention"]["name"], config["seed"]) for config in started.configs]
    assert chosen == [(each, seed) for each in ("se", "eca") for seed in (1, 2)]
    for run in started.runs:
        assert run.config["dataset"]["root"] == str(root)
        assert yaml.safe_load((run.directory / "config.yaml").read_text()) == run.config
        assert run.status_at_start.state == "pending"
        assert run.status_at_start.choices == choices_of(run.config)


def test_a_dataset_that_is_not_there_is_said_before_anything_starts(
    started: Started, run_train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train("-m", "attention=se,eca", "dataset=jaffe", "split=random", f"dataset.root={tmp_path}/nowhere") == 2
    error = capsys.readouterr().err
    assert "nowhere does not exist" in error
    assert error.endswith("nothing was started)\n")
    assert error.count("\n") == 1
    assert started.runs == []
    assert not list(tmp_path.rglob("status.json"))


def test_all_runs_are_frozen_before_the_first_starts(
    run_train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "warm_up", lambda: None)

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "RunProcesses", end)
    assert run_train("-m", "seed=1,2,3") == 130
    directories = sorted(path.parent for path in tmp_path.glob("outputs/runs/*/config.yaml"))
    assert [Status.read(path).seed for path in directories] == [1, 2, 3]


def test_settings_of_a_group_that_is_swept_reach_every_run(started: Started, run_train: Train) -> None:
    settings = ("backbone.model.batch_norm=true", "backbone.model.dropout=0,0.5")
    assert run_train("-m", "backbone=vgg16,vgg19", *settings) == 0
    found = [(config["backbone"]["name"], config["backbone"]["model"]["dropout"]) for config in started.configs]
    assert found == [("vgg16", 0), ("vgg16", 0.5), ("vgg19", 0), ("vgg19", 0.5)]
    assert all(config["backbone"]["model"]["batch_norm"] is True for config in started.configs)


def test_a_failed_run_does_not_end_the_sweep_and_is_listed_with_its_log(
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
    assert [row[1] for row in table[1:-1]] == ["2", "4"]  # those that are done, with their seeds
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
def test_a_damaged_file_costs_its_run_alone(
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
    assert capsys.readouterr().err.count("was trained on other data") == 2


def test_so_many_runs_at_a_time_share_the_cores(
    started: Started, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_gpus_are_shared_out(
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
def test_two_at_a_time_on_a_cpu_where_each_of_their_processes_has_a_core_and_memory(
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
def test_two_at_a_time_only_where_the_threads_that_were_asked_for_have_cores(
    started: Started, run_train: Train, monkeypatch: pytest.MonkeyPatch, threads: str, variable: str, most: int
) -> None:
    monkeypatch.setattr(local.memory, "there", lambda: 2**40)
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert run_train("-m", "seed=1,2", "trainer=cpu", f"hydra.launcher.threads={threads}") == 0
    assert started.most == most


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("hydra.launcher.gpus_per_run=3", "A run takes 3 GPUs and this machine has 2"),
        ("hydra.launcher.gpus_per_run=1.5", "hydra.launcher.gpus_per_run=1.5 is no number of GPUs"),
        ("trainer=ddp hydra.launcher.gpus_per_run=0.5", "is fewer than trainer.devices=2"),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0 is out of range: null, or 1 or more"),
        ("hydra.launcher.threads=-2", "hydra.launcher.threads=-2 is out of range: null, or 1 or more"),
        ("hydra.launcher.timeout=0", "hydra.launcher.timeout=0 is out of range: null, or minutes above 0"),
        ("hydra.launcher.gpus_per_run=-1", "hydra.launcher.gpus_per_run=-1.0 is no number of GPUs"),
        ("trainer=cpu hydra.launcher.gpus_per_run=1", "hydra.launcher.gpus_per_run=1 has no effect"),
        ("trainer=ddp_cpu trainer.num_nodes=2", "trainer.num_nodes needs a cluster"),
    ],
)
def test_a_launcher_that_cannot_run_them_says_so_before_it_starts_any(
    started: Started,
    run_train: Train,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    settings: str,
    sentence: str,
) -> None:
    monkeypatch.setattr(local, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(training.torch.cuda, "device_count", lambda: 2)
    assert run_train("-m", "seed=1,2", *settings.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sentence in error
    assert started.runs == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("seed=1,x", "seed=x: 'x' is no whole number."),
        ("attention=se,cbma", "attention=cbma is no choice of attention (did you mean cbam?)"),
        ("seed=1,-1", "seed=-1 is out of range"),
        ("backbone=resnet50,vgg16 backbone.attention_position=before_addition", "is not possible in a VGG"),
        ("recipe.batch_size=8,${nowhere}", "Interpolation key 'nowhere' not found"),
        ("backbone=glob(vgg*) attention=none backbone.attention_position=every_conv", "no effect with attention=none"),
    ],
)
def test_one_impossible_run_keeps_all_from_starting(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path, overrides: str, message: str
) -> None:
    assert run_train("-m", *overrides.split()) == 2
    assert started.runs == []
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert [path for path in tmp_path.rglob("*") if path.is_dir() and path.name not in ("outputs", "runs")] == []


def test_a_setting_that_only_some_of_the_swept_choices_have_starts_nothing(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train("-m", "attention=eca,none", "attention.gamma=3") == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: There is no setting attention.gamma; settings of attention: name, title. (in attention=none"
    )
    assert error.count("\n") == 1
    assert started.runs == []


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
    running = [SimpleNamespace(place=1, processes=SimpleNamespace(seconds=30.0))]
    board.show(running, runs)
    board.end()
    shown = stream.getvalue()
    assert "[1/3] done    one  validation 40.00%  test 30.00% (1 min 00 s)" in shown
    row = next(line.split() for line in shown.splitlines() if "2/8" in line)
    assert row == ["two", "2/8", "50.00%", "30", "s"]
    assert "1 done · 1 running · 0 failed · 1 left · about 1 min 30 s to go" in shown


def test_two_runs_that_want_one_directory_are_refused(
    started: Started, run_train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The place of the data is no part of a run's identity: one would be reported with the other's result."""
    for folder in ("A", "B"):
        for number, name in enumerate(("happy", "sad")):
            write(tmp_path / folder / name / "face.png", encoded(picture(number)))
    roots = f"dataset.root={tmp_path}/A,{tmp_path}/B"
    assert run_train("-m", "dataset=folder", "split=random", roots, "seed=1,2") == 2
    error = capsys.readouterr().err
    assert re.match(r"error: dataset.root=\S+/A and dataset.root=\S+/B are the same run, resnet50-\S+: ", error)
    assert "dataset.root is no part of what is computed; start two sweeps, each with a sweep=NAME of its own" in error
    assert error.count("\n") == 1
    assert started.runs == []
    assert not list(tmp_path.rglob("status.json"))
    assert run_train("-m", "seed=1,1") == 0  # the same run twice is one run
    capsys.readouterr()


@pytest.mark.parametrize("same", [True, False])
def test_a_run_that_another_process_finished_must_have_seen_the_same_data(
    started: Started,
    run_train: Train,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    same: bool,
) -> None:
    monkeypatch.setattr(FakeProcesses, "elsewhere", True)
    monkeypatch.setattr(local, "LOOK_AGAIN", 0.0)
    if same:
        monkeypatch.setattr("fersweep.training.results.data_digest", lambda _: "0")
    assert run_train("-m", "seed=1", "dataset.source.size=70") == (0 if same else 1)
    assert ("was trained on other data than" in capsys.readouterr().err) is not same
    assert len(started.runs) == 1
