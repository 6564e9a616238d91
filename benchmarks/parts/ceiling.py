"""Floating-point operations per second of a training step, beside those of a large matrix product."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bare import BareLoop
from benchmarks.measure import Part, alternate, figures
from benchmarks.settings import Settings
from fersweep import build
from fersweep.data.samples import CLASSES

SIDE = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices."""


def measure(settings: Settings) -> Part:
    """Measure bare training steps, in images and floating-point operations per second, and a matrix product.

    Operations are those of all convolutions and matrix products, forward and backward, as torch counts them for one
    image (a multiplication and an addition are two); norms, activations and the optimiser take time but do not count.
    """
    part = Part(notes=[f"A product of two square matrices of {_side(settings)} rows, in the precision of training."])
    for case, overrides in settings.cases():
        cfg = settings.compose(*overrides)
        network = build.model(cfg, len(CLASSES))
        teraflop = _operations(network, settings) / 1e12
        loop = BareLoop(network, cfg, settings.device)
        candidates = {
            "matrix product": _product(settings),
            "training step": settings.rate(loop.step, int(case["batch"])),
        }
        timed = alternate(candidates, settings.repeats)
        images = timed["training step"]
        speeds = {"matrix product": timed["matrix product"], "training step": [each * teraflop for each in images]}
        part.figures += figures("TFLOP/s", case, speeds, {"training step": "matrix product"})
        part.figures += figures("images/s", case, {"bare loop": images})
    return part


def _operations(network: torch.nn.Module, settings: Settings) -> float:
    """Return the floating-point operations of training on one image."""
    images = torch.zeros(2, 1, settings.image_size, settings.image_size)  # batch norm needs two
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    network.zero_grad()
    return counter.get_total_flops() / len(images)


def _product(settings: Settings) -> Callable[[], float]:
    """Return a candidate: TFLOP/s of a matrix product."""
    side = _side(settings)
    kind = torch.bfloat16 if settings.precision == "bf16-mixed" else torch.float32
    matrices = [torch.randn(side, side, device=settings.device, dtype=kind) for _ in range(2)]
    measured = settings.rate(partial(torch.matmul, *matrices), 1)
    return lambda: measured() * 2 * side**3 / 1e12


def _side(settings: Settings) -> int:
    return 256 if settings.smoke else SIDE[settings.device.type]
