"""Runs in separate processes: each kind of failure is distinguished, affects one run only, and leaves it resumable."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FACES, NARROW, TRAIN
from rich.console import Console
from sweeps import planned, sweep, wait_for

from fersweep.runs.lock import is_locked
from fersweep.runs.status import Status
from fersweep.sweep.local import worker
from fersweep.sweep.local.board import Board
from fersweep.sweep.local.launch import LocalSweep
from fersweep.sweep.local.place import LocalPlace
from fersweep.sweep.local.processes import NOT_INHERITED, RunProcesses, warm_up
from fersweep.sweep.plan import Planned
from fersweep.training.attempt import run_frozen

__all__ = ["planned"]

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are needed")


def owner(directory: Path) -> int | None:
    lock = directory / ".lock"
    found = re.search(r"^pid=(\d+)$", lock.read_text(), re.MULTILINE) if lock.exists() else None
    return int(found[1]) if found else None


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def finished_an_epoch(directory: Path) -> bool:
    return (directory / "history.csv").exists()


def begun(directory: Path) -> bool:
    return Status.read(directory).state == "running"


@pytest.fixture
def disturbed() -> Iterator[Callable[..., None]]:
    """``disturbed(directory, act)`` calls ``act(pid)`` after the first epoch, or as soon as ``has(directory)``."""
    threads: list[threading.Thread] = []
    acted: list[Path] = []

    def disturb(directory: Path, act: Callable[[int], Any], has: Callable[[Path], bool] = finished_an_epoch) -> None:
        def watch() -> None:
            act(wait_for(lambda: has(directory) and owner(directory)))
            acted.append(directory)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()

    yield disturb
    for thread in threads:
        thread.join()
    assert len(acted) == len(threads)


def no_more_memory(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))


@pytest.mark.slow
def test_each_failure_affects_one_run_and_the_next_sweep_runs_only_those(
    planned: Callable[..., Planned], disturbed: Callable[..., None]
) -> None:
    runs = [planned(f"seed={seed}") for seed in range(1, 6)]
    raises, killed, starved = (runs[place].directory for place in (0, 2, 4))
    raises.mkdir(parents=True)
    (raises / "checkpoints").write_text("no folder")
    disturbed(killed, lambda pid: os.kill(pid, signal.SIGKILL))
    disturbed(starved, no_more_memory, begun)  # later it has all the memory it needs
    outcomes = sweep(runs)
    assert [outcome.result is not None for outcome in outcomes] == [False, True, False, True, False]
    errors = [str(outcome.error) for outcome in outcomes]
    assert errors[0].startswith("FileExistsError: ")
    assert errors[2] == "its process was killed by signal 9 (SIGKILL, perhaps out of memory)"
    assert re.search("memory|Error", errors[4])
    for run, error in zip(runs, errors, strict=True):
        status = Status.read(run.directory)
        assert (status.state, status.attempts) == ("failed" if error != "None" else "done", 1)
        assert status.error is None or status.error["message"] in error
        assert not is_locked(run.directory)
    assert "Traceback" in (raises / "train.log").read_text()

    (raises / "checkpoints").unlink()
    before = [Status.read(run.directory).attempts for run in runs]
    again = sweep(runs)
    assert all(outcome.result is not None for outcome in again)
    after = [Status.read(run.directory).attempts for run in runs]
    assert [two - one for one, two in zip(before, after, strict=True)] == [1, 0, 1, 0, 1]


@pytest.mark.slow
def test_a_hanging_run_is_ended_after_the_timeout(
    planned: Callable[..., Planned], disturbed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process ignores SIGTERM. The other run is done before the time is up."""
    monkeypatch.setattr("fersweep.sweep.local.processes.GRACE", 1.0)
    runs = [planned("seed=1"), planned("seed=2")]
    place = LocalPlace(runs, n_jobs=2, timeout=60, threads=1)

    def hang(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: Status.read(runs[1].directory).state == "done" and len(place.running) == 1)
        place.timeout = 0.01

    disturbed(runs[0].directory, hang)
    outcomes = LocalSweep(runs, place, Board(Console(quiet=True))).run()
    assert outcomes[0].error == "ended after hydra.launcher.timeout=0.01 minutes"
    assert outcomes[1].result is not None
    assert Status.read(runs[0].directory).state == "failed"
    assert sweep(runs)[0].result is not None


@pytest.mark.slow
def test_an_interrupted_sweep_ends_its_runs_and_leaves_them_resumable(
    planned: Callable[..., Planned], disturbed: Callable[..., None]
) -> None:
    runs = [planned(f"seed={seed}") for seed in (1, 2, 3)]
    pids: list[int] = []

    def interrupt(pid: int) -> None:
        pids.append(pid)
        os.kill(os.getpid(), signal.SIGINT)

    disturbed(runs[0].directory, interrupt)
    with pytest.raises(KeyboardInterrupt):
        sweep(runs, n_jobs=1)
    assert not alive(pids[0])
    assert [Status.read(run.directory).state for run in runs] == ["pending"] * 3
    assert [outcome.error for outcome in sweep(runs)] == [None] * 3
    assert [Status.read(run.directory).attempts for run in runs] == [2, 1, 1]


