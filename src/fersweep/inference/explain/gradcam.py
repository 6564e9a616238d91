"""Grad-CAM (Selvaraju et al. 2017): evidence for a class in the last feature map."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from fersweep.errors import UserError, extra

with extra("Grad-CAM"):
    from captum.attr import LayerGradCam


def gradcam(network: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Compute ReLU(Σₖ αₖ Aᵏ), αₖ the mean over positions of ∂ logit / ∂ Aᵏ (Selvaraju et al. 2017, eqs. 1 and 2).

    Args:
        network: images to logits ``(B, K)``, in evaluation mode.
        layer: its module with output A ``(B, C, h, w)``, such as `last_layer`.
        images: float32 ``(B, C, H, W)``.
        targets: int64 ``(B,)``, the class to explain in each image.

    Returns:
        Float32 ``(B, h, w)``, non-negative; zero if nothing in the map speaks for the class.
    """
    with torch.enable_grad():
        maps: Tensor = LayerGradCam(network, layer).attribute(images, targets, relu_attributions=True)
    return maps.detach()[:, 0].float()


def last_layer(network: nn.Module, images: Tensor) -> nn.Module:
    """Return the last module, in the order of execution, whose square map carries all information on the images.

    The map has more than one position. Maps inside a residual block do not qualify: Grad-CAM would miss the shortcut.
    One image is enough, float32 ``(1, C, H, W)``.

    Raises:
        UserError: the network has no such map.
    """
    for module in reversed(_square_maps(network, images[:1])):
        if _carries_all(network, module, images[:1]):
            return module
    raise UserError(
        f"{type(network).__name__} has no map (B, C, h, w) between its images and its classifier: Grad-CAM explains "
        "networks with maps of more than one position, so train it with a larger dataset.image_size, or choose another."
    )


def _square_maps(network: nn.Module, images: Tensor) -> list[nn.Module]:
    """Return the modules that run exactly once and give a square map of more than one position, in their order."""
    found: list[nn.Module] = []

    def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
            found.append(module)

    with torch.no_grad(), ExitStack() as hooks:
        for each in network.modules():
            hooks.enter_context(each.register_forward_hook(keep))
        network(images)
    times = Counter(found)
    return [each for each in found if times[each] == 1 and each is not network]


def _carries_all(network: nn.Module, module: nn.Module, images: Tensor) -> bool:
    """Return True if no gradient reaches the images when the output of ``module`` is detached."""
    images = images.detach().requires_grad_()
    with torch.enable_grad(), module.register_forward_hook(lambda _m, _i, output: output.detach()):
        logits = network(images)
        if not logits.requires_grad:
            return True
        (gradient,) = torch.autograd.grad(logits.sum(), images, allow_unused=True)
    return gradient is None
