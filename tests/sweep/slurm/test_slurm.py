"""Launcher ``slurm`` on a real cluster of two nodes, started by the script ``cluster``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import FACES, NARROW, TRAIN, plain, quickly_composed
from outcomes import assert_same_outcome, history, read_json

from fersweep.errors import UserError
from fersweep.runs.trials import read
from fersweep.sweep.plan import Planned
from fersweep.sweep.slurm import launch
from fersweep.sweep.slurm import queue as slurm_queue
from fersweep.sweep.slurm.launch import SlurmSweep
from fersweep.sweep.slurm.settings import Settings
from fersweep.training.attempt import run_frozen

Train = Callable[..., int]

SCRIPT = Path(__file__).with_name("cluster")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name, path=PATH) is None]

needs_slurm = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: apt-get install slurm-wlm munge")

pytestmark = pytest.mark.slow

SETTINGS = (*NARROW, FACES, "hydra/launcher=slurm")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster for this file, named by the environment."""
    folder = tmp_path_factory.mktemp("slurm")
    done = subprocess.run([SCRIPT, "up", folder], capture_output=True, text=True, timeout=90, check=False)
    try:
        assert done.returncode == 0, done.stderr
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", done.stdout.strip())
            patch.setenv("OMP_NUM_THREADS", "1")
            yield
    finally:
        subprocess.run([SCRIPT, "down", folder], timeout=90, check=True)


