"""SE, ECA and CBAM against their papers' equations, written out with plain tensor operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fersweep.models.attention import CBAM, EfficientChannelAttention, SqueezeExcitation, eca_kernel_size

MODULES = [SqueezeExcitation, EfficientChannelAttention, CBAM]


def feature_map(channels: int = 32, size: int = 5) -> torch.Tensor:
    return torch.randn(3, channels, size, size, generator=torch.Generator().manual_seed(1))


def test_se_gates_each_channel_by_its_pooled_excitation() -> None:
    torch.manual_seed(0)
    se, x = SqueezeExcitation(32, reduction=4), feature_map()
    first, _, second = se.mlp
    pooled = x.flatten(2).mean(-1)
    hidden = (pooled @ first.weight.T + first.bias).clamp(min=0)
    gate = 1 / (1 + torch.exp(-(hidden @ second.weight.T + second.bias)))
    assert first.weight.shape == (8, 32)
    torch.testing.assert_close(se(x), torch.einsum("bc,bchw->bchw", gate, x))


@pytest.mark.parametrize(
    ("channels", "taps"), [(1, 1), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7), (4096, 7)]
)
def test_eca_kernel_is_the_nearest_odd_number(channels: int, taps: int) -> None:
    assert eca_kernel_size(channels, gamma=2, beta=1) == taps
    assert EfficientChannelAttention(channels).conv.weight.shape == (1, 1, taps)


def test_eca_hyperparameters_change_the_kernel() -> None:
    assert eca_kernel_size(256, gamma=1, beta=1) == 9
    assert eca_kernel_size(256, gamma=2, beta=-3) == 3


def test_eca_convolves_across_channels_with_one_shared_kernel() -> None:
    eca, x = EfficientChannelAttention(64), feature_map(64)
    pooled = F.pad(x.mean((2, 3)), (1, 1))
    left, centre, right = eca.conv.weight.flatten()
    gate = torch.sigmoid(left * pooled[:, :-2] + centre * pooled[:, 1:-1] + right * pooled[:, 2:])
    torch.testing.assert_close(eca(x), x * gate[:, :, None, None])
    assert sum(p.numel() for p in eca.parameters()) == 3


def test_cbam_spatial_gate_reads_the_channel_refined_map() -> None:
    torch.manual_seed(0)
    cbam, x = CBAM(32, reduction=8, kernel_size=3), feature_map()
    channel_gate = torch.sigmoid(cbam.mlp(x.flatten(2).mean(-1)) + cbam.mlp(x.flatten(2).max(-1).values))
    refined = torch.einsum("bc,bchw->bchw", channel_gate, x)

    def spatial_gate(features: torch.Tensor) -> torch.Tensor:
        pooled = torch.stack([features.mean(1), features.max(1).values], dim=1)
        return torch.sigmoid(F.conv2d(pooled, cbam.conv.weight, cbam.conv.bias, padding=1))

    torch.testing.assert_close(cbam(x), refined * spatial_gate(refined))
    assert not torch.allclose(cbam(x), refined * spatial_gate(x), atol=1e-3)  # not the parallel form


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("channels", "size"), [(8, 1), (64, 12), (2048, 2)])
def test_shape_is_kept_and_gates_lie_between_zero_and_one(module: type, channels: int, size: int) -> None:
    torch.manual_seed(0)
    x = feature_map(channels, size)
    y = module(channels)(x)
    assert y.shape == x.shape
    assert ((y / x > 0) & (y / x < 1)).all()


@pytest.mark.parametrize("module", [SqueezeExcitation, CBAM])
def test_reduction_keeps_at_least_one_hidden_unit(module: type) -> None:
    assert module(8, reduction=16).mlp[0].weight.shape == (1, 8)


@pytest.mark.parametrize("module", [SqueezeExcitation, CBAM])
def test_gates_never_start_dead(module: type) -> None:
    """For any weights and input some hidden unit is active, so that the first layer learns."""
    for seed in range(50):
        torch.manual_seed(seed)
        attention = module(64)
        attention(torch.rand(2, 64, 4, 4)).square().sum().backward()
        assert attention.mlp[0].weight.grad.any()
