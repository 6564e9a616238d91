"""Sweeps whose helpers or launchers are ended from outside: the cause is named, and nothing keeps running."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

import pytest
from run_states import asked_for
from sweeps import wait_for

from fersweep.runs.collect import read
from fersweep.runs.lock import claim, is_locked
from fersweep.runs.status import mark_running
from fersweep.sweep.local import worker
from fersweep.sweep.local.processes import SERVER_DIED, RunProcesses
from fersweep.sweep.plan import interruptible
from fersweep.training.attempt import stop

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are needed")


def train_for_ever(config: Mapping[str, Any], *_: object) -> None:
    """A run that only ends when it is told to."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, stop)
    with claim(Path(config["directory"])):
        mark_running(Path(config["directory"]))
        time.sleep(600)


@pytest.mark.slow
def test_a_killed_fork_server_is_named_and_its_runs_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "work", train_for_ever)
    run = asked_for(tmp_path / "none-s1-0000000001")
    processes = RunProcesses({"directory": str(run), "trainer": {"devices": 1}}, run)
    try:
        wait_for(lambda: read(run).state == "running")
        server: Any = forkserver._forkserver  # type: ignore[attr-defined]
        os.kill(server._forkserver_pid, signal.SIGKILL)
        while not processes.ended():
            connection.wait(processes.sentinels, timeout=0.1)
    finally:
        processes.end()
    assert not is_locked(run)
    assert processes.failure() == SERVER_DIED
    assert read(run).error == {"type": "Ended", "message": SERVER_DIED}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_sweep_that_is_ended_says_so(number: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, interruptible("Interrupted. Run the same command to resume."):
        signal.raise_signal(number)
    assert end.value.code == code
    assert capsys.readouterr().err == "\nInterrupted. Run the same command to resume.\n"
    assert signal.getsignal(signal.SIGTERM) == before