@contextmanager
def started(cwd: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a sweep during the block; its output is in ``out`` and ``err`` of ``cwd``."""
    with (cwd / "out").open("w") as out, (cwd / "err").open("w") as err:
        command = [sys.executable, str(TRAIN), "-m", *SETTINGS, *arguments]
        process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=err, stdin=subprocess.DEVNULL, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def until(what: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until ``what`` is true and return it."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return value


def folders(cwd: Path, sweep: str = "runs") -> list[Path]:
    return sorted(file.parent for file in (cwd / "outputs" / sweep).glob("*/config.yaml"))


def job_of(directory: Path) -> str:
    return (directory.parent / ".slurm" / f"{directory.name}.job").read_text()


def states(directory: Path) -> tuple[str, int]:
    status = read_json(directory / "status.json")
    return status["state"], status["attempts"]


@dataclass
class Sweep:
    """Results of the disturbed sweep of `swept`."""

    cwd: Path
    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    runs: dict[int, Path]
    states: dict[int, tuple[str, int]]
    jobs: dict[int, str]
    queue: dict[str, slurm_queue.QueueEntry]


@pytest.fixture(scope="module")
def swept(cluster: None, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Sweep:  # noqa: ARG001
    """Four folds: 0 gets the signal of its time limit, 99 does not exist, 1 is undisturbed, 2 is cancelled."""
    cwd = tmp_path_factory.mktemp("sweep")
    arguments = ("split=subjects", "split.fold=0,99,1,2", "recipe.max_epochs=8")
    with started(cwd, *arguments, f"cache={cache}") as process:
        found = until(lambda: len(folders(cwd)) == 4 and folders(cwd))
        runs = {yaml.safe_load((run / "config.yaml").read_text())["split"]["fold"]: run for run in found}
        until(lambda: len(list((cwd / "outputs/runs/.slurm").glob("*.job"))) == 4)
        signals = {0: ["--signal=USR2"], 2: []}
        ready = {0: (runs[0] / "history.csv").exists, 2: lambda: states(runs[2])[0] == "running"}
        while signals:
            until(lambda: any(ready[fold]() for fold in signals))
            for fold in [fold for fold in signals if ready[fold]()]:
                subprocess.run(["scancel", *signals.pop(fold), job_of(runs[fold])], check=True)
        code = process.wait(timeout=200)
    return Sweep(
        cwd,
        arguments,
        code,
        (cwd / "out").read_text(),
        (cwd / "err").read_text(),
        runs,
        {fold: states(run) for fold, run in runs.items()},
        {fold: job_of(run) for fold, run in runs.items()},
        slurm_queue.look(),
    )


@needs_slurm
def test_a_sweep_is_one_array_and_a_failed_run_affects_no_other(swept: Sweep) -> None:
    array = swept.jobs[0].partition("_")[0]
    assert sorted(swept.jobs.values()) == [f"{array}_{index}" for index in range(4)]
    assert swept.code == 1
    assert "2 of 4 runs failed:" in swept.err
    assert "Traceback" not in swept.err
    assert swept.states[1] == ("done", 1)
    assert swept.states[99] == ("failed", 1)
    assert "UserError: split.fold=99 does not exist" in swept.err
    assert read_json(swept.runs[1] / "result.json")["metrics"]["test/n"] > 0
    assert swept.queue[swept.jobs[1]].state == "COMPLETED"
    assert swept.queue[swept.jobs[99]].state == "FAILED"
    assert {entry.name for entry in swept.queue.values()} == {"runs"}


@needs_slurm
def test_a_job_at_its_time_limit_is_requeued_and_ends_as_if_uninterrupted(swept: Sweep, tmp_path: Path) -> None:
    assert swept.states[0] == ("done", 2)
    lines = [line.rpartition("  ")[2] for line in swept.out.splitlines() if line.startswith(f"job {swept.jobs[0]} ")]
    assert lines[-3:] == ["waits again", "running", "done"]
    log = (swept.runs[0] / "train.log").read_text()
    assert log.count("Interrupted. Run the same command") == 1
    assert log.count("INFO fersweep: epoch 1/8") == 1
    config = yaml.safe_load((swept.runs[0] / "config.yaml").read_text())
    run_frozen(config | {"outputs": str(tmp_path)})
    (whole,) = (file.parent for file in tmp_path.rglob("result.json"))
    assert whole.name == swept.runs[0].name
    assert_same_outcome(whole, swept.runs[0])


@needs_slurm
def test_a_cancelled_job_is_a_failed_run_that_can_be_resumed(swept: Sweep) -> None:
    assert swept.states[2] == ("pending", 1)
    assert swept.queue[swept.jobs[2]].state == "CANCELLED"
    assert f"job {swept.jobs[2]} ended without a result (cancelled); its log" in swept.err
    assert "CANCELLED AT" in swept.err


@needs_slurm
def test_the_same_command_submits_only_what_is_not_done(
    swept: Sweep, run_train: Train, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(swept.cwd)
    assert run_train("-m", *SETTINGS, *swept.arguments) == 1
    out, err = capsys.readouterr()
    assert "(2 of 4 runs)\n" in out
    assert "done before: 2" in out
    assert "1 of 4 runs failed:" in err
    jobs = {fold: job_of(run) for fold, run in swept.runs.items()}
    assert {fold for fold in jobs if jobs[fold] != swept.jobs[fold]} == {99, 2}
    assert {fold: states(run) for fold, run in swept.runs.items()} == swept.states | {2: ("done", 2), 99: ("failed", 2)}


@needs_slurm
@pytest.mark.usefixtures("cluster")
def test_two_nodes_train_one_run_and_leave_it_together(tmp_path: Path, cache: Path) -> None:
    place = ("trainer=ddp_cpu", "trainer.precision=32", "trainer.devices=1", "trainer.num_nodes=2")
    setup = "hydra.launcher.setup=['export MASTER_ADDR=127.0.0.1']"  # the names of these nodes do not resolve
    with started(tmp_path, *place, setup, "recipe.max_epochs=8", f"cache={cache}") as process:
        (run,) = until(lambda: folders(tmp_path))
        until((run / "history.csv").exists)
        subprocess.run(["scancel", "--signal=USR2", job_of(run)], check=True)
        assert process.wait(timeout=200) == 0, (tmp_path / "err").read_text()
    assert states(run) == ("done", 2)
    assert history(run)["epoch"].tolist() == list(range(1, 9))
    assert read_json(run / "result.json")["environment"]["processes"] == 2
    predictions = pd.read_parquet(run / "predictions.parquet")
    assert len(predictions) == len(set(predictions["id"])) == read_json(run / "result.json")["metrics"]["test/n"]


@needs_slurm
@pytest.mark.usefixtures("cluster")
def test_without_waiting_the_command_returns_and_a_later_one_finds_the_job(
    tmp_path: Path, run_train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("trainer=ddp_cpu", "trainer.precision=32", "trainer.devices=2", "recipe.max_epochs=1")
    setup = "hydra.launcher.setup=['export MASTER_ADDR=127.0.0.1']"
    assert run_train("-m", *SETTINGS, *place, setup, "hydra.launcher.wait=false") == 0, capsys.readouterr().err
    (run,) = folders(tmp_path)
    job, out = job_of(run), capsys.readouterr().out
    assert f"in the queue: {job} (1 of 1 runs)\n" in out
    assert f"scancel {job}\n" in out
    assert f"fersweep collect {run.parent}\n" in out
    assert states(run)[0] in ("pending", "running")
    assert run_train("-m", *SETTINGS, *place, setup) == 0, capsys.readouterr().err
    assert job_of(run) == job
    assert states(run) == ("done", 1)
    assert read_json(run / "result.json")["environment"]["processes"] == 2


@needs_slurm
@pytest.mark.usefixtures("cluster")
def test_interrupted_while_it_waits_it_leaves_the_jobs_in_the_queue(tmp_path: Path, cache: Path) -> None:
    """A job without requeues is a failed run at its time limit."""
    settings = ("hydra.launcher.max_requeues=0", "recipe.max_epochs=200", "sweep=some", f"cache={cache}")
    with started(tmp_path, *settings) as process:
        until(lambda: "in the queue" in (tmp_path / "out").read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    (run,) = folders(tmp_path, "some")
    job, err = job_of(run), (tmp_path / "err").read_text()
    assert slurm_queue.look()[job].state not in slurm_queue.ENDED
    assert "Traceback" not in err
    assert f"scancel {job}\n" in err
    until((run / "history.csv").exists)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    until(lambda: slurm_queue.look()[job].state == "FAILED")
    error = read_json(run / "status.json")["error"]
    assert error["message"].startswith("It was interrupted more than 0 times: ")
    assert slurm_queue.last_words(run.parent / ".slurm", job) == f"error: {error['message']}"


@needs_slurm
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        (
            ["trainer=ddp_cpu", "trainer.num_nodes=3"],
            1,
            "would never start (Partition",
        ),
        (["hydra.launcher.partition=short", "hydra.launcher.time=60"], 1, "would never start (Partition"),
        (
            ["hydra.launcher.partition=nowhere"],
            2,
            "error: SLURM refuses the jobs: invalid partition specified: nowhere",
        ),
    ],
)
def test_what_the_cluster_cannot_do_ends_in_one_sentence(
    run_train: Train,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    code: int,
    message: str,
) -> None:
    assert run_train("-m", *SETTINGS, "trainer.precision=32", *overrides) == code
    err = capsys.readouterr().err
    assert message in err, err
    assert "Traceback" not in err
    assert code == 1 or err.count("\n") == 1
    until(lambda: all(entry.state in slurm_queue.ENDED for entry in slurm_queue.look().values()))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
def test_what_was_submitted_is_cancelled_after_any_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The second array is submitted too when its note cannot be written."""
    cancelled: list[str] = []
    monkeypatch.setattr(slurm_queue, "look", dict)
    monkeypatch.setattr(slurm_queue, "cancel", cancelled.extend)
    ids = iter(["7_0", "8_0"])

    class Executor:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def update_parameters(self, **_: Any) -> None: ...

        def submit_array(self, runs: list[Any]) -> list[Any]:
            return [SimpleNamespace(job_id=next(ids)) for _ in runs]

    monkeypatch.setattr("submitit.SlurmExecutor", Executor)
    runs = []
    for seed, devices in ((1, 1), (2, 2)):
        config = plain(quickly_composed(*NARROW, FACES, f"seed={seed}"))
        config["trainer"] |= {"accelerator": "cpu", "devices": devices}
        runs.append(Planned((), config, tmp_path / f"run{seed}"))
    errors = iter([None, error])

    @contextmanager
    def atomic_path(path: Path) -> Iterator[Path]:
        if (raised := next(errors)) is not None:
            raise raised
        yield path

    monkeypatch.setattr(launch, "atomic_path", atomic_path)
    sweep = SlurmSweep(runs, Settings(), tmp_path)
    with pytest.raises(type(error)):
        sweep.submit()
    assert cancelled == ["7_0", "8_0"]


@needs_slurm
@pytest.mark.usefixtures("cluster")
def test_what_was_submitted_is_cancelled_when_the_rest_is_refused(tmp_path: Path) -> None:
    runs = []
    for seed, accelerator, devices in ((1, "cpu", 1), (2, "gpu", 4)):  # the nodes have two each
        config = plain(quickly_composed(*NARROW, FACES, f"seed={seed}", "sweep=both"))
        config["trainer"] |= {"accelerator": accelerator, "devices": devices}
        runs.append(Planned((), config, tmp_path / f"run{seed}"))
    sweep = SlurmSweep(runs, Settings(), tmp_path)
    with pytest.raises(
        UserError, match=r"SLURM refuses the jobs: .* \(nodes=1, ntasks_per_node=4, gpus_per_node=4\)\."
    ):
        sweep.submit()
    both = [entry.state for entry in slurm_queue.look().values() if entry.name == "both"]
    assert len(both) == 2  # SLURM remembers the refused one, as failed
    until(lambda: {p.state for p in slurm_queue.look().values() if p.name == "both"} == {"CANCELLED", "FAILED"})


@needs_slurm
@pytest.mark.usefixtures("cluster")
def test_a_search_cancels_what_is_behind_and_goes_on_after_kill(tmp_path: Path, cache: Path) -> None:
    """Its command is killed while jobs are in the queue; the same command watches them."""
    asked = ("hydra/sweeper=search", "hydra.sweeper.trials=2", "hydra.sweeper.first_rung=2", "recipe.max_epochs=24")
    arguments = (*asked, "recipe.optimizer.lr=tag(log, interval(0.0001, 0.1))", f"cache={cache}", "sweep=tune")
    with started(tmp_path, *arguments) as first:
        until(lambda: first.poll() is not None or list(tmp_path.glob("outputs/tune/.slurm/*.job")))
        assert first.poll() is None, (tmp_path / "err").read_text()
    with started(tmp_path, *arguments) as again:
        assert again.wait(timeout=200) == 0, (tmp_path / "err").read_text()
    out = (tmp_path / "out").read_text()
    assert "is taken over: its command has ended" in out
    found = sorted(states(each) for each in folders(tmp_path, "tune"))
    assert [state for state, _ in found] == ["done", "pruned"]
    assert found[0][1] <= 2  # resumed at most once: which of the two is cancelled depends on who comes first
    search = read(tmp_path / "outputs" / "tune")
    assert search is not None
    assert sorted(trial.state for trial in search.trials if trial.counts) == ["done", "pruned"]
    until(lambda: not any(each.name == "tune" and each.state == "RUNNING" for each in slurm_queue.look().values()))
