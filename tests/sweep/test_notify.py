"""The command at the end of a sweep: told how it ended, and without influence on it."""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_processes import Started, install
from run_states import all_states

from fersweep.errors import UserError
from fersweep.sweep import notify
from fersweep.sweep.slurm.launch import launch
from fersweep.sweep.slurm.settings import Settings

TELL = """\
import os, sys
found = {name: value for name, value in os.environ.items() if name.startswith("FERSWEEP_") and name != "FERSWEEP_LOCAL"}
print([sys.argv[2:], found], file=open(sys.argv[1], "a"))
"""


class Told:
    """A command that writes what it is told, and what that was."""

    def __init__(self, folder: Path) -> None:
        self.script, self.file = folder / "tell.py", folder / "told.txt"
        self.script.write_text(TELL)
        self.command = [sys.executable, str(self.script), str(self.file)]

    def read(self) -> list[Any]:
        return list(map(ast.literal_eval, self.file.read_text().splitlines())) if self.file.exists() else []


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return install(monkeypatch)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (None, "done"),
        (SystemExit(1), "failed"),
        (SystemExit(2), "failed"),
        (SystemExit(130), "interrupted"),
        (SystemExit(143), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (UserError("x"), "failed"),
    ],
)
def test_it_is_told_how_the_sweep_ended(told: Told, tmp_path: Path, end: BaseException | None, state: str) -> None:
    runs = all_states(tmp_path / "outputs" / "some")

    def sweep() -> None:
        with notify.at_end([*told.command, "$HOME; exit 1"]) as begun:
            begun.runs = [runs[name] for name in ("done", "better", "failed", "killed")]
            begun.folders = [tmp_path / "outputs" / "some"] * 4
            if end is not None:
                raise end

    if end is None:
        sweep()
    else:
        with pytest.raises(type(end)) as raised:
            sweep()
        assert raised.value is end
    counts = {"RUNS": "4", "DONE": "2", "FAILED": "1", "PRUNED": "0"}
    expected = {"SWEEP": str(tmp_path / "outputs" / "some"), "STATE": state, **counts}
    assert told.read() == [[["$HOME; exit 1"], {f"FERSWEEP_{name}": value for name, value in expected.items()}]]


def test_a_sweep_that_has_not_begun_tells_nothing(told: Told) -> None:
    with pytest.raises(SystemExit), notify.at_end(told.command):
        raise SystemExit(2)
    assert told.read() == []


@pytest.mark.parametrize(
    ("code", "warning"),
    [
        ("import sys; print('no network'); sys.exit(3)", "failed with exit code 3: no network"),
        ("import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)", "was ended after 0.5 seconds"),
    ],
)
def test_a_command_that_fails_or_hangs_is_one_line_and_changes_nothing(
    tmp_path: Path, code: str, warning: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notify, "LIMIT_S", 0.5)
    begin = time.monotonic()

    def sweep() -> None:
        with notify.at_end([sys.executable, "-c", code]) as begun:
            begun.folders = [tmp_path]
            raise SystemExit(1)

    with pytest.raises(SystemExit) as end:
        sweep()
    assert end.value.code == 1
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"warning: hydra.launcher.on_end ({sys.executable}) {warning}\n")
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("on_end", "message"),
    [
        ("no-such-program x", "there is no program no-such-program here"),
        ("sh -c 'x", "is not a command (No closing quotation)"),
        ("", "is empty"),
        ([], "is empty"),
        (3, "hydra.launcher.on_end=3 is not a command: write a program"),
        ({"a": "b"}, "hydra.launcher.on_end={'a': 'b'} is not a command: write a program"),
        ([["a"]], "hydra.launcher.on_end=[['a']] is not a command: write a program"),
    ],
)
def test_what_cannot_be_run_is_refused_before_the_sweep(on_end: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        notify.words(on_end)
    assert message in str(caught.value)


def test_a_local_sweep_runs_it_once(
    started: Started, run_train: Callable[..., int], told: Told, tmp_path: Path
) -> None:
    command = " ".join(told.command)
    assert run_train("-m", "seed=1,2", f"hydra.launcher.on_end='{command} two words'") == 0
    (((*words,), variables),) = told.read()
    assert words == ["two", "words"]
    assert variables["FERSWEEP_SWEEP"] == str(tmp_path / "outputs" / "runs")
    assert (variables["FERSWEEP_STATE"], variables["FERSWEEP_RUNS"]) == ("done", "2")
    assert run_train("-m", "seed=3", "hydra.launcher.on_end=no-such-program") == 2
    assert run_train("-m", "seed=3", "hydra.launcher.on_end=no-such-program", "--dry-run") == 2
    assert len(started.configs) == 2


def test_nobody_waits_for_the_end_without_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        launch([], Settings(wait=False), "true")
    assert end.value.code == 2
    assert "hydra.launcher.on_end has no effect with hydra.launcher.wait=false" in capsys.readouterr().err
