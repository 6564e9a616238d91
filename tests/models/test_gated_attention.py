"""SimAM, coordinate and triplet attention, BAM and GCT against their papers' equations and their authors' code.

``tests/golden/attention.json`` has outputs of the authors' PyTorch modules of 32 channels (repositories
houqb/CoordAttention, landskape-ai/triplet-attention, z-x-yang/GCT, Jongchan/attention-module) in evaluation, with
weights of `formula.tensor` by the names in the file, for the maps of `formula.uniform`; of BAM those of its branches.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import formula
import pytest
import torch
from timm.layers.coord_attn import CoordAttn
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.gated_attention import BAM, CoordinateAttention, GatedChannelTransform, SimAM, TripletAttention
from fersweep.models.gates import Attention, read_out

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "attention.json").read_text())
MAPS = torch.from_numpy(formula.uniform("maps", (2, 32, 6, 6))).float()
MODULES = [SimAM, CoordinateAttention, TripletAttention, BAM, GatedChannelTransform]


def loaded(ours: nn.Module, name: str) -> nn.Module:
    """Our module with the weights of the authors', whose order is ours; a bias that a norm cancels shifts its mean."""
    weights = [(each, formula.tensor(each, tuple(shape))) for each, shape in GOLDEN[name]["weights"]]
    state = [key for key in ours.state_dict() if not key.endswith("num_batches_tracked")]
    values: list[Tensor] = []
    shift: Tensor | float = 0.0
    for (each, value), (following, _) in zip(weights, [*weights[1:], ("", None)], strict=True):
        if each.endswith("bias") and ".bn" not in f".{each}" and "_bn" not in each and "bn" in following:
            shift = value
            continue
        if each.endswith("running_mean"):
            value, shift = value - shift, 0.0
        values.append(value)
    shapes = [ours.state_dict()[key].shape for key in state]
    ours.load_state_dict(
        {key: value.reshape(shape) for key, value, shape in zip(state, values, shapes, strict=True)}, strict=False
    )
    return ours.eval()


