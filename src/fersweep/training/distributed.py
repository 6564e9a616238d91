"""What several processes compute together: sums, joined tensors, and batch norm over the images of all of them.

Everything here is the identity in a run of one process. Collectives must be reached by all processes in one order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


def world_size() -> int:
    """How many processes there are; 1 where no process group was made."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(tensor: Tensor) -> Tensor:
    """The sum of the processes' tensors (of one shape and type), on each of them; not differentiable."""
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total


def gather_to_all(tensor: Tensor) -> Tensor:
    """The processes' tensors joined along their first dimension, on each of them, in the order of ranks.

    The tensors are ``(N, ...)``: ``N`` may differ between processes and be 0, the other sizes and the type may not.
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


class _SyncNormalise(torch.autograd.Function):
    """Batch normalisation of ``(N, C, ...)`` by mean and variance over the images of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the output, and mean ``(C,)``, biased variance ``(C,)`` and the count of values, a scalar."""
        axes, shape = _axes(x), _shape(x)
        values = x.to(torch.promote_types(x.dtype, weight.dtype))  # statistics of bf16 maps are float32
        own = values.new_tensor([x.numel() // x.shape[1]])
        total = summed(torch.cat([values.sum(axes), own]))
        count = total[-1]
        mean = total[:-1] / count
        centred = values - mean.view(shape)  # a second pass: the mean of squares would lose a small variance
        variance = summed(centred.square().sum(axes)) / count
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        y = centred.mul_((scale * weight).view(shape)).add_(bias.view(shape))
        return y.to(x.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of input, weight and bias; the last two are of this process's images, as of any layer."""
        x, weight, mean, scale, count = ctx.saved_tensors
        axes, shape = _axes(x), _shape(x)
        gradient = gradient.to(mean.dtype)
        normed = (x.to(mean.dtype) - mean.view(shape)).mul_(scale.view(shape))
        of_bias, of_weight = gradient.sum(axes), (gradient * normed).sum(axes)
        along = summed(torch.stack([of_bias, of_weight])) / count
        inner = gradient - along[0].view(shape) - normed.mul_(along[1].view(shape))
        return inner.mul_((scale * weight).view(shape)).to(x.dtype), of_weight, of_bias, None


def _axes(x: Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _shape(x: Tensor) -> tuple[int, ...]:
    return (1, -1, *[1] * (x.ndim - 2))


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` whose training statistics are those of all processes' images, on any device.

    `torch.nn.SyncBatchNorm` refuses the CPU. A process may have no image at all. In evaluation, and in a single
    process, it is plain batch norm.
    """

    @torch.compiler.disable  # a graph cannot hold the collectives
    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; raises ValueError where all processes together have one value a channel."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self._check_input_dim(input)
        y, mean, variance, count = _SyncNormalise.apply(input, self.weight, self.bias, self.eps)
        if count < 2:
            raise ValueError("batch norm in training needs more than one value a channel, over all processes")
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y


class GPUSyncBatchNorm(nn.SyncBatchNorm):
    """torch's own, which of a bf16 map without images would send statistics of another type than the others do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``."""
        return super().forward(input) if len(input) else super().forward(input.float()).to(input.dtype)


def sync_batch_norm(model: nn.Module, device_type: str) -> nn.Module:
    """Have every batch norm of ``model`` take its training statistics over all processes; its state keeps its names.

    Args:
        model: changed in place. Optimisers may hold its parameters already.
        device_type: ``cuda`` or ``cpu``.

    Returns:
        ``model``, or its successor where it is a batch norm itself.

    Raises:
        TypeError: for a batch norm other than plain `torch.nn.BatchNorm2d` with weights and moving averages.
    """
    kind = GPUSyncBatchNorm if device_type == "cuda" else SyncBatchNorm2d
    if isinstance(model, _BatchNorm):
        return model if type(model) is kind else _converted(model, kind)
    for name, child in model.named_children():
        setattr(model, name, sync_batch_norm(child, device_type))
    return model


def _converted(norm: _BatchNorm, kind: type[_BatchNorm]) -> _BatchNorm:
    averages = norm.track_running_stats and norm.momentum is not None
    if type(norm) is not nn.BatchNorm2d or not norm.affine or not averages:
        raise TypeError(f"{norm!r} has no form that works on several devices")
    made = kind(norm.num_features, norm.eps, norm.momentum, device="meta")
    made.weight, made.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(made, name, buffer)
    return made.train(norm.training)
