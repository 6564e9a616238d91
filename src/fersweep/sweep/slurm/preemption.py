"""Leaving a run on a signal of the cluster, all ranks together, so that it can go on another time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import distributed

GO_ON, END, REQUEUE = range(3)

MEANING = {signal.SIGTERM: END, signal.SIGUSR2: REQUEUE}
"""What a signal asks for: SIGTERM comes with ``scancel``, SIGUSR2 before a time limit or with a preemption."""


class LeftError(BaseException):
    """The run is left where it is; not an `Exception`, as it did not fail."""


class Preemption(pl.Callback):
    """Notes signals, and leaves the run at the end of a batch when there was one.

    While batches are under way a signal handler only notes what came, and the ranks agree after each batch: one that
    left alone would leave the others waiting in a collective. At all other times rank zero, without which nothing is
    written, leaves at once. Nothing is saved then: the run goes on from the checkpoint of its last epoch, as if it had
    never begun the next one.

    Args:
        rank: of this process, among ``world``.
        world: how many processes train the run.

    Attributes:
        asked: what was asked for, `END` or `REQUEUE`; `GO_ON` before.
        agreed: whether the ranks left together, so that nobody waits for another.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.asked, self.agreed = GO_ON, False
        self._at_once = rank == 0
        self._process = os.getpid()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Handle the signals for the block."""
        before = {number: signal.getsignal(number) for number in MEANING}
        self._handle()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self) -> None:
        for number in MEANING:
            signal.signal(number, self._note)

    def _note(self, number: int, _: Any) -> None:
        if os.getpid() != self._process:  # a process that loads data: SIGTERM may come from the one it works for
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        self.asked = max(self.asked, MEANING[signal.Signals(number)])
        if self._at_once:
            self._at_once = False  # what comes now must not disturb the leaving
            raise LeftError

    def _together(self) -> None:
        """Leave if any rank was asked to; every rank must come here."""
        if self.world > 1:
            told = torch.tensor([self.asked])
            distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
            self.asked = int(told.item())
        if self.asked != GO_ON:
            self._at_once, self.agreed = False, True
            raise LeftError

    def _batches_begin(self) -> None:
        self._handle()  # Lightning has put a handler of its own before that of SIGTERM, which breaks into a batch
        self._at_once = False

    def _batches_end(self) -> None:
        self._together()
        self._at_once = self.rank == 0

    def on_train_start(self, *_: Any) -> None:
        self._batches_begin()

    def on_test_start(self, *_: Any) -> None:
        self._batches_begin()

    def on_train_batch_end(self, *_: Any) -> None:
        self._together()

    def on_validation_batch_end(self, *_: Any) -> None:
        self._together()

    def on_test_batch_end(self, *_: Any) -> None:
        self._together()

    def on_train_end(self, *_: Any) -> None:
        self._batches_end()

    def on_test_end(self, *_: Any) -> None:
        self._batches_end()
