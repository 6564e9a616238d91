"""An optimiser that differs from those of torch.optim in what a reported figure depends on; gradient clipping."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Scale all gradients so that their norm together is ``limit`` at most, as `torch.nn.utils.clip_grad_norm_` does.

    On a CPU, where that is known at once, gradients that are small enough are not multiplied by one.
    """
    parameters = [each for each in parameters if each.grad is not None]
    norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    if norm.device.type == "cpu" and float(norm) + 1e-6 <= limit:  # torch's epsilon
        return
    nn.utils.clip_grads_with_norm_(parameters, limit, norm)


class KerasAdam(torch.optim.Adam):
    """Adam with epsilon where Keras (2.15) has it: lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + eps).

    This is the formulation before section 2.1 of Kingma and Ba (2015), where their "epsilon hat" is meant; torch adds
    epsilon after correcting v, as their algorithm 1 does. The two differ where gradients are tiny. Torch's kernels
    do the work: with eps / √(1 − β₂ᵗ) in place of eps their step is this one.

    Args:
        params: as for `torch.optim.Adam`.
        lr: the rate.
        betas: of the moments.
        eps: Keras' ``epsilon``.
        options: the others of `torch.optim.Adam`.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, **options)
        for group in self.param_groups:
            group.update(keras_eps=eps, steps=0)

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; ``steps`` of each group counts them, and is kept in the state."""
        for group in self.param_groups:
            group["steps"] += 1
            group["eps"] = group["keras_eps"] / (1 - group["betas"][1] ** group["steps"]) ** 0.5
        return super().step(closure)
