"""AER-CNN, MSFF-CNN and DRF + MSAM with fidelity=paper: each does what the notebook's text says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import OWN, build, check_learning, images
from torch import Tensor, nn

from fersweep.build import build_model, check
from fersweep.config.checks import validate
from fersweep.config.compose import compose_config
from fersweep.errors import UserError
from fersweep.models.aer_cnn import AERCNN, RegionAttention
from fersweep.models.drf_msam import (
    COMPENSATION,
    DRFMSAM,
    WIDTHS,
    Block,
    DynamicReceptiveField,
    MultiScaleAttention,
)
from fersweep.models.gates import BranchMixture, ChannelGate, Gate, SpatialGate, read_out
from fersweep.models.msff_cnn import MSFFCNN, Fusion
from fersweep.models.norm import batch_norm
from fersweep.models.notebook import DoubleSigmoidGate, PointGate


def own(backbone: str, *overrides: str) -> nn.Module:
    """One of the three networks in the text's form."""
    return build(f"backbone={backbone}", *overrides)


def seen(maps: Tensor, x: Tensor) -> tuple[int, int]:
    """Rows and columns of the input that the middle of ``maps`` depends on."""
    middle = maps.shape[-1] // 2
    (gradient,) = torch.autograd.grad(maps[..., middle, middle].sum(), x, retain_graph=True)
    rows, columns = gradient.abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@pytest.mark.parametrize("fidelity", ["paper", "code"])
@pytest.mark.parametrize("size", [48, 97, 224])
@pytest.mark.parametrize("backbone", OWN)
def test_any_size_of_image_is_taken(backbone: str, size: int, fidelity: str) -> None:
    with torch.device("meta"):
        network = build_model(backbone, "none", "relu", fidelity, num_classes=8, in_channels=3, image_size=size)
        assert network(torch.empty(2, 3, size, size)).shape == (2, 8)


@pytest.mark.parametrize("backbone", OWN)
def test_they_learn_at_224_pixels(backbone: str) -> None:
    check_learning(own(backbone, "dataset.image_size=224"), backbone, size=224)


@pytest.mark.parametrize("attention", ["se", "eca", "cbam"])
@pytest.mark.parametrize("backbone", OWN)
def test_other_attention_is_refused(backbone: str, attention: str) -> None:
    message = f"^backbone={backbone} takes no attention={attention}: set attention=none"
    with pytest.raises(UserError, match=message):
        build_model(backbone, attention, "relu", "paper")


def test_branches_see_3_5_and_7_pixels() -> None:
    field = DynamicReceptiveField(2, 4, 15, nn.Softplus, batch_norm).eval()
    x = torch.randn(1, 2, 15, 15, requires_grad=True)
    maps, each = [], x
    for branch in field.branches:
        each = branch(each)
        maps.append(each)
    assert [seen(each, x) for each in maps] == [(3, 3), (5, 5), (7, 7)]


def test_the_receptive_field_depends_on_the_input() -> None:
    """Distant pixels change the mixture at the centre, but not with ``dynamic=False``."""
    torch.manual_seed(0)
    for dynamic in (True, False):
        field = DynamicReceptiveField(2, 4, 33, nn.ReLU, batch_norm, dynamic=dynamic).eval()
        x = torch.randn(1, 2, 33, 33)
        other = x.clone()
        other[..., :8, :] *= 5  # outside the receptive field of every branch
        with torch.no_grad():
            middle = (field(x) - field(other))[..., 16, 16].abs().max()
        assert (middle > 1e-3) == dynamic


def test_the_mixture_is_a_softmax_over_the_branches() -> None:
    torch.manual_seed(0)
    mixture, maps = BranchMixture(6, 3, 16, nn.ReLU), [torch.randn(2, 6, 5, 5) for _ in range(3)]
    shares = mixture(maps)
    assert shares.shape == (2, 3, 6)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2, 6))
    pooled = (maps[0] + maps[1] + maps[2]).mean(dim=(2, 3))
    expected = torch.softmax(mixture.mlp(pooled).reshape(2, 3, 6), dim=1)
    torch.testing.assert_close(shares, expected)


