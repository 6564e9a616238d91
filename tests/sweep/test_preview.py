"""``--dry-run``: the state of each run, the epochs left and the predicted time, without a trace on disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import FACES
from sweeps import changed, planned

from fersweep.config import options
from fersweep.config.schema import choices_of
from fersweep.files import write_json
from fersweep.runs.identity import run_hash
from fersweep.runs.status import freeze, mark_done, mark_failed, mark_pending, mark_running
from fersweep.sweep.plan import Planned
from fersweep.sweep.preview import Expected, expected, total

__all__ = ["planned"]

Compose = Callable[..., Planned]


def begun(run: Planned, epochs: int) -> None:
    """Leave the files of a run that was interrupted after some epochs."""
    (run.directory / "checkpoints").mkdir(parents=True)
    freeze(run.directory, run.config)
    mark_running(run.directory)
    mark_pending(run.directory)
    if epochs:
        (run.directory / "checkpoints" / "last.ckpt").touch()
    rows = "".join(f"{epoch},0.5\n" for epoch in range(1, epochs + 1))
    (run.directory / "history.csv").write_text(f"epoch,val/accuracy\n{rows}")


def finish(run: Planned, seconds: float, epochs: int, device: str = "cpu") -> None:
    """Leave the files of a finished run."""
    run.directory.mkdir(parents=True, exist_ok=True)
    freeze(run.directory, run.config)
    about = {"run": run_hash(run.config), "choices": choices_of(run.config), "seed": run.config["seed"]}
    rest = {"metrics": {"val/accuracy": 0.5}, "seconds": seconds, "epochs": epochs, "environment": {"device": device}}
    write_json(run.directory / "result.json", {**about, **rest})
    mark_done(run.directory)


def shown(found: list[Expected]) -> list[tuple[Any, ...]]:
    return [(each.state, each.first, each.last, each.seconds) for each in found]


def test_each_state_and_the_time_of_runs_of_its_kind(planned: Compose) -> None:
    base = planned()
    runs = [changed(base, seed=seed) for seed in range(1, 8)]
    finish(runs[0], seconds=40, epochs=8)
    begun(runs[1], epochs=3)
    begun(runs[2], epochs=0)
    begun(runs[3], epochs=6)
    mark_failed(runs[3].directory, ValueError("no"))
    begun(runs[4], epochs=6)
    mark_failed(runs[4].directory, ("NotFiniteError", "the loss is nan"))
    begun(runs[5], epochs=8)  # interrupted in its test
    assert shown(expected(runs, here=True)) == [
        ("done", 1, 0, None),
        ("interrupted", 4, 8, 25.0),
        ("interrupted", 1, 8, 40.0),
        ("failed", 7, 8, 10.0),
        ("failed", 1, 8, 40.0),
        ("interrupted", 8, 8, 5.0),
        ("new", 1, 8, 40.0),
    ]


def test_only_runs_of_the_same_kind_predict(planned: Compose) -> None:
    same = planned()
    earlier = changed(same, seed=9, sweep="earlier")
    finish(changed(earlier, recipe__max_epochs=2, recipe__optimizer__lr=0.1), seconds=4, epochs=2)
    slow: list[dict[str, Any]] = [{"recipe__batch_size": 8}, {"dataset__image_size": 40}, {"recipe__test_crops": 10}]
    for other in slow:
        finish(changed(earlier, **other), seconds=800, epochs=8)
    finish(changed(earlier, seed=3), seconds=800, epochs=8, device="a GPU")
    unlike = changed(same, recipe__mixup=1)
    assert shown(expected([same, unlike], here=True)) == [("new", 1, 8, 16.0), ("new", 1, 8, None)]
    assert shown(expected([same], here=False)) == [("new", 1, 8, 408.0)]
    again = changed(earlier, recipe__max_epochs=2, recipe__optimizer__lr=0.1, force=True)
    assert shown(expected([again], here=True)) == [("done", 1, 2, 4.0)]


def test_totals(tmp_path: Path) -> None:
    def run(state: Any, seconds: float | None, patience: int | None = None, last: int = 8) -> Expected:
        config = {"recipe": {"early_stopping_patience": patience}}
        return Expected(Planned((), config, tmp_path), state, 1, last, seconds)

    new, done = run("new", 60.0), run("done", None, last=0)
    assert total([done, done]) == "2 runs: 2 done; nothing is left to train."
    assert total([new, done]) == "2 runs: 1 done, 1 new; predicted time about 1 min 00 s."
    unknown = run("failed", None)
    time = "about 2 min 00 s, or 1 min 00 s with 4 runs at a time; unknown for 1 run."
    assert total([new, new, unknown], at_a_time=4) == f"3 runs: 1 failed, 2 new; predicted time {time}"
    assert total([unknown]) == "1 run: 1 failed; predicted time unknown: no run of the same kind is done."
    assert "about at most 1 min 00 s." in total([run("new", 60.0, patience=3)])


def test_nothing_is_written_and_nothing_started(
    run_train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "_added", [])
    file = tmp_path / "mine" / "experiment" / "chosen.yaml"
    file.parent.mkdir(parents=True)
    params = "params: {activation: 'elu,relu', seed: '1,2', recipe.label_smoothing: '0.0,0.1'}"
    rest = "zip: [activation, recipe.label_smoothing], exclude: [{activation: relu, seed: 2}]"
    file.write_text(f"# @package _global_\nhydra: {{sweeper: {{{params}, {rest}, order: fewest_seeds_first}}}}\n")
    settings = ("backbone=aer_cnn", "attention=none", FACES, "recipe.max_epochs=2", f"--config-dir={tmp_path}/mine")
    assert run_train("-m", "experiment=chosen", "hydra.launcher.n_jobs=1", *settings, "--dry-run") == 0
    header, *lines, _, totals, end = capsys.readouterr().out.splitlines()
    assert header.split() == ["state", "epochs", "time", "run"]
    assert [line.split()[:5] for line in lines] == [["new", "1", "to", "2", "unknown"]] * 3
    found = [re.findall(r"-(e?r?e?lu)-.*-s(\d)-", line)[0] for line in lines]
    assert found == [("elu", "1"), ("relu", "1"), ("elu", "2")]
    assert totals == "3 runs: 3 new; predicted time unknown: no run of the same kind is done."
    assert end == "Nothing was started or written (--dry-run)."
    single = ("activation=elu", "seed=2", "recipe.label_smoothing=0.0")
    assert run_train("--dry-run", *single, *settings) == 0
    assert capsys.readouterr().out.splitlines() == [header, lines[2], "", totals.replace("3 runs: 3", "1 run: 1"), end]
    assert run_train("--dry-run", "dataset=folder", "dataset.root=none", "split=random") == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("mode", [("--dry-run",), ("-m", "--dry-run"), ("-m",), ("-m", "hydra/sweeper=search")])
def test_a_traceback_shows_no_control_character(
    mode: tuple[str, ...],
    run_train: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that nobody foresaw, in the process that starts the runs."""

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("\x1b[2J")

    monkeypatch.setattr("fersweep.training.attempt.prepare", fails)
    monkeypatch.setattr("fersweep.sweep.plan.to_dict", fails)
    monkeypatch.setattr("fersweep.sweep.local.processes.warm_up", lambda: None)
    swept = ["recipe.mixup=0,0.1"] if "-m" in mode else []
    assert run_train(*mode, *swept) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert error.endswith("OSError: \\x1b[2J\n")
    assert "\x1b" not in error
