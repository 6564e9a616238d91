"""A signal at any moment stops a run, and the resumed run equals an uninterrupted one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from conftest import plain
from omegaconf import DictConfig
from outcomes import assert_same_outcome, history, read_json

from fersweep.runs.identity import run_dir
from fersweep.sweep.slurm.preemption import CONTINUE, END, REQUEUE, LeftError, Preemption
from fersweep.training.attempt import run_frozen

Small = Callable[..., DictConfig]

MOMENTS = {
    "setup": 0,
    "on_train_start": 0,
    "on_train_batch_start": 0,
    "on_validation_start": 0,
    "on_train_epoch_start": 1,
    "on_train_end": 2,
    "on_test_start": 2,
    "on_test_batch_start": 2,
    "on_test_end": 2,
}
"""Hooks, and the number of finished epochs after which they send the signal."""


class Sender(pl.Callback):
    """Sends this process a signal once, at the hook ``moment`` after ``epochs`` epochs."""

    def __init__(self, moment: str, epochs: int, number: int) -> None:
        self.epochs, self.number, self.sent = epochs, number, False
        setattr(self, moment, self._send)

    def _send(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if not self.sent and trainer.current_epoch >= self.epochs:
            self.sent = True
            os.kill(os.getpid(), self.number)


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_resumes_after_a_signal_at_any_moment(small: Small, finished: Path, moment: str) -> None:
    config = plain(small())
    directory = run_dir(config)
    preemption, sender = Preemption(0, 1), Sender(moment, MOMENTS[moment], signal.SIGUSR2)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)]
    with pytest.raises(LeftError), preemption.heeded():
        run_frozen(config, [preemption, sender])
    assert sender.sent
    assert preemption.asked == REQUEUE
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)] == before
    status = read_json(directory / "status.json")
    assert (status["state"], status["error"]) == ("pending", None)
    assert not (directory / "result.json").exists()
    if MOMENTS[moment]:
        assert len(history(directory)) == MOMENTS[moment]
    run_frozen(config)
    assert read_json(directory / "status.json")["attempts"] == 2
    assert_same_outcome(finished, directory)


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("moment", ["setup", "on_train_batch_start", "on_test_batch_start"])
def test_a_run_that_is_told_to_end_ends_pending(small: Small, moment: str) -> None:
    config = plain(small())
    preemption = Preemption(0, 1)
    with pytest.raises(LeftError), preemption.heeded():
        run_frozen(config, [preemption, Sender(moment, 0, signal.SIGTERM)])
    assert preemption.asked == END
    assert read_json(run_dir(config) / "status.json")["state"] == "pending"


def test_a_rank_other_than_zero_records_a_signal_and_continues() -> None:
    preemption = Preemption(1, 2)
    with preemption.heeded():
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)
    assert preemption.asked == REQUEUE
    assert not preemption.agreed


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_data_loader_ignores_a_requeue_but_ends_on_sigterm() -> None:
    preemption = Preemption(0, 1)
    with preemption.heeded():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
    assert preemption.asked == CONTINUE