def test_a_dynamic_receptive_field_is_the_mixture_of_its_branches() -> None:
    torch.manual_seed(0)
    field, x = DynamicReceptiveField(3, 8, 9, nn.ReLU, batch_norm), torch.randn(2, 3, 9, 9)
    first = field.branches[0](x)
    second = field.branches[1](first)
    maps = torch.stack([first, second, field.branches[2](second)], dim=1)
    shares = field.mixture(list(maps.unbind(dim=1)))
    torch.testing.assert_close(field(x), (maps * shares[..., None, None]).sum(dim=1))
    field.mixture = None
    torch.testing.assert_close(field(x), maps.mean(dim=1))


def test_multi_scale_attention_amplifies_and_never_erases() -> None:
    torch.manual_seed(0)
    attention, x = MultiScaleAttention(16, 9, nn.ReLU, batch_norm), 1 + torch.rand(2, 16, 9, 9)
    gates = read_out(attention, x)
    assert {name: tuple(each.shape) for name, each in gates.items()} == {
        "spatial_gate": (2, 1, 9, 9),
        "channel_gate": (2, 16, 1, 1),
    }
    factor = 1 + gates["spatial_gate"] * gates["channel_gate"]
    torch.testing.assert_close(attention(x), x * factor)
    assert 1 < factor.min() < factor.max() < 2


def test_its_scales_see_1_3_and_5_pixels() -> None:
    attention = MultiScaleAttention(8, 15, nn.Softplus, batch_norm).eval()
    reduced = torch.randn(1, 8, 15, 15, requires_grad=True)
    assert [seen(scale(reduced), reduced) for scale in attention.scales] == [(1, 1), (3, 3), (5, 5)]


@pytest.mark.parametrize("size", WIDTHS)
def test_networks_with_fewer_parts_have_as_many_parameters(size: str) -> None:
    counts = {}
    for parts in WIDTHS[size]:
        with torch.device("meta"):
            network = own("drf_msam", f"backbone.model.size={size}", f"backbone.model.parts={parts}")
        kinds = {type(module) for module in network.modules()}
        assert (BranchMixture in kinds) == (parts in ("both", "drf"))
        assert (MultiScaleAttention in kinds) == (parts in ("both", "msam"))
        counts[parts] = sum(parameter.numel() for parameter in network.parameters())
    assert set(counts) == {"both", "drf", "msam", "neither"}
    for count in counts.values():
        assert count == pytest.approx(counts["both"], rel=0.01)
    assert counts["both"] == {"small": 2_177_771, "base": 8_682_227}[size]


@pytest.mark.parametrize("depths", [[1, 1, 1, 1], [2, 2, 2, 2], [1, 2, 3, 3]])
@pytest.mark.parametrize("width", [16, 24, 32, 48])
def test_so_do_networks_of_other_widths_and_depths(width: int, depths: list[int]) -> None:
    counts = {}
    for parts in COMPENSATION:
        with torch.device("meta"):
            network = shaped(parts=parts, width=width, depths=depths)
        counts[parts] = sum(parameter.numel() for parameter in network.parameters())
    for count in counts.values():
        assert count == pytest.approx(counts["both"], rel=0.01 if width > 16 else 0.013)


def shaped(parts: str = "both", image_size: int = 48, size: str = "small", **shape: Any) -> DRFMSAM:
    """A DRF + MSAM network of this shape."""
    data = {"num_classes": 7, "in_channels": 1, "image_size": image_size}
    return DRFMSAM(size, parts, 0.3, activation=nn.ReLU, norm=batch_norm, **shape, **data)


def test_sizes_are_widths() -> None:
    with torch.device("meta"):
        for size, width in (("small", 32), ("base", 64)):
            for parts in COMPENSATION:
                known = shaped(parts, size=size).state_dict()
                network = shaped(parts=parts, width=width).state_dict()
                assert {name: each.shape for name, each in network.items()} == {
                    name: each.shape for name, each in known.items()
                }


