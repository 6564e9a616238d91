"""Batch norm with training statistics over all processes of a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from fersweep.training.distributed import all_reduce_sum, world_size

AXES, PER_CHANNEL = (0, 2, 3), (1, -1, 1, 1)


class _SyncNormalise(torch.autograd.Function):
    """Batch normalisation of ``(N, C, H, W)`` by global mean and variance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return output, mean ``(C,)``, biased variance ``(C,)`` and number of values per channel, a scalar."""
        values = x.to(torch.promote_types(x.dtype, weight.dtype))  # statistics of bf16 maps are float32
        local_count = values.new_tensor([x.numel() // x.shape[1]])
        sums = all_reduce_sum(torch.cat([values.sum(AXES), local_count]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = values - mean.view(PER_CHANNEL)  # a second pass: the mean of squares would lose a small variance
        variance = all_reduce_sum(centred.square().sum(AXES)) / count
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        y = centred.mul_((scale * weight).view(PER_CHANNEL)).add_(bias.view(PER_CHANNEL))
        return y.to(x.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return gradients of input, weight and bias; the last two cover the images of this process only."""
        x, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradient.to(mean.dtype)
        normed = (x.to(mean.dtype) - mean.view(PER_CHANNEL)).mul_(scale.view(PER_CHANNEL))
        grad_bias, grad_weight = gradient.sum(AXES), (gradient * normed).sum(AXES)
        means = all_reduce_sum(torch.stack([grad_bias, grad_weight])) / count
        inner = gradient - means[0].view(PER_CHANNEL) - normed.mul_(means[1].view(PER_CHANNEL))
        return inner.mul_((scale * weight).view(PER_CHANNEL)).to(x.dtype), grad_weight, grad_bias, None


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with global training statistics, on any device; `torch.nn.SyncBatchNorm` refuses the CPU.

    The batch of a process may be empty. In evaluation, and in a single process, it equals plain batch norm.
    """

    @torch.compiler.disable  # a graph cannot hold the collectives
    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; raise ValueError for a single value per channel over all processes."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self._check_input_dim(input)
        y, mean, variance, count = _SyncNormalise.apply(input, self.weight, self.bias, self.eps)
        if count < 2:
            raise ValueError("batch norm in training needs more than one value per channel, over all processes")
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y


class GPUSyncBatchNorm(nn.SyncBatchNorm):
    """`torch.nn.SyncBatchNorm` that exchanges float32 statistics for an empty bf16 batch too, as other ranks do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``."""
        return super().forward(input) if len(input) else super().forward(input.float()).to(input.dtype)


def sync_batch_norm(model: nn.Module, device_type: str) -> nn.Module:
    """Synchronise the training statistics of every batch norm over all processes; names in the state stay the same.

    Args:
        model: changed in place; its parameters stay the same objects.
        device_type: ``cuda`` or ``cpu``.

    Returns:
        ``model``, or its replacement if it is a batch norm.

    Raises:
        TypeError: for a batch norm other than `torch.nn.BatchNorm2d` with weights and moving averages.
    """
    kind = GPUSyncBatchNorm if device_type == "cuda" else SyncBatchNorm2d
    for name, child in model.named_children():
        setattr(model, name, sync_batch_norm(child, device_type))
    if not isinstance(model, _BatchNorm) or type(model) is kind:
        return model
    averages = model.track_running_stats and model.momentum is not None
    if type(model) is not nn.BatchNorm2d or not model.affine or not averages:
        raise TypeError(f"{model!r} cannot be synchronised over several devices")
    norm = kind(model.num_features, model.eps, model.momentum, device="meta")
    norm.weight, norm.bias = model.weight, model.bias
    for name, buffer in model.named_buffers(recurse=False):
        setattr(norm, name, buffer)
    return norm.train(model.training)
