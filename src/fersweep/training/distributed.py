"""Processes that train one run together, one per device, and their collectives; most runs have a single process.

`fersweep.sweep.local.processes` or a cluster's job starts them with torch's environment variables: ``RANK``,
``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT``. Rank zero alone claims the run's directory and
writes to it. In a single process collectives do nothing; otherwise all processes must call them in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, distributed

from fersweep.errors import UserError

TIMEOUT = timedelta(minutes=30)
"""Limit of a collective; the slowest rank must read its data within it."""


def env_world_size() -> int:
    """Return the number of processes in the run according to the environment, 1 by default."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


@contextmanager
def process_group(world_size: int, device: torch.device) -> Iterator[None]:
    """Join the process group of a run, and leave it unless an error occurs.

    Args:
        world_size: devices times machines.
        device: with ``cuda`` each process takes the GPU of its local rank.

    Raises:
        UserError: the environment names another number of processes.
    """
    if env_world_size() != world_size:
        raise UserError(
            f"trainer.devices and trainer.num_nodes make {world_size} processes, but {env_world_size()} were started: "
            "on a cluster use hydra/launcher=slurm with -m, which starts as many as it takes."
        )
    if world_size == 1:
        yield
        return
    # Lightning read the rank at its import, perhaps in the parent that this process was forked from
    setattr(rank_zero_only, "rank", int(os.environ["RANK"]))  # noqa: B010 (mypy does not know the attribute)
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    yield
    distributed.destroy_process_group()  # not after an error: the other ranks may never arrive


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def world_size() -> int:
    """Return the size of the process group, 1 without one."""
    return distributed.get_world_size() if _has_group() else 1


def rank() -> int:
    """Return the rank of this process, 0 without a process group."""
    return distributed.get_rank() if _has_group() else 0


def broadcast(value: int) -> int:
    """Return rank zero's ``value`` on every rank."""
    received = torch.tensor([value])
    if world_size() > 1:
        distributed.broadcast(received, src=0)
    return int(received.item())


def barrier() -> None:
    """Wait until every rank has reached this point."""
    if world_size() > 1:
        distributed.barrier()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of the tensors of all processes, of one shape and type; not differentiable."""
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total


def all_gather_cat(tensor: Tensor) -> Tensor:
    """Return the tensors ``(N, ...)`` of all processes, concatenated in the order of ranks.

    ``N`` may differ between processes and be 0; other sizes and the type must agree.
    """
    world = world_size()
    if world == 1:
        return tensor
    counts = [torch.zeros(1, dtype=torch.int64, device=tensor.device) for _ in range(world)]
    distributed.all_gather(counts, torch.tensor([len(tensor)], device=tensor.device))
    sizes = [int(count) for count in counts]
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    received = [torch.empty_like(padded) for _ in range(world)]
    distributed.all_gather(received, padded)
    return torch.cat([part[:size] for part, size in zip(received, sizes, strict=True)])
