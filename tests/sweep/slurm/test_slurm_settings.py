"""Settings of the launcher ``slurm``: requested resources and refusals; needs no cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import plain, quickly_composed

from fersweep.errors import UserError
from fersweep.sweep.plan import Planned
from fersweep.sweep.slurm import job as slurm_job
from fersweep.sweep.slurm import queue as slurm_queue
from fersweep.sweep.slurm.settings import Settings

Train = Callable[..., int]


def test_without_slurm_it_says_so(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_train("-m", "hydra/launcher=slurm") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: hydra/launcher=slurm needs SLURM, but sbatch is not installed here")
    assert err.count("\n") == 1


def planned(*overrides: str) -> Planned:
    return Planned((), plain(quickly_composed(*overrides)), Path("run"))


@pytest.mark.parametrize(
    ("settings", "trainer", "message"),
    [
        ({"time": 1}, "cpu", "signal_delay=90 (seconds) is not shorter than hydra.launcher.time=1"),
        ({"time": 0}, "cpu", "time=0 is out of range: 1 or more"),
        ({"max_requeues": -1}, "cpu", "max_requeues=-1 is out of range: 0 or more"),
        ({"gpus_per_node": 1}, "cpu", "gpus_per_node=1 has no effect with trainer=cpu"),
        ({"gpus_per_node": 1}, "ddp", "gpus_per_node=1 is less than trainer.devices=2"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], trainer: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(Settings(), **settings).check([planned(f"trainer={trainer}")])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer=cpu"], {"nodes": 1, "ntasks_per_node": 1, "gpus_per_node": None}),
        (["trainer=auto"], {"nodes": 1, "ntasks_per_node": 1, "gpus_per_node": 1}),
        (["trainer=ddp", "trainer.num_nodes=3"], {"nodes": 3, "ntasks_per_node": 2, "gpus_per_node": 2}),
    ],
)
def test_a_job_has_a_task_for_every_device(overrides: list[str], expected: dict[str, Any]) -> None:
    asked = Settings().sbatch(planned(*overrides).config)
    assert {key: asked[key] for key in expected} == expected
    assert asked["additional_parameters"] == {"requeue": True}
    left = {"partition", "account", "qos", "constraint", "time", "cpus_per_task", "mem", "wckey"}
    assert {asked[key] for key in left} == {None}


def test_every_process_gets_its_cores() -> None:
    """srun takes one core per task unless it gets the option of sbatch too."""
    assert (
        "--cpus-per-task=3" in replace(Settings(), cpus_per_task=3).sbatch(planned("trainer=cpu").config)["srun_args"]
    )


def test_a_job_waits_for_the_lock_of_an_attempt_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, slept = [True, True, False], []
    monkeypatch.setattr(slurm_job, "is_locked", lambda _: held.pop(0))
    monkeypatch.setattr(time, "sleep", slept.append)
    slurm_job._wait_for_lock(tmp_path)
    assert len(slept) == 2


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ("error: no GPU here\nsrun: error: node1: task 0: Exited with exit code 2\n", "error: no GPU here"),
        ("srun: error: task 0: Out Of Memory\n\n", "srun: error: task 0: Out Of Memory"),
        (
            "submitit WARNING (2026) - Bypassing signal SIGCONT\nslurmstepd: killed\nsrun: got SIGCONT\n",
            "slurmstepd: killed",
        ),
        ("", ""),
    ],
)
def test_of_a_jobs_errors_the_telling_line_is_shown(tmp_path: Path, errors: str, words: str) -> None:
    (tmp_path / "7_1_0_log.err").write_text(errors)
    (tmp_path / "7_1_1_log.err").write_text("")
    assert slurm_queue.last_words(tmp_path, "7_1") == words


def test_force_starts_a_run_afresh_once_and_not_whenever_its_job_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    job = slurm_job.Job({"force": True, "seed": 1}, "somewhere", 3)
    assert job._config() == {"force": True, "seed": 1}
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert job._config() == {"force": False, "seed": 1}
