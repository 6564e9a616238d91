"""The backbones' convolution: torch's, and matrix products where those are faster on a CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """A convolution with torch's parameters and results, the same up to rounding.

    On small maps of many channels, oneDNN, which computes torch's convolutions on a CPU, takes several times as long as
    the arithmetic, most of all for the gradient of the weights and for strided 1×1 kernels (docs/explanation/performance.md has the
    figures). There, in channels last, the pixels under the kernel are gathered into rows and multiplied by the weights.
    On a GPU, for other shapes, and in what is compiled or exported, torch's own code runs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W')."""
        products = self._products(x)
        if not any(products):
            return super().forward(x)
        dtype = _dtype(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        y: Tensor = _Convolution.apply(
            x.to(dtype), self.weight.to(dtype), bias, self.stride[0], self.padding[0], products
        )
        return y

    def _products(self, x: Tensor) -> Products:
        """What of this convolution of ``x`` is to be a matrix product."""
        plain = self.groups == 1 and self.dilation == (1, 1) and self.kernel_size in ((1, 1), (3, 3))
        if not plain or x.device.type != "cpu" or torch.compiler.is_compiling():
            return NONE
        rule = RULES.get(_dtype(x))
        if rule is None or not x.is_contiguous(memory_format=torch.channels_last):
            return NONE
        stride, size = self.stride[0], self.kernel_size[0]
        rows, columns = (-(-side // stride) for side in x.shape[2:])
        return rule(size, stride, self.in_channels, rows * columns)


class Products(NamedTuple):
    """Whether a matrix product computes the forward pass and the gradient of the images; and that of the weights."""

    images: bool
    weights: bool


NONE = Products(images=False, weights=False)


def in_bf16(kernel_size: int, stride: int, in_channels: int, pixels: int) -> Products:
    """What is faster as a matrix product, for a map of so many ``pixels`` that comes out: measured, not derived."""
    if kernel_size == 1:
        return Products(images=pixels <= 36 or stride > 1, weights=pixels <= 36)
    many = in_channels >= (512 if stride == 1 else 256)
    return Products(
        images=(pixels <= 9 and many) or (pixels <= 4 and in_channels >= 256),
        weights=pixels <= (9 if stride == 1 else 36) and in_channels >= 128,
    )


def in_float32(kernel_size: int, stride: int, in_channels: int, pixels: int) -> Products:  # noqa: ARG001
    """As `in_bf16`; with AVX2."""
    if in_channels < 128:
        return NONE
    if kernel_size == 1:
        return Products(images=pixels <= 9, weights=pixels <= 36)
    return Products(images=False, weights=pixels <= (36 if in_channels >= 256 else 9))


RULES = {torch.bfloat16: in_bf16, torch.float32: in_float32}


def _dtype(x: Tensor) -> torch.dtype:
    """What a convolution of ``x`` is computed in."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class _Convolution(torch.autograd.Function):
    """A "same"-padded convolution of ``x`` (B, C, H, W), channels last, by ``weight`` (K, C, S, S) of its precision."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, products: Products
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.with_bias, ctx.stride, ctx.padding, ctx.products = bias is not None, stride, padding, products
        if not products.images:
            return F.conv2d(x, weight, bias, stride, padding)
        under = _under_kernel(x, weight.shape[2], stride, padding)
        return _times(under, _as_matrix(weight), bias).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        by_product = ctx.products
        of_images, of_weights = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        own = (of_images and not by_product.images, of_weights and not by_product.weights, False)
        grad_x = grad_weight = None
        if any(own):
            stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
            grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, own
            )
        rows = gradient.permute(0, 2, 3, 1)
        if of_images and by_product.images:
            grad_x = _gradient_of_images(rows, weight, x.shape, ctx.stride, ctx.padding)
        if of_weights and by_product.weights:
            grad_weight = _gradient_of_weights(rows, x, weight.shape[2], ctx.stride, ctx.padding)
        grad_bias = rows.sum(dim=(0, 1, 2)) if ctx.with_bias and ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None, None, None


def _times(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, H, W, C) and (K, C) to (B, H, W, K), as one product: torch would make many of them where rows have gaps."""
    return F.linear(rows.flatten(0, 2), matrix, bias).unflatten(0, rows.shape[:3])


def _as_matrix(weight: Tensor) -> Tensor:
    """(K, C, S, S) to (K, S·S·C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _under_kernel(x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """(B, C, H, W) to (B, H', W', S·S·C): for every pixel that comes out, what lies under the kernel."""
    under = _under_taps(x, size, stride, padding)
    return torch.cat(under, dim=-1) if size > 1 else under[0]


def _under_taps(x: Tensor, size: int, stride: int, padding: int) -> list[Tensor]:
    """As `_under_kernel`, but apart: (B, H', W', C) for each of the kernel's S·S weights."""
    rows = x.permute(0, 2, 3, 1)
    if size == 1:
        return [rows[:, ::stride, ::stride]]
    padded = F.pad(rows, (0, 0, padding, padding, padding, padding))
    return [padded[:, down, across] for down, across in _taps(x.shape, size, stride, padding)]


def _taps(shape: torch.Size, size: int, stride: int, padding: int) -> list[tuple[slice, slice]]:
    """For each of the kernel's S·S weights: the rows and columns of the padded map that it is multiplied with."""
    down, across = (
        [slice(tap, tap + (side + 2 * padding - size) // stride * stride + 1, stride) for tap in range(size)]
        for side in shape[2:]
    )
    return [(row, column) for row in down for column in across]


def _gradient_of_weights(rows: Tensor, x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """From the gradient (B, H', W', K) to that of the weights (K, C, S, S).

    One product of all in bf16, for which that was measured; else one for each tap, for which less has to be copied.
    """
    gradient = rows.flatten(0, 2).t()
    if size == 1 or x.dtype == torch.bfloat16:
        taps = gradient @ _under_kernel(x, size, stride, padding).flatten(0, 2)
    else:
        taps = torch.stack([gradient @ each.flatten(0, 2) for each in _under_taps(x, size, stride, padding)], dim=1)
    return taps.view(len(gradient), size, size, x.shape[1]).permute(0, 3, 1, 2)


def _gradient_of_images(rows: Tensor, weight: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
    """From the gradient (B, H', W', K) to that of the images (B, C, H, W)."""
    size = weight.shape[2]
    batch, channels, height, width = shape
    if size > 1 and stride == 1:  # a convolution by the turned kernels
        turned = weight.flip(2, 3).transpose(0, 1)
        under = _under_kernel(rows.permute(0, 3, 1, 2), size, 1, padding)
        return _times(under, _as_matrix(turned)).permute(0, 3, 1, 2)
    spread = _times(rows, _as_matrix(weight).t())
    if stride == 1:
        return spread.permute(0, 3, 1, 2)
    padded = rows.new_zeros(batch, height + 2 * padding, width + 2 * padding, channels)
    for (down, across), tap in zip(_taps(shape, size, stride, padding), spread.split(channels, dim=-1), strict=True):
        padded[:, down, across] += tap
    inside = padded[:, padding : padding + height, padding : padding + width].contiguous()
    return inside.permute(0, 3, 1, 2)
