"""Runs of two processes (gloo, on the CPU): in a sweep and alone, their files, and the death of one process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FACES, NARROW, train_process
from sweeps import planned, sweep, wait_for

from fersweep.runs.status import Status
from fersweep.sweep.local.processes import RunProcesses
from fersweep.sweep.plan import Planned, freeze

__all__ = ["planned"]

PLAIN = (
    "recipe.max_epochs=2",
    "recipe.optimizer._target_=torch.optim.SGD",  # Adam makes steps of noise where gradients are next to nothing
    "recipe.optimizer.lr=0.01",
    "recipe.gradient_clip=null",
    "augmentation=none",
    "backbone.model.dropout=0",
)


@pytest.mark.slow
def test_two_processes_make_the_run_that_one_makes(planned: Callable[..., Planned]) -> None:
    one = planned(*PLAIN, "sweep=one")
    two = planned(*PLAIN, "sweep=two", "trainer=ddp_cpu", "trainer.precision=32", "logger=wandb", "logger.mode=offline")
    assert one.directory.name == two.directory.name
    outcomes = sweep([one, two], n_jobs=1)
    assert [outcome.error for outcome in outcomes] == [None, None]
    results = [outcome.result or {} for outcome in outcomes]
    assert [result["environment"]["processes"] for result in results] == [1, 2]
    assert [result["metrics"]["test/n"] for result in results] == [14, 14]
    assert [result["microbatch"] for result in results] == [16, 8]

    tables = [pd.read_parquet(run.directory / "predictions.parquet").sort_values("id") for run in (one, two)]
    assert list(tables[0]["id"]) == list(tables[1]["id"])
    assert tables[1]["id"].is_unique
    assert np.allclose(*(table.select_dtypes("floating") for table in tables), atol=1e-3)
    assert list(tables[0]["subject"]) == list(tables[1]["subject"])
    histories = [pd.read_csv(run.directory / "history.csv") for run in (one, two)]
    for column in ("epoch", "train/loss", "val/loss", "lr"):
        assert np.allclose(histories[0][column], histories[1][column], atol=1e-3), column
    files = [run.directory / "checkpoints" / "last.ckpt" for run in (one, two)]
    weights = [torch.load(file, weights_only=True)["state_dict"] for file in files]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        assert torch.allclose(value.float(), weights[1][key].float(), atol=2e-2), key

    assert len(list(two.directory.glob("wandb/offline-run-*"))) == 1  # of rank zero alone
    log = (two.directory / "train.log").read_text()
    assert log.count("epoch 1/2") == 1
    assert "Warning" not in log
    folders = [path for path in two.directory.parents[1].rglob("*-*-*") if (path / "status.json").exists()]
    assert sorted(folders) == sorted([one.directory, two.directory])


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_run_with_its_reason_and_the_run_resumes(
    planned: Callable[..., Planned],
) -> None:
    run = planned("trainer=ddp_cpu", "trainer.precision=32", "recipe.max_epochs=8")
    processes = RunProcesses(run.config, run.directory, threads=1)
    wait_for((run.directory / "checkpoints" / "last.ckpt").exists)
    os.kill(processes.processes[1].pid, signal.SIGKILL)
    wait_for(processes.ended)
    reason = "rank 1 of 2 was killed by signal 9 (SIGKILL, perhaps out of memory)"
    assert processes.failure() == reason
    status = Status.read(run.directory)
    assert (status.state, status.error) == ("failed", {"type": "Ended", "message": reason})
    assert [process.exitcode is None for process in processes.processes] == [False, False]
    (outcome,) = sweep([run])
    assert outcome.error is None
    assert list(pd.read_csv(run.directory / "history.csv")["epoch"]) == list(range(1, 9))


@pytest.mark.slow
def test_train_py_starts_the_processes_of_a_single_run(tmp_path: Path, cache: Path) -> None:
    settings = [*NARROW, FACES, f"cache={cache}", "trainer=ddp_cpu", "trainer.precision=32"]
    done = train_process(tmp_path, *settings, "recipe.max_epochs=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is done") == 1
    assert done.stderr.count("epoch 1/1") == 1
    (result,) = tmp_path.glob("outputs/runs/*/result.json")
    assert json.loads(result.read_text())["environment"]["processes"] == 2


def test_a_mistake_found_in_the_data_ends_all_ranks(planned: Callable[..., Planned]) -> None:
    run = planned("trainer=ddp_cpu", "split=subjects", "split.fold=99")
    freeze([run])
    (outcome,) = sweep([run])
    assert str(outcome.error).startswith("UserError: split.fold=99 does not exist")
    assert Status.read(run.directory).state == "failed"


def test_a_sweep_in_one_process_refuses_runs_of_several(
    run_train: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """With Hydra's own launcher: each rank would otherwise be the whole sweep again."""
    assert run_train("-m", "hydra/launcher=basic", "trainer=ddp_cpu", "seed=1,2") == 2
    error = capsys.readouterr().err
    assert error == "error: A sweep of runs on several devices needs hydra/launcher=local or slurm.\n"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("trainer=ddp_cpu trainer.num_nodes=2", "trainer.num_nodes needs a cluster"),
        ("trainer=ddp", "trainer=ddp asks for trainer.devices=2, but torch sees no CUDA device here"),
    ],
)
def test_missing_devices_and_machines_are_named(
    run_train: Callable[..., int], capsys: pytest.CaptureFixture[str], settings: str, sentence: str
) -> None:
    if "trainer=ddp" in settings.split() and torch.cuda.device_count() > 1:
        pytest.skip("this machine has the GPUs")
    assert run_train(*settings.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1
