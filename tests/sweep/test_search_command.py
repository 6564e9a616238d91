"""Searches from the command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FACES, NARROW
from fake_processes import Started, install

from fersweep.runs.collect import collect
from fersweep.runs.trials import read
from fersweep.sweep.search import driver as loop
from fersweep.training import results as record

Train = Callable[..., int]
SEARCH = ("-m", "hydra/sweeper=search", "sweep=tune")
LR = "recipe.optimizer.lr=tag(log, interval(0.001, 0.1))"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    monkeypatch.setattr(loop, "POLL", 0.01)
    monkeypatch.setattr(record, "data_digest", lambda _: "0")
    return install(monkeypatch)


def test_a_search_tries_config_groups_and_numbers_and_prints_the_best(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    space = (
        "attention=choice(none,se,cbam)",
        "attention.reduction=choice(4,8)",
        LR,
        "recipe.mixup=interval(0, 1)",
        FACES,
    )
    where = "hydra.sweeper.where={attention.reduction:{attention:[se,cbam]}}"
    assert run_train(*SEARCH, *space, where, "hydra.sweeper.trials=5", "hydra.sweeper.sampler=random") == 0
    lines = capsys.readouterr().out.splitlines()
    search = read(tmp_path / "outputs" / "tune")
    assert search is not None
    assert [trial.state for trial in search.trials] == ["done"] * 5
    assert {config["attention"]["name"] for config in started.configs} > {"none"}
    for trial, config in zip(search.trials, started.configs, strict=True):
        assert f"recipe.optimizer.lr={config['recipe']['optimizer']['lr']}" in trial.overrides
        assert ("attention.reduction" in trial.params) is (config["attention"]["name"] != "none")
    assert lines[0] == "search: 5 trials"
    assert lines[-6] == "5 trials: 5 done; 0 epochs"
    assert lines[-5] == "Best: trial 1, val/accuracy 0.5000"
    assert lines[-2:] == ["Folder: outputs/tune/", "Next: uv run fersweep report outputs/tune"]
    best = shlex.split(lines[-4])[3:]
    assert set(best) >= {each for each in search.trials[0].overrides if each.startswith("recipe.optimizer.lr=")}
    assert run_train("-m", *best) == 0  # it is done
    assert len(started.runs) == 5
    assert run_train(*SEARCH, *space, where, "hydra.sweeper.trials=5", "hydra.sweeper.sampler=random") == 0
    assert len(started.runs) == 5


def test_each_value_gets_a_search_and_the_best_are_trained_with_fresh_seeds(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    equal = ("hydra.sweeper.each=attention", "hydra.sweeper.finals=2", "hydra.sweeper.trials=2")
    tell = tmp_path / "tell.sh"
    tell.write_text('echo "$FERSWEEP_SWEEP $FERSWEEP_STATE $FERSWEEP_RUNS $FERSWEEP_DONE" >> "$1"\n')
    on_end = f"hydra.launcher.on_end='sh {tell} {tmp_path / 'told'}'"
    assert run_train(*SEARCH, "attention=none,se", LR, FACES, *equal, on_end) == 0
    assert (tmp_path / "told").read_text() == f"{tmp_path / 'outputs' / 'tune'} done 8 8\n"  # once, with the finals
    out = capsys.readouterr().out
    found = {name: read(tmp_path / "outputs" / "tune" / name) for name in ("none", "se")}
    for name, search in found.items():
        assert search is not None
        assert [trial.state for trial in search.trials] == ["done"] * 2
        assert all(f"attention={name}" in trial.overrides for trial in search.trials)
        assert f"tune/{name}: 0.5000\n" in out
    finals = collect(tmp_path / "outputs" / "tune" / "finals")
    assert [(run.choices["attention"], run.seed, run.state) for run in finals] == [
        (name, seed, "done") for name in ("none", "se") for seed in (2, 3)
    ]
    lr = [config["recipe"]["optimizer"]["lr"] for config in started.configs]
    assert lr[4:] == [lr[0], lr[0], lr[2], lr[2]]  # all are equal, so the first is the best
    assert out.endswith("Next: uv run fersweep report outputs/tune/finals\n")


def test_the_finals_have_settings_of_their_own_which_are_no_part_of_the_search(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ("recipe.mixup=0.2", LR, FACES, "hydra.sweeper.trials=1")
    assert run_train(*SEARCH, *asked) == 0
    journal = (tmp_path / "outputs" / "tune" / "search.journal").read_text()
    assert "then the best" not in capsys.readouterr().out
    own = ("hydra.sweeper.finals=1", "hydra.sweeper.finals_overrides=recipe.mixup:0,split:random,dataset.channels:3")
    for started_before in (1, 2):  # the second time all is done
        assert run_train(*SEARCH, *asked, *own) == 0
        said = "then the best is trained with 1 fresh seed with recipe.mixup=0 split=random dataset.channels=3\n"
        assert said in capsys.readouterr().out
        assert len(started.configs) == 2, started_before
    trial, final = started.configs
    assert (trial["recipe"]["mixup"], trial["split"]["name"], trial["dataset"]["channels"]) == (0.2, "official", 1)
    assert (final["recipe"]["mixup"], final["split"]["name"], final["dataset"]["channels"]) == (0, "random", 3)
    assert (final["seed"], final["recipe"]["optimizer"]["lr"]) == (2, trial["recipe"]["optimizer"]["lr"])
    after = (tmp_path / "outputs" / "tune" / "search.journal").read_text()
    assert after.count("recipe.optimizer.lr") == journal.count("recipe.optimizer.lr")  # no further trial


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ("split:official", "hydra.sweeper.finals_overrides has no effect without finals"),
        ("3", "hydra.sweeper.finals_overrides=3 is not settings with values: write hydra.sweeper.finals_overrides="),
        ("seed:7", "hydra.sweeper.finals_overrides names seed, which cannot differ in the finals"),
        ("recipe.optimizer.lr:7", "hydra.sweeper.finals_overrides names recipe.optimizer.lr, which the search chooses"),
        (
            "split:offical",
            "hydra.sweeper.finals_overrides: split=offical is not known (did you mean official?)",
        ),
        ("split:official,split:random", "hydra.sweeper.finals_overrides has split twice: give it one value."),
        ("{split:[official,random]}", "hydra.sweeper.finals_overrides: split=['official', 'random'] is not known"),
        ("recipe.mixap:1", "hydra.sweeper.finals_overrides: There is no setting recipe.mixap (did you mean"),
        ("recipe.mixup:-1", "hydra.sweeper.finals_overrides: recipe.mixup=-1"),
    ],
)
def test_finals_that_cannot_be_are_refused_before_the_search(
    own: str, sentence: str, started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    finals = () if own == "split:official" else ("hydra.sweeper.finals=1",)
    assert run_train(*SEARCH, LR, FACES, *finals, f"hydra.sweeper.finals_overrides={own}") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1
    assert not [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert not started.configs


def test_an_experiment_can_be_a_search(started: Started, run_train: Train, tmp_path: Path) -> None:
    asked = ("attention=none,se", "hydra.sweeper.trials=1", "hydra.sweeper.finals=1", "dataset=synthetic", FACES)
    assert run_train("-m", "experiment=tuned_attention", *asked) == 0
    runs = collect(tmp_path / "outputs" / "tuned_attention")
    folders = [(run.directory.parent.name, run.choices["attention"], run.seed) for run in runs]
    assert folders == [("finals", "none", 2), ("finals", "se", 2), ("none", "none", 1), ("se", "se", 1)]
    splits = {config["sweep"]: config["split"]["name"] for config in started.configs}
    assert splits == {f"tuned_attention/{name}": "tuning" for name in ("none", "se")} | {
        "tuned_attention/finals": "official"
    }
    for config in started.configs:
        assert (config["backbone"]["name"], config["backbone"]["model"]["stem"]) == ("resnet18", "small")
        assert 0.003 <= config["recipe"]["optimizer"]["lr"] <= 0.3
    search = read(tmp_path / "outputs" / "tuned_attention" / "se")
    assert search is not None
    assert list(search.trials[0].params) == ["recipe.optimizer.lr", "recipe.optimizer.weight_decay", "recipe.mixup"]


def test_an_impossible_combination_is_named_once_and_the_search_goes_on(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    space = ("attention=se,none", "attention.reduction=4,8", FACES)
    assert run_train(*SEARCH, *space, "hydra.sweeper.trials=null", "hydra.sweeper.sampler=grid") == 0
    out = capsys.readouterr().out
    assert out.count("refused: There is no setting attention.reduction") == 1
    assert "Every combination of the grid was tried.\n2 trials: 2 done; 0 epochs\n" in out
    assert [config["attention"]["reduction"] for config in started.configs] == [4, 8]
    search = read(tmp_path / "outputs" / "tune")
    assert search is not None
    assert [trial.state for trial in search.trials] == ["done", "done", "refused", "refused"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("seed=1",), "This search has nothing to choose from"),
        ((LR, "hydra.sweeper.metric=test/accuracy"), "selects by test images"),
        (
            (LR, "hydra.sweeper.trails=3"),
            "There is no setting hydra.sweeper.trails (did you mean hydra.sweeper.trials?)",
        ),
        ((LR, "force=true"), "force=true would train every trial again"),
        ((LR, "seed=1,2", "hydra.sweeper.seeds=2"), "hydra.sweeper.seeds and finals set the seed of each run"),
        (("recipe.max_epochs=2,3",), "recipe.max_epochs must be the same for all trials"),
        ((LR, "attention=none,sa"), "attention=sa is not known"),
        ((LR, "hydra.sweeper.sampler=grid"), "is an interval, which a grid cannot list"),
        ((LR, "hydra.sweeper.where={lr:{attention:se}}"), "hydra.sweeper.where names lr, which has no values"),
        ((LR, "hydra.sweeper.each=attention"), "hydra.sweeper.each=attention names no setting with several values"),
        ((LR, "hydra.launcher.n_jobs=0"), "hydra.launcher.n_jobs=0 is out of range"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(
    overrides: tuple[str, ...], sentence: str, started: Started, run_train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(*SEARCH, *overrides) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sentence in error
    assert not started.runs


def test_an_interval_needs_a_search(run_train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_train("-m", LR) == 2
    assert "or search with -m hydra/sweeper=search" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are needed")
def test_real_runs_are_ended_early_and_taken_up_again(
    run_train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both trials pause at the only rung; then one goes on, as the search must have a result."""
    monkeypatch.setattr(loop, "POLL", 0.02)
    settings = (*NARROW, FACES, "recipe.max_epochs=20", "hydra.launcher.threads=1", "hydra.launcher.n_jobs=2")
    asked = ("hydra.sweeper.trials=2", "hydra.sweeper.first_rung=2", "hydra.sweeper.factor=10")
    assert run_train(*SEARCH, *settings, LR, *asked) == 0
    assert "goes on: no trial is done" in capsys.readouterr().out
    done, pruned = sorted(collect(tmp_path / "outputs" / "tune"), key=lambda run: run.state)
    assert (done.state, done.attempts, pruned.state, pruned.attempts) == ("done", 2, "pruned", 1)
    epochs = [len((run.directory / "history.csv").read_text().splitlines()) - 1 for run in (done, pruned)]
    assert epochs[0] == 20
    assert 2 <= epochs[1] < 20
    search = read(tmp_path / "outputs" / "tune")
    assert search is not None
    assert sorted(trial.epochs for trial in search.trials) == sorted(epochs)