def check(found: Tensor, golden: dict[str, Any]) -> None:
    assert float(found.double().abs().sum()) == pytest.approx(golden["sum"], rel=1e-5)
    torch.testing.assert_close(found.flatten()[::151], torch.tensor(golden["values"]), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_outputs_are_those_of_the_authors_code() -> None:
    check(loaded(CoordinateAttention(32), "coordinate")(MAPS), GOLDEN["coordinate"])
    check(loaded(GatedChannelTransform(32), "gct")(MAPS), GOLDEN["gct"])
    triplet = loaded(TripletAttention(32), "triplet")
    for gate in (triplet.columns, triplet.rows, triplet.positions):
        gate.conv.weight.copy_(gate.conv.weight.flip(1))  # the authors pool to [max; mean], here it is [mean; max]
    check(triplet(MAPS), GOLDEN["triplet"])


@torch.no_grad()
def test_bam_adds_the_branches_of_the_authors_code() -> None:
    """Equation 2 of the paper, σ(Mc + Ms); the authors' code multiplies."""
    bam = loaded(BAM(32), "bam")
    channels, positions = bam.channels(MAPS.mean(dim=(2, 3), keepdim=True)), bam.positions(MAPS)
    check(channels.expand_as(MAPS), GOLDEN["bam"]["channels"])
    check(positions.expand_as(MAPS), GOLDEN["bam"]["positions"])
    torch.testing.assert_close(bam(MAPS), MAPS + MAPS / (1 + torch.exp(-(channels + positions))))


@torch.no_grad()
@pytest.mark.parametrize("channels", [16, 512])
def test_coordinate_attention_is_timms(channels: int) -> None:
    """timm chooses another number of hidden channels and, by default, no biases."""
    torch.manual_seed(0)
    theirs = CoordAttn(channels, rd_channels=max(8, channels // 32), bias=True).eval()
    theirs.conv1.bias.zero_()
    theirs.bn1.running_mean.normal_()
    ours = CoordinateAttention(channels).eval()
    for mine, other in ((ours.reduce, "conv1"), (ours.norm, "bn1"), (ours.rows, "conv_h"), (ours.columns, "conv_w")):
        source = getattr(theirs, other).state_dict()
        mine.load_state_dict({key: source[key] for key in mine.state_dict()})
    x = torch.randn(2, channels, 5, 7)
    torch.testing.assert_close(ours(x), theirs(x))


def test_simam_is_the_inverse_of_the_least_energy() -> None:
    """Equation 5: e = 4 (v + λ) / ((x - μ)² + 2 v + 2 λ); each value is scaled by σ(1 / e)."""
    strength, x = 1e-4, MAPS.double()
    for image in range(2):
        channel = x[image, 3]
        variance = channel.var()  # of M = H W - 1
        energy = 4 * (variance + strength) / ((channel - channel.mean()) ** 2 + 2 * variance + 2 * strength)
        torch.testing.assert_close(SimAM(32)(x)[image, 3], channel * torch.sigmoid(1 / energy))
    assert not list(SimAM(32).parameters())
    assert SimAM(8)(torch.ones(2, 8, 1, 1)).isfinite().all()


def test_gct_scales_by_the_normalised_norm_of_each_channel() -> None:
    """Equations 2 to 4: ŝ has a root mean square of one; with γ > 0 channels compete less, with γ < 0 more."""
    gct, x = GatedChannelTransform(32), MAPS * torch.linspace(0.1, 2, 32)[:, None, None]
    assert torch.equal(gct(x), x)
    with torch.no_grad():
        gct.gamma.fill_(0.5)
        norms = x.square().sum(dim=(2, 3)).sqrt()
        expected = 1 + torch.tanh(0.5 * norms / norms.square().mean(dim=1, keepdim=True).sqrt())
        torch.testing.assert_close(gct.factor(x)[..., 0, 0], expected, rtol=1e-4, atol=1e-4)


def test_each_gate_of_a_triplet_ignores_the_order_along_its_pooled_axis() -> None:
    torch.manual_seed(0)
    triplet = TripletAttention(32).eval()
    order = torch.randperm(6)
    rows, columns = MAPS[:, :, order], MAPS[..., order]
    torch.testing.assert_close(triplet.columns(rows.transpose(1, 2)), triplet.columns(MAPS.transpose(1, 2)))
    torch.testing.assert_close(triplet.rows(columns.transpose(1, 3)), triplet.rows(MAPS.transpose(1, 3)))
    assert not torch.allclose(triplet.positions(rows), triplet.positions(MAPS))


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("channels", "shape"), [(8, (1, 1)), (16, (3, 5)), (64, (12, 12))])
def test_shapes_and_gates(module: type[nn.Module], channels: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention, x = module(channels), torch.randn(2, channels, *shape)
    assert isinstance(attention, Attention)
    y = attention(x)
    assert y.shape == x.shape
    (gate,) = read_out(attention, x).values()
    least, most = (0, 2) if module is GatedChannelTransform else (0, 1)
    assert ((gate > least) & (gate <= most)).all()
    torch.testing.assert_close(y, x * (gate + (module is BAM)), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("module", MODULES)
def test_bfloat16_and_channels_last(module: type[nn.Module]) -> None:
    torch.manual_seed(0)
    attention, x = module(32).eval(), MAPS.to(memory_format=torch.channels_last)
    expected = attention(MAPS)
    torch.testing.assert_close(attention.to(memory_format=torch.channels_last)(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(attention(x).float(), expected, rtol=0.03, atol=0.03)


def test_settings_that_no_module_can_have() -> None:
    for made, message in (
        (lambda: SimAM(8, strength=0), "attention.strength=0 must be positive"),
        (lambda: CoordinateAttention(8, reduction=0), "attention.reduction=0 must be a whole number, 1 or more"),
        (lambda: TripletAttention(8, kernel_size=4), "attention.kernel_size=4 must be odd"),
        (lambda: BAM(8, dilation=0), "attention.dilation=0 must be a whole number from 1 to 64"),
        (lambda: GatedChannelTransform(8, epsilon=-1), "attention.epsilon=-1 must be positive"),
    ):
        with pytest.raises(UserError, match=message):
            made()
