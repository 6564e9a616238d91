"""Stop of a run on a signal of the cluster, on all ranks together, so that it can be resumed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import distributed

CONTINUE, END, REQUEUE = range(3)

MEANING = {signal.SIGTERM: END, signal.SIGUSR2: REQUEUE}
"""Request of each signal: SIGTERM comes from ``scancel``, SIGUSR2 before a time limit or on preemption."""


class LeftError(BaseException):
    """The run stops but did not fail; therefore not an `Exception`."""


class Preemption(pl.Callback):
    """Stops the run at the end of a batch after a signal.

    During batches the signal handler only records the request, and the ranks agree after each batch: a rank that left
    alone would block the others in a collective. At all other times rank zero, the only one that writes files, leaves
    at once. Nothing is saved: the run resumes from the checkpoint of its last epoch.

    Args:
        rank: of this process.
        world: number of processes that train the run.

    Attributes:
        asked: the request, `END` or `REQUEUE`; `CONTINUE` before any.
        agreed: the ranks left together.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.asked, self.agreed = CONTINUE, False
        self._at_once = rank == 0
        self._process = os.getpid()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Handle the signals within the block."""
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
        if os.getpid() != self._process:  # a data loader: its parent may have sent SIGTERM
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        self.asked = max(self.asked, MEANING[signal.Signals(number)])
        if self._at_once:
            self._at_once = False  # later signals must not interrupt the exit
            raise LeftError

    def on_train_start(self, *_: Any, **__: Any) -> None:
        """Leave only between batches from now on."""
        self._handle()  # Lightning has replaced the handler of SIGTERM by one that interrupts a batch
        self._at_once = False

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Leave if any rank was asked to; a collective, so every rank must call it."""
        if self.world > 1:
            asked = torch.tensor([self.asked])
            distributed.all_reduce(asked, op=distributed.ReduceOp.MAX)
            self.asked = int(asked.item())
        if self.asked != CONTINUE:
            self._at_once, self.agreed = False, True
            raise LeftError

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Leave at once from now on, and now if any rank was asked to."""
        self.on_train_batch_end()
        self._at_once = self.rank == 0

    on_test_start = on_train_start
    on_validation_batch_end = on_test_batch_end = on_train_batch_end
    on_test_end = on_train_end