def test_a_drf_msam_network_of_another_shape_learns() -> None:
    """With the small stem, two blocks in two stages, and 44 pixels, which the pools halve rounding up."""
    torch.manual_seed(0)
    network = shaped(width=8, depths=[1, 2, 2, 1], stem="small", image_size=44)
    maps: list[tuple[int, ...]] = []
    blocks = [each for each in network.stages if isinstance(each, Block)]
    for block in blocks:
        block.register_forward_hook(lambda _module, _inputs, output: maps.append(tuple(output.shape[1:])))
    check_learning(network, "shaped", size=44)
    assert maps == [(8, 44, 44), (16, 22, 22), (16, 22, 22), (32, 11, 11), (32, 11, 11), (64, 6, 6)]
    assert [isinstance(block.shortcut, nn.Identity) for block in blocks] == [True, False, True, False, True, False]


@pytest.mark.parametrize("parts", ["drf", "msam", "neither"])
def test_every_part_alone_learns(parts: str) -> None:
    check_learning(own("drf_msam", f"backbone.model.parts={parts}"), parts)


def test_region_attention_weighs_positions_alone() -> None:
    torch.manual_seed(0)
    attention, x = RegionAttention(16, 12, nn.ReLU, batch_norm), 1 + torch.rand(2, 16, 12, 12)
    gate = read_out(attention, x)["gate"]
    assert gate.shape == (2, 1, 12, 12)
    torch.testing.assert_close(attention(x), x * (1 + gate))
    assert gate.std(dim=(2, 3)).min() > 1e-3


