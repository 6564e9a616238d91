"""Weights and images from a formula, so that two programs can be given the same without a file between them."""

from __future__ import annotations

import math
import zlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

IMAGES, SIZE = 8, 48


def uniform(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Numbers in [-1, 1): a multiplicative hash of their places, in C order, and of ``name``."""
    place = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()))
    mixed = (place * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    mixed = ((mixed ^ (mixed >> np.uint64(15))) * np.uint64(0x2C1B3C6D)) & np.uint64(0xFFFFFFFF)
    mixed = ((mixed ^ (mixed >> np.uint64(12))) * np.uint64(0x297A2D39)) & np.uint64(0xFFFFFFFF)
    return ((mixed ^ (mixed >> np.uint64(15))).astype(np.float64) / 2**31 - 1).reshape(shape)


def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The parameter or buffer of this name: weights that keep signals near one, statistics near zero and one."""
    u, last = uniform(name, shape), name.rpartition(".")[2]
    if last == "running_var":
        values = 1 + 0.3 * u
    elif last == "weight" and len(shape) == 1:
        values = 1 + 0.2 * u
    elif last == "weight":
        residual = ".conv3." in name  # the sum of fifty blocks must not grow without bounds
        values = (0.3 if residual else 1.3) * (3 / math.prod(shape[1:])) ** 0.5 * u
    else:
        values = 0.1 * u
    return torch.from_numpy(values.astype(np.float32))


@torch.no_grad()
def fill(network: nn.Module) -> None:
    """Give every parameter and moving statistic of a network the value of its name."""
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            value.copy_(tensor(name, tuple(value.shape)))


def images() -> Tensor:
    """float32 ``(8, 1, 48, 48)`` in [0, 1]: noise on a ground whose brightness differs from image to image."""
    noise, ground = uniform("images", (IMAGES, 1, SIZE, SIZE)), uniform("ground", (IMAGES, 1, 1, 1))
    return torch.from_numpy((0.5 + 0.2 * noise + 0.3 * ground).astype(np.float32))


def labels() -> Tensor:
    """int64 ``(8,)``: every class, the first twice."""
    return torch.arange(IMAGES) % 7