@pytest.mark.slow
def test_runs_end_when_their_launcher_is_killed(planned: Callable[..., Planned], tmp_path: Path, cache: Path) -> None:
    """The launcher is killed; its run ends, frees its lock, and can be resumed."""
    run = planned("seed=1")
    settings = [*NARROW, FACES, f"cache={cache}", "recipe.max_epochs=8"]
    with subprocess.Popen(
        [sys.executable, str(TRAIN), "-m", *settings, "seed=1"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as launcher:
        wait_for((run.directory / "checkpoints" / "last.ckpt").exists)
        pid = owner(run.directory)
        launcher.kill()
    wait_for(lambda: not is_locked(run.directory) and not alive(pid or 0), 30)
    assert Status.read(run.directory).state == "pending"
    assert sweep([planned("seed=1")], timeout=None)[0].error is None


@pytest.mark.slow
def test_a_run_of_another_process_is_awaited_and_resumed_if_that_dies(
    planned: Callable[..., Planned],
) -> None:
    lives, dies, free = (planned(f"seed={seed}") for seed in (1, 2, 3))
    others = [RunProcesses(run.config, run.directory, threads=1) for run in (lives, dies)]
    wait_for(lambda: all(Status.read(run.directory).state == "running" for run in (lives, dies)))
    os.kill(others[1].processes[0].pid, signal.SIGSTOP)
    board = Board(Console(quiet=True))
    taken: list[int] = []

    def moved(place: int, _: Planned) -> None:
        taken.append(place)
        if place == 1:
            os.kill(others[1].processes[0].pid, signal.SIGKILL)

    board.moved = moved  # type: ignore[method-assign]
    runs = [lives, dies, free]
    outcomes = LocalSweep(runs, LocalPlace(runs, n_jobs=1, threads=1), board).run()
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert taken == [0, 1]
    assert [Status.read(outcome.planned.directory).attempts for outcome in outcomes] == [1, 2, 1]
    wait_for(lambda: all(other.ended() for other in others))


@pytest.mark.slow
def test_the_server_has_one_thread_and_passes_on_no_variables_of_another_run(
    planned: Callable[..., Planned], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in NOT_INHERITED:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WANDB_SERVICE", f"3-1-unix-{tmp_path}/gone")
    forkserver._forkserver._stop()  # one of an earlier test has that test's environment
    run = planned("seed=1", "logger=wandb", "logger.mode=offline")
    processes = RunProcesses(run.config, run.directory, threads=1)
    server = forkserver._forkserver._forkserver_pid
    wait_for(lambda: processes.ended())
    assert processes.failure() is None
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1
    result = json.loads((run.directory / "result.json").read_text())
    assert result["environment"]["processes"] == 1
    assert result["environment"]["threads"] == 1


def _run_and_look(config: dict[str, Any], told: Connection) -> None:
    """Train in a process of the server; send the number of shared objects and the modules it imported."""
    before, shared = set(sys.modules), gc.get_freeze_count()
    run_frozen(config)
    told.send((shared, sorted(set(sys.modules) - before)))


def test_a_run_imports_nothing_and_garbage_collects_only_its_own_objects(planned: Callable[..., Planned]) -> None:
    here, there = multiprocessing.Pipe(duplex=False)
    warm_up()
    process = multiprocessing.get_context("forkserver").Process(
        target=_run_and_look, args=(planned("seed=1").config, there)
    )
    process.start()
    there.close()
    shared, imported = here.recv()
    process.join()
    assert shared > 100_000
    assert len(imported) < 15, imported
    assert not {"PIL", "matplotlib", "pyarrow", "pytorch_lightning"} & {name.partition(".")[0] for name in imported}


def _map_and_time(told: Connection) -> None:
    worker.map_constants()
    told.send(_elu())


def test_constants_of_elu_are_in_the_memory_of_a_process() -> None:
    """With AVX-512, ELU is many times slower in a forked process that has not mapped its constants."""
    here, there = multiprocessing.Pipe(duplex=False)
    warm_up()
    process = multiprocessing.get_context("forkserver").Process(target=_map_and_time, args=(there,))
    process.start()
    there.close()
    forked = here.recv()
    process.join()
    assert forked < 4 * _elu()


def _elu() -> float:
    """Return the shortest time in seconds of an ELU of 1,000,000 numbers with one thread."""
    threads, numbers, times = torch.get_num_threads(), torch.linspace(-3, 3, 1_000_000), []
    torch.set_num_threads(1)
    for _ in range(10):
        begun = time.perf_counter()
        torch.nn.functional.elu(numbers)
        times.append(time.perf_counter() - begun)
    torch.set_num_threads(threads)
    return min(times)


def test_a_folder_for_temporary_files_that_cannot_hold_a_socket_is_named(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    done = subprocess.run(
        [sys.executable, str(TRAIN), "-m", "seed=1,2"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(long)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: The folder for temporary files, {long}, cannot hold a socket")
    assert done.stderr.count("\n") == 1
