"""The non-local block and the bottleneck transformer against timm's, and by their equations."""

from __future__ import annotations

import pytest
import torch
from timm.layers.bottleneck_attn import BottleneckAttn
from timm.layers.non_local_attn import NonLocalAttn
from torch import nn

from fersweep.errors import UserError
from fersweep.models.gates import read_out
from fersweep.models.self_attention import BottleneckTransformer, NonLocal, RelativeSelfAttention

MODULES = [NonLocal, BottleneckTransformer]


def awake(attention: nn.Module) -> nn.Module:
    """The module with a last norm that lets its branch through."""
    norms = [each for each in attention.modules() if isinstance(each, nn.BatchNorm2d)]
    assert not norms[-1].weight.any()
    nn.init.constant_(norms[-1].weight, 1.5)
    return attention


@torch.no_grad()
def test_the_non_local_block_is_timms() -> None:
    """Without timm's scale, which the paper's embedded Gaussian has not, and without its biases."""
    torch.manual_seed(0)
    theirs, ours = NonLocalAttn(16, use_scale=False, rd_channels=8).eval(), NonLocal(16).eval()
    theirs.norm.weight.uniform_(0.5, 1.5)
    theirs.norm.running_mean.normal_()
    for name, value in theirs.named_parameters():
        if name.endswith("bias") and not name.startswith("norm"):
            value.zero_()
    names = {"queries": "t", "keys": "p", "values": "g", "out": "z", "norm": "norm"}
    source = theirs.state_dict()
    ours.load_state_dict(
        {f"{mine}.{key}": source[f"{names[mine]}.{key}"] for mine, key in (k.split(".") for k in ours.state_dict())}
    )
    x = torch.randn(2, 16, 4, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    assert not torch.allclose(ours(x), x)


@torch.no_grad()
@pytest.mark.parametrize(("channels", "heads", "shape"), [(32, 4, (6, 6)), (16, 1, (3, 5))])
def test_self_attention_with_relative_positions_is_timms(channels: int, heads: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs = BottleneckAttn(channels, feat_size=shape, num_heads=heads, scale_pos_embed=True)
    ours = RelativeSelfAttention(channels, heads, reach=6)
    ours.qkv.weight.copy_(theirs.qkv.weight)
    for table, other in ((ours.rows, theirs.pos_embed.height_rel), (ours.columns, theirs.pos_embed.width_rel)):
        outer = (len(table) - len(other)) // 2
        table[outer : outer + len(other)] = other
    x = torch.randn(2, channels, *shape)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_far_positions_share_a_vector() -> None:
    """With ``reach=2`` an axis has the distances -1, 0 and 1."""
    attention = RelativeSelfAttention(8, heads=2, reach=2)
    assert attention._distances(4).tolist() == [[1, 2, 2, 2], [0, 1, 2, 2], [0, 0, 1, 2], [0, 0, 0, 1]]
    assert attention(torch.randn(2, 8, 9, 4)).shape == (2, 8, 9, 4)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("channels", "shape"), [(8, (1, 1)), (20, (3, 5)), (64, (12, 12))])
def test_they_begin_as_the_identity_and_share_out_attention(
    module: type[nn.Module], channels: int, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    attention, x = module(channels), torch.randn(2, channels, *shape)
    assert torch.equal(attention(x), x)
    y = awake(attention)(x)
    assert y.shape == x.shape
    assert not torch.equal(y, x)
    (shares,) = read_out(attention, x).values()
    assert shares.shape == (2, 1, *shape)
    assert (shares > 0).all()
    torch.testing.assert_close(shares.sum(dim=(1, 2, 3)), torch.ones(2))


@torch.no_grad()
@pytest.mark.parametrize("module", MODULES)
def test_bfloat16_and_channels_last(module: type[nn.Module]) -> None:
    torch.manual_seed(0)
    attention, x = awake(module(32)).eval(), torch.randn(2, 32, 6, 6)
    expected, last = attention(x), x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(attention(last), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(attention(last).float(), expected, rtol=0.05, atol=0.05)


def test_settings_that_no_module_can_have() -> None:
    for made, message in (
        (lambda: NonLocal(8, reduction=0), "attention.reduction=0 must be a whole number"),
        (lambda: BottleneckTransformer(8, heads=0), "attention.heads=0 must be a whole number from 1 to 64"),
        (lambda: BottleneckTransformer(8, reach=1.5), "attention.reach=1.5 must be a whole number from 1 to 64"),
        (lambda: BottleneckTransformer(8, reduction=-4), "attention.reduction=-4 must be a whole number"),
    ):
        with pytest.raises(UserError, match=message):
            made()
