"""Learning-rate schedules, rates by layer, gradient clipping, and Adam with Keras' epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from fersweep.models.depth import depths
from fersweep.models.pretrained import Pretrained


def learning_rate_factor(
    step: int, steps: int, warmup: float, schedule: str, decay: tuple[float, float, float] = (0.0, 1.0, 1.0)
) -> float:
    """Return the factor of the base learning rate for one optimiser step.

    Linear warm-up from ``1 / (warmup + 1)`` to 1 over ``warmup`` steps (Goyal et al. 2017), then constant; half a
    cosine down to 0 at ``steps`` (Loshchilov and Hutter 2017, eq. 5, without restarts); or a staircase, as
    `torch.optim.lr_scheduler.StepLR` from a given step on.

    Args:
        step: steps taken, from 0.
        steps: of the training.
        warmup: steps of warm-up.
        schedule: ``constant``, ``cosine`` or ``step``.
        decay: of ``step``: steps at the full rate before the first stair begins, steps of a stair, and the factor of
            each; the rate is first multiplied by it when the first stair ends.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        start, length, factor = decay
        return float(factor ** math.floor(max(0.0, step - start) / length + 1e-9))  # of rounded quotients
    progress = min(1.0, (step - warmup) / max(1.0, steps - warmup))
    return 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(network: nn.Module, recipe: Mapping[str, Any]) -> Any:
    """Return the parameters of a network as its optimiser takes them: in groups if the recipe treats them differently.

    The learning rate of a layer is the recipe's times ``layer_decay`` to the power of its distance from the last one
    (Clark et al. 2020, ELECTRA, section 3.1; Bao et al. 2022, BEiT, appendix). Without ``decay_biases``, biases, norms
    and other vectors have no weight decay, nor what the network's library excludes (``no_weight_decay``).

    Args:
        network: of a run.
        recipe: the ``recipe`` group, resolved.
    """
    layer_decay, decays_all = float(recipe["layer_decay"]), bool(recipe["decay_biases"])
    if layer_decay == 1 and decays_all:
        return network.parameters()
    depth = depths(network)
    last = max(depth.values())
    excluded = network.no_decay() if isinstance(network, Pretrained) else set()
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        decays = decays_all or (parameter.ndim > 1 and name not in excluded)
        groups.setdefault((last - depth[name], decays), []).append(parameter)
    rate = float(recipe["optimizer"]["lr"])
    return [
        {"params": parameters, "lr": rate * layer_decay**distance} | ({} if decays else {"weight_decay": 0.0})
        for (distance, decays), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float, mode: str = "norm") -> None:
    """Clip gradients to ``limit``, as `torch.nn.utils.clip_grad_norm_` and ``clip_grad_value_`` do.

    With ``mode`` ``norm`` it is the limit of the global norm; on a CPU, where reading the norm costs nothing, gradients
    within it are left as they are. With ``value`` it is that of every element.
    """
    parameters = [each for each in parameters if each.grad is not None]
    if mode == "value":
        nn.utils.clip_grad_value_(parameters, limit)
        return
    norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    if norm.device.type == "cpu" and float(norm) + 1e-6 <= limit:  # torch's epsilon
        return
    nn.utils.clip_grads_with_norm_(parameters, limit, norm)


class KerasAdam(torch.optim.Adam):
    """Adam as in Keras 2.15: lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + eps).

    This is the formulation of Kingma and Ba (2015) before section 2.1, with "epsilon hat"; torch follows their
    algorithm 1 and adds epsilon after correcting v. They differ for tiny gradients. Torch's kernels compute this step
    when given eps / √(1 − β₂ᵗ).

    Args:
        params: as for `torch.optim.Adam`.
        lr: learning rate.
        betas: of the moments.
        eps: Keras' ``epsilon``.
        options: further arguments of `torch.optim.Adam`.
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
        """Take one step; ``steps`` of each group, part of the state, counts them."""
        for group in self.param_groups:
            group["steps"] += 1
            group["eps"] = group["keras_eps"] / (1 - group["betas"][1] ** group["steps"]) ** 0.5
        return super().step(closure)
