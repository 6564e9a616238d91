"""Grad-CAM (Selvaraju et al. 2017): which places of a network's last map speak for a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def gradcam(network: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """ReLU(Σₖ αₖ Aᵏ), αₖ the mean over positions of ∂ logit / ∂ Aᵏ (Selvaraju et al. 2017, eqs. 1 and 2).

    Args:
        network: images to logits ``(B, K)``, in evaluation mode.
        layer: one of its modules, whose output A is ``(B, C, h, w)``, such as `last_layer` finds.
        images: float32 ``(B, C, H, W)``.
        targets: int64 ``(B,)``, the class whose logit is explained, for each image.

    Returns:
        Float32 ``(B, h, w)`` of zero and more; all zero where nothing in the map speaks for the class.
    """
    with torch.enable_grad():
        maps: Tensor = LayerGradCam(network, layer).attribute(images, targets, relu_attributions=True)
    return maps.detach()[:, 0].float()


def last_layer(network: nn.Module, images: Tensor) -> nn.Module:
    """The module with the last square map of more than one position, and through which all that is known passes.

    In the order in which modules answer. The second condition leaves out maps inside a block with a shortcut: what goes
    around them would not be seen. Of ``images``, float32 ``(B, C, H, W)``, one is enough.

    Raises:
        ValueError: for a network without such a map.
    """
    for module in reversed(_maps(network, images[:1])):
        if _holds_all(network, module, images[:1]):
            return module
    raise ValueError(f"{type(network).__name__} has no map (B, C, h, w) between its images and its classifier")


def _maps(network: nn.Module, images: Tensor) -> list[nn.Module]:
    """Modules that answer, once, with a square map of more than one position; in the order of their answers."""
    found: list[nn.Module] = []

    def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
            found.append(module)

    with torch.no_grad(), _removed([each.register_forward_hook(keep) for each in network.modules()]):
        network(images)
    times = Counter(found)
    return [each for each in found if times[each] == 1 and each is not network]


def _holds_all(network: nn.Module, module: nn.Module, images: Tensor) -> bool:
    """Whether no gradient reaches the images but through what ``module`` answers."""

    def cut(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.detach()

    images = images.detach().requires_grad_()
    with torch.enable_grad(), _removed([module.register_forward_hook(cut)]):
        logits = network(images)
        if not logits.requires_grad:
            return True
        (gradient,) = torch.autograd.grad(logits.sum(), images, allow_unused=True)
    return gradient is None


@contextmanager
def _removed(hooks: list[RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for each in hooks:
            each.remove()
