"""A convolution that is a matrix product where oneDNN, behind torch's convolutions on a CPU, is slow."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MatmulConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with the same parameters and, up to rounding, the same results.

    On small maps of many channels oneDNN takes several times as long as a matrix product, most of all for the gradient
    of the weights and for strided 1×1 kernels (docs/explanation/performance.md). For such maps in channels-last format,
    the pixels under the kernel are gathered into rows (im2col) and multiplied by the weights. On a GPU, for other
    shapes, and in compiled or exported networks, torch's own code runs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W')."""
        products = self._products(x)
        if not any(products):
            return super().forward(x)
        dtype = _compute_dtype(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        y: Tensor = _Convolution.apply(
            x.to(dtype), self.weight.to(dtype), bias, self.stride[0], self.padding[0], products
        )
        return y

    def _products(self, x: Tensor) -> Products:
        size, stride = self.kernel_size[0], self.stride[0]
        plain = self.groups == 1 and self.dilation == (1, 1) and self.kernel_size in ((1, 1), (3, 3))
        same = self.padding == (size // 2, size // 2) and self.padding_mode == "zeros" and self.stride[1] == stride
        if not (plain and same) or x.device.type != "cpu" or torch.compiler.is_compiling():
            return NONE
        rule = RULES.get(_compute_dtype(x))
        if rule is None or not x.is_contiguous(memory_format=torch.channels_last):
            return NONE
        rows, columns = (-(-side // stride) for side in x.shape[2:])
        return rule(size, stride, self.in_channels, rows * columns)


class Products(NamedTuple):
    """The parts of a convolution computed as matrix products.

    Attributes:
        images: the forward pass and the gradient of the images.
        weights: the gradient of the weights.
    """

    images: bool
    weights: bool


NONE = Products(images=False, weights=False)


def bf16_products(kernel_size: int, stride: int, in_channels: int, pixels: int) -> Products:
    """Return what is faster as a matrix product in bf16, for output maps of ``pixels``; measured with AVX-512."""
    if kernel_size == 1:
        return Products(images=pixels <= 36 or stride > 1, weights=pixels <= 36)
    many = in_channels >= (512 if stride == 1 else 256)
    return Products(
        images=(pixels <= 9 and many) or (pixels <= 4 and in_channels >= 256),
        weights=pixels <= (9 if stride == 1 else 36) and in_channels >= 128,
    )


def float32_products(kernel_size: int, stride: int, in_channels: int, pixels: int) -> Products:  # noqa: ARG001
    """Return what is faster as a matrix product in float32, for output maps of ``pixels``; measured with AVX2."""
    if in_channels < 128:
        return NONE
    if kernel_size == 1:
        return Products(images=pixels <= 9, weights=pixels <= 36)
    return Products(images=False, weights=pixels <= (36 if in_channels >= 256 else 9))


RULES = {torch.bfloat16: bf16_products, torch.float32: float32_products}


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class _Convolution(torch.autograd.Function):
    """ "Same"-padded convolution of ``x`` (B, C, H, W), channels last, by ``weight`` (K, C, S, S) of its dtype."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, products: Products
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.with_bias, ctx.stride, ctx.padding, ctx.products = bias is not None, stride, padding, products
        if not products.images:
            return F.conv2d(x, weight, bias, stride, padding)
        columns = _im2col(x, weight.shape[2], stride, padding)
        return _matmul(columns, _as_matrix(weight), bias).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        products = ctx.products
        of_images, of_weights = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        by_torch = (of_images and not products.images, of_weights and not products.weights, False)
        grad_x = grad_weight = None
        if any(by_torch):
            stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
            grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, by_torch
            )
        rows = gradient.permute(0, 2, 3, 1)
        if of_images and products.images:
            grad_x = _image_gradient(rows, weight, x.shape, ctx.stride, ctx.padding)
        if of_weights and products.weights:
            grad_weight = _weight_gradient(rows, x, weight.shape[2], ctx.stride, ctx.padding)
        grad_bias = rows.sum(dim=(0, 1, 2)) if ctx.with_bias and ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None, None, None


def _matmul(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, H, W, C) and (K, C) to (B, H, W, K), as one product: torch would make many of strided rows."""
    return F.linear(rows.flatten(0, 2), matrix, bias).unflatten(0, rows.shape[:3])


def _as_matrix(weight: Tensor) -> Tensor:
    """(K, C, S, S) to (K, S·S·C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _im2col(x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """(B, C, H, W) to (B, H', W', S·S·C): the pixels under the kernel, for every output pixel."""
    taps = _pixels_of_taps(x, size, stride, padding)
    return torch.cat(taps, dim=-1) if size > 1 else taps[0]


def _pixels_of_taps(x: Tensor, size: int, stride: int, padding: int) -> list[Tensor]:
    """(B, C, H, W) to S·S times (B, H', W', C): the pixels under each tap of the kernel."""
    rows = x.permute(0, 2, 3, 1)
    if size == 1:
        return [rows[:, ::stride, ::stride]]
    padded = F.pad(rows, (0, 0, padding, padding, padding, padding))
    return [padded[:, down, across] for down, across in _taps(x.shape, size, stride, padding)]


def _taps(shape: torch.Size, size: int, stride: int, padding: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the padded map that each of the kernel's S·S taps is multiplied with."""
    down, across = (
        [slice(tap, tap + (side + 2 * padding - size) // stride * stride + 1, stride) for tap in range(size)]
        for side in shape[2:]
    )
    return [(row, column) for row in down for column in across]


def _weight_gradient(rows: Tensor, x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """From the output's gradient (B, H', W', K) to that of the weights (K, C, S, S).

    One product in bf16, for which that was measured; else one per tap, which copies less.
    """
    gradient = rows.flatten(0, 2).t()
    if size == 1 or x.dtype == torch.bfloat16:
        taps = gradient @ _im2col(x, size, stride, padding).flatten(0, 2)
    else:
        taps = torch.stack([gradient @ each.flatten(0, 2) for each in _pixels_of_taps(x, size, stride, padding)], dim=1)
    return taps.view(len(gradient), size, size, x.shape[1]).permute(0, 3, 1, 2)


def _image_gradient(rows: Tensor, weight: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
    """From the output's gradient (B, H', W', K) to that of the images (B, C, H, W)."""
    size = weight.shape[2]
    batch, channels, height, width = shape
    if size > 1 and stride == 1:  # a convolution by the rotated kernels
        rotated = weight.flip(2, 3).transpose(0, 1)
        columns = _im2col(rows.permute(0, 3, 1, 2), size, 1, padding)
        return _matmul(columns, _as_matrix(rotated)).permute(0, 3, 1, 2)
    spread = _matmul(rows, _as_matrix(weight).t())
    if stride == 1:
        return spread.permute(0, 3, 1, 2)
    padded = rows.new_zeros(batch, height + 2 * padding, width + 2 * padding, channels)
    for (down, across), tap in zip(_taps(shape, size, stride, padding), spread.split(channels, dim=-1), strict=True):
        padded[:, down, across] += tap
    inside = padded[:, padding : padding + height, padding : padding + width].contiguous()
    return inside.permute(0, 3, 1, 2)
