"""The local launcher: checked whole before it starts, one process a run, and a failed run costs that run alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import FACES, SHALLOW, SMALL, TRAIN, train_process

from fersweep.compose import compose_config
from fersweep.config import choices_of, to_dict
from fersweep.sweep.identity import run_dir, run_hash
from fersweep.sweep.status import Status, mark_done, mark_failed, write_json
from hydra_plugins.fersweep_launcher import local_launcher

Train = Callable[..., int]


class Started:
    """Stands for `subprocess.run` in the launcher: notes what it should start, and leaves what such a run leaves."""

    def __init__(self, codes: dict[str, int]) -> None:
        self.codes = codes
        self.overrides: list[list[str]] = []
        self.environments: list[dict[str, str]] = []

    def __call__(self, command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[str]:
        assert command[:2] == [sys.executable, str(TRAIN)]
        assert not check
        self.overrides.append(command[2:])
        self.environments.append(env)
        code = next((code for override, code in self.codes.items() if override in command), 0)
        config = to_dict(compose_config(command[2:]))
        directory = run_dir(config)
        directory.mkdir(parents=True)
        if code == 0:
            scores = {"val/accuracy": 0.5, "test/accuracy": 0.9, "test/n": 10}
            about = {"run": run_hash(config), "choices": choices_of(config), "seed": config["seed"]}
            write_json(directory / "result.json", {**about, "metrics": scores, "accuracy_interval": [0.6, 0.98]})
            mark_done(directory)
        elif code > 0:
            mark_failed(directory, ArithmeticError("the sky fell"))
        return subprocess.CompletedProcess(command, code)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """No process is started; ``started.codes`` gives the exit codes by override."""
    noted = Started({})
    monkeypatch.setattr(local_launcher.subprocess, "run", noted)
    return noted


def test_every_run_is_a_process_of_its_own_with_its_own_overrides(
    started: Started, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in local_launcher.RANK_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "yes")
    code = run_train("-m", "attention=se,eca", "seed=1,2", "dataset=folder", "dataset.root='/a=b/c,d e'")
    assert code == 0
    chosen = [overrides[:2] for overrides in started.overrides]
    assert chosen == [[f"attention={each}", f"seed={seed}"] for each in ("se", "eca") for seed in (1, 2)]
    for overrides, environment in zip(started.overrides, started.environments, strict=True):
        assert compose_config(overrides).dataset.root == "/a=b/c,d e"
        assert not set(environment) & set(local_launcher.RANK_VARIABLES)
        assert environment["KEPT"] == "yes"


def test_settings_of_a_group_that_is_swept_reach_every_run(started: Started, run_train: Train) -> None:
    settings = ("backbone.model.batch_norm=true", "backbone.model.dropout=0,0.5")
    assert run_train("-m", "backbone=vgg16,vgg19", *settings) == 0
    configs = [compose_config(overrides) for overrides in started.overrides]
    found = [(cfg.backbone.name, cfg.backbone.model.dropout) for cfg in configs]
    assert found == [("vgg16", 0), ("vgg16", 0.5), ("vgg19", 0), ("vgg19", 0.5)]
    assert all(cfg.backbone.model.batch_norm is True for cfg in configs)


def test_a_failed_run_does_not_end_the_sweep_and_is_listed_with_its_log(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    started.codes = {"seed=1": 1, "seed=3": -9}
    assert run_train("-m", "seed=1,2,3,4", "sweep=some") == 1
    assert len(started.overrides) == 4
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split("]")[0] for line in lines[:4]] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert lines[5].split() == ["run", "seed", "validation", "test", "95", "%", "interval", "n"]
    assert [line.split()[1] for line in lines[6:]] == ["2", "4"]  # those that are done, with their seeds
    table = captured.err
    assert "Traceback" not in table
    assert "2 of 4 runs failed:" in table
    assert "ArithmeticError: the sky fell" in table
    assert "ended with exit code -9" in table
    directories = [run_dir(to_dict(compose_config(started.overrides[number]))) for number in range(4)]
    for number, directory in enumerate(directories):
        assert (f"log: {directory / 'train.log'}" in table) == (number in (0, 2))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
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
    assert started.overrides == []
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert [path for path in tmp_path.rglob("*") if path.is_dir() and path.name not in ("outputs", "runs")] == []


def test_a_setting_that_only_some_of_the_swept_choices_have_starts_nothing(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train("-m", "attention=eca,none", "attention.gamma=3") != 0  # Hydra's own words, before the launcher
    assert "Could not override 'attention.gamma'" in capsys.readouterr().err
    assert started.overrides == []


def test_a_sweeper_gets_the_validation_score(
    started: Started, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned: list[Any] = []
    original = local_launcher.LocalLauncher.launch

    def launch(self: local_launcher.LocalLauncher, *arguments: Any, **named: Any) -> Any:
        returned.extend(original(self, *arguments, **named))
        return returned

    monkeypatch.setattr(local_launcher.LocalLauncher, "launch", launch)
    assert run_train("-m", "seed=1,2") == 0
    assert [job.return_value for job in returned] == [0.5, 0.5]
    assert len(started.overrides) == 2


def test_a_real_sweep_leaves_two_results_and_one_failure(tmp_path: Path, cache: Path) -> None:
    """Three processes: folds 0 and 1 of split=subjects exist, fold 99 does not, which only the data can tell."""
    settings = [*SMALL, *SHALLOW, FACES, f"cache={cache}", "recipe.max_epochs=1", "trainer.limit_batches=1"]
    done = train_process(tmp_path, "-m", "split=subjects", "split.fold=0,99,1", *settings)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "1 of 3 runs failed:" in done.stderr
    assert done.stderr.count("error: split.fold=99 does not exist") == 1
    directories = sorted(path for path in (tmp_path / "outputs" / "runs").iterdir() if path.is_dir())
    assert len(directories) == 3
    states = {path: Status.read(path).state for path in directories}
    assert sorted(states.values()) == ["done", "done", "failed"]
    (failed,) = (path for path, state in states.items() if state == "failed")
    log = done.stderr.partition("log: ")[2].splitlines()[0]
    assert (tmp_path / log).samefile(failed / "train.log")
    assert "split.fold=99 does not exist" in (failed / "train.log").read_text()
    scores = [json.loads((path / "result.json").read_text()) for path, state in states.items() if state == "done"]
    assert len({score["run"] for score in scores}) == 2
    assert all(score["metrics"]["test/n"] > 0 for score in scores)
    assert done.stdout.count("is done") == 2
