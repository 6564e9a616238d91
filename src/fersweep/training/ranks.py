"""The processes that train one run together, one per device; most runs have a single one.

Whoever starts them (`fersweep.sweep.local.processes`, or a cluster's job) gives each torch's usual environment:
``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT``. Nothing here starts a process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from fersweep.errors import UserError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: as long as the slowest needs to read its data."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of its run.

    Attributes:
        rank: 0 to ``world - 1``; rank zero alone claims the run's directory and writes into it.
        world: how many processes there are, on all machines.
        local: the place among those of this machine, which is also the index of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    def from_zero(self, value: int) -> int:
        """Rank zero's ``value``, on every rank; those that come early wait."""
        if self.world == 1:
            return value
        told = torch.tensor([value])
        distributed.broadcast(told, src=0)
        return int(told.item())

    def meet(self) -> None:
        """Wait until every rank has come here."""
        if self.world > 1:
            distributed.barrier()


def expected() -> int:
    """How many processes the environment says this one is among; 1 where it says nothing."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


@contextmanager
def joined(processes: int, device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes of a run, and part from them when all went well.

    Args:
        processes: how many there must be: devices times machines.
        device: what each computes on; with ``cuda`` each takes the GPU of its local rank.

    Raises:
        UserError: where the environment names another number of processes.
    """
    if expected() != processes:
        raise UserError(
            f"trainer.devices and trainer.num_nodes make {processes} processes, but {expected()} were started: "
            "on a cluster use hydra/launcher=slurm with -m, which starts as many as it takes."
        )
    if processes == 1:
        yield Ranks()
        return
    ranks = Ranks(int(os.environ["RANK"]), processes, int(os.environ["LOCAL_RANK"]))
    _tell_lightning(ranks)
    if device.type == "cuda":
        torch.cuda.set_device(ranks.local)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    yield ranks
    distributed.destroy_process_group()  # not after an error: the others may never come


def _tell_lightning(ranks: Ranks) -> None:
    """Lightning asks the environment when it is imported, which may have been in the process this was forked from."""
    from pytorch_lightning.utilities import rank_zero_only

    setattr(rank_zero_only, "rank", ranks.rank)  # noqa: B010 (mypy does not know the attribute)