def test_aer_cnn_fuses_the_weighted_maps_of_all_stages() -> None:
    network = own("aer_cnn").eval()
    assert isinstance(network, AERCNN)
    maps: list[Tensor] = []
    for stage in network.stages:
        stage.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    together: list[Tensor] = []
    network.fuse.register_forward_pre_hook(lambda _module, inputs: together.append(inputs[0]))
    with torch.no_grad():
        network(images())
    assert [tuple(each.shape[1:]) for each in maps] == [(32, 24, 24), (64, 12, 12), (128, 6, 6)]
    expected = torch.cat([nn.functional.avg_pool2d(each, each.shape[-1] // 6) for each in maps], dim=1)
    torch.testing.assert_close(together[0], expected)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_msff_cnn_fuses_level_by_level(fusion: str) -> None:
    """Every scale branch reaches the logits, the first through all fusions."""
    network = own("msff_cnn", f"backbone.model.fusion={fusion}").eval()
    assert isinstance(network, MSFFCNN)
    levels: list[Tensor] = []
    for branch in network.branches:
        branch.register_forward_hook(lambda _module, _inputs, output: levels.append(output))
    fused: list[Tensor] = []
    for each in network.fusions:
        assert isinstance(each, Fusion)
        each.mix.register_forward_pre_hook(lambda _module, inputs: fused.append(inputs[0]))
    network(images())
    assert [tuple(each.shape[1:]) for each in levels] == [(96, 12, 12), (96, 6, 6), (96, 3, 3)]
    pooled = nn.functional.max_pool2d(levels[0], 2)
    expected = torch.cat([pooled, levels[1]], dim=1) if fusion == "concat" else pooled + levels[1]
    torch.testing.assert_close(fused[0], expected)
    assert len(fused) == 2
    (gradient,) = torch.autograd.grad(network(images()).sum(), network.branches[0].scales[0][0][0].weight)
    assert gradient.any()


def test_read_out_names_every_gate() -> None:
    expected = {
        ("drf_msam", "paper"): {BranchMixture: 4, SpatialGate: 4, ChannelGate: 4},
        ("aer_cnn", "paper"): {SpatialGate: 3},
        ("msff_cnn", "paper"): {},
        ("drf_msam", "code"): {DoubleSigmoidGate: 2},
        ("aer_cnn", "code"): {PointGate: 2},
    }
    for (backbone, fidelity), kinds in expected.items():
        network = own(backbone, f"fidelity={fidelity}").eval()
        gates = read_out(network, images())
        found = [type(network.get_submodule(name)) for name in gates]
        assert {kind: found.count(kind) for kind in set(found)} == kinds, (backbone, fidelity)
        assert all(each.min() >= 0 and each.max() <= 1 and each.shape[0] == 2 for each in gates.values())
        assert not any(module._forward_hooks for module in network.modules() if isinstance(module, Gate))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("backbone=drf_msam backbone.model.size=large", "backbone.model.size=large is not known: choose small or base"),
        (
            "backbone=drf_msam backbone.model.parts=drfs",
            r"backbone.model.parts=drfs is not known \(did you mean drf\?\)",
        ),
        (
            "backbone=msff_cnn backbone.model.fusion=mean",
            "backbone.model.fusion=mean is not known: choose concat or sum",
        ),
    ],
)
def test_unknown_shapes_are_user_errors(overrides: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=message):
        build(*overrides.split())


def test_sizes_are_named_in_the_class() -> None:
    with torch.device("meta"):
        network = own("drf_msam", "backbone.model.size=base")
    assert isinstance(network, DRFMSAM)
    assert network.stem[0].out_channels == 64


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("backbone=aer_cnn backbone.model.widths=[]", r"widths=\[\] does not describe an AER-CNN: give the channels"),
        ("backbone=msff_cnn backbone.model.widths=[-4]", r"widths=\[-4\] does not describe an MSFF-CNN"),
        ("backbone=aer_cnn backbone.model.widths=32", "widths=32 does not describe an AER-CNN"),
        ("backbone=msff_cnn backbone.model.branch_width=2", "branch_width=2 must be 3 or more"),
        ("backbone=drf_msam backbone.model.size=3", "size=3 does not fit .*DRFMSAM: it must be text"),
        ("backbone=drf_msam backbone.model.width=0", "backbone.model.width=0 must be a number from 1 to 1024"),
        (
            "backbone=drf_msam backbone.model.width=48 backbone.model.size=base",
            "backbone.model.size=base has no effect with backbone.model.width=48: leave it out",
        ),
        (
            "backbone=drf_msam backbone.model.depths=[1,2]",
            "not describe a DRF . MSAM network: give one number for each",
        ),
        ("backbone=drf_msam backbone.model.stem=paper", "backbone.model.stem=paper is not known: choose strided or sm"),
        (
            "backbone=drf_msam fidelity=code backbone.model.width=16",
            "backbone.model.width has no effect with backbone=",
        ),
        ("backbone=drf_msam backbone.model.parts=null", "parts=null does not fit"),
        ("backbone=drf_msam backbone.attention_position=before_addition", "has no effect with backbone=drf_msam"),
        (
            "backbone=resnet50 backbone.attention_position=null",
            "attention_position=null is not possible with backbone=",
        ),
        (
            "backbone=aer_cnn fidelity=code fidelity.norm.epsilon=0.5",
            "fidelity.norm.epsilon has no effect with backbone=",
        ),
        (
            "backbone=msff_cnn fidelity=code fidelity.backbone.msff_cnn.norm.epsilon=0",
            "norm's epsilon=0 must be positive",
        ),
        (
            "backbone=msff_cnn fidelity=code fidelity.backbone.msff_cnn.norm.momentum=2",
            "momentum=2 must be above 0 and at",
        ),
        (
            "backbone=msff_cnn fidelity=code fidelity.backbone.msff_cnn.norm.momentum=abc",
            "momentum=abc does not fit",
        ),
        ("backbone=aer_cnn fidelity.aer_cnn.x=1", "There is no setting fidelity.aer_cnn.x"),
        (
            "experiment=best_drf_msam dataset.root=x augmentation=none",
            r"fersweep.data.augment.none has no argument '\w+'",
        ),
    ],
)
def test_errors_of_impossible_networks_are_one_sentence(overrides: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        check(compose_config(overrides.split()), num_classes=7)
    assert "\n" not in str(error.value)


def test_a_schedule_can_be_given_instead() -> None:
    given = ["backbone=resnet50", "recipe=notebook", "recipe.max_epochs=5", "recipe.optimizer.lr=1e-3"]
    validate(compose_config(given))
    with pytest.raises(UserError, match=r"has no schedule for backbone=resnet50.*or set recipe.max_epochs and"):
        validate(compose_config(given[:-1]))
