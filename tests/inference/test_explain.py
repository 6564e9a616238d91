"""Gates, Grad-CAM against its formula, and scores that separate good maps from bad ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHALLOW, quickly_composed
from torch import Tensor, nn

from fersweep import build
from fersweep.inference.explain import explain
from fersweep.inference.explain.gradcam import gradcam, last_layer
from fersweep.inference.explain.mixtures import overall, shares, spreads
from fersweep.inference.explain.scores import STEPS, enlarged, score
from fersweep.inference.trained import Trained
from fersweep.models.attention import CBAM, EfficientChannelAttention, SqueezeExcitation
from fersweep.models.gates import read_out
from fersweep.models.study_code import ParallelCBAM, ScalarGate

SIZE = 32


def built(*overrides: str, size: int = SIZE) -> Trained:
    """Return an untrained network, as `fersweep.inference.trained.load` does."""
    cfg = quickly_composed(*overrides, f"dataset.image_size={size}")
    torch.manual_seed(0)
    network = build.model(cfg, 7).eval().requires_grad_(False)
    return Trained(Path("none"), network, cfg, tuple("abcdefg"), 1.7, torch.device("cpu"))


def noise(count: int, size: int = SIZE) -> Tensor:
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def scaled(images: Tensor) -> Tensor:
    return images.float().div(255)


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (SqueezeExcitation, {"channels": (2, 64, 1, 1)}),
        (EfficientChannelAttention, {"channels": (2, 64, 1, 1)}),
        (CBAM, {"channels": (2, 64, 1, 1), "positions": (2, 1, 5, 5)}),
        (ParallelCBAM, {"channels": (2, 64, 1, 1), "positions": (2, 1, 5, 5)}),
        (ScalarGate, {"image": (2, 1, 1, 1)}),
    ],
)
def test_attention_multiplies_by_its_gates(module: type, kinds: dict[str, tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    attention, x = module(64), torch.randn(2, 64, 5, 5)
    gates = attention.gates(x)
    assert {name: tuple(gate.shape) for name, gate in gates.items()} == kinds
    product = x
    for gate in gates.values():
        product = product * gate
    assert torch.equal(product, attention(x))
    assert all(torch.equal(read_out(attention, x)[name], gate) for name, gate in gates.items())


@pytest.mark.parametrize(
    ("overrides", "layer", "side"),
    [
        (("backbone=vgg16", "attention=se", "backbone.model.depths=[1,1,1,1,1]"), "features.13", 2),
        (("backbone=vgg16", "attention=eca", "fidelity=code", "backbone.model.depths=[1,1,1,1,1]"), None, 2),
        (("backbone=resnet50", "attention=cbam", SHALLOW), "stages.2", 2),
        (("backbone=resnet50", "attention=eca", "fidelity=code", SHALLOW), None, 2),
        (("backbone=resnetv2_50", "attention=cbam", "fidelity=code", SHALLOW), None, 2),
        (("backbone=resnetv2_50", "attention=none", SHALLOW), None, 2),
        (("backbone=aer_cnn",), "fuse", 4),
        (("backbone=aer_cnn", "fidelity=code"), "features", 8),
        (("backbone=msff_cnn",), "classifier.0", 3),
        (("backbone=msff_cnn", "fidelity=code"), "features", 16),
        (("backbone=drf_msam",), "stages", 2),
        (("backbone=drf_msam", "fidelity=code"), "features", 4),
    ],
)
def test_every_backbone_has_a_last_map(overrides: tuple[str, ...], layer: str | None, side: int) -> None:
    network, images = built(*overrides).network, scaled(noise(2))
    found = last_layer(network, images)
    names = {module: name for name, module in network.named_modules()}
    assert layer is None or names[found] == layer
    maps = gradcam(network, found, images, torch.tensor([1, 2]))
    assert maps.shape == (2, side, side)
    assert maps.isfinite().all()
    assert maps.min() >= 0
    assert not any(module._forward_hooks for module in network.modules())


def test_at_48_pixels_a_resnet_is_explained_after_all_its_stages() -> None:
    network = built("backbone=resnet50", "attention=cbam", SHALLOW, size=48).network
    assert last_layer(network, scaled(noise(1, 48))) is network.stages


def test_gradcam_is_its_formula() -> None:
    network, images = built("backbone=aer_cnn").network, scaled(noise(3))
    kept: list[Tensor] = []
    with network.fuse.register_forward_hook(lambda _m, _i, output: kept.append(output.requires_grad_())):
        logits = network(images.requires_grad_())
    (gradient,) = torch.autograd.grad(logits[0, 4] + logits[1, 0] + logits[2, 6], kept[0])
    expected = torch.einsum("bk,bkij->bij", gradient.mean(dim=(2, 3)), kept[0]).relu().detach()
    maps = gradcam(network, network.fuse, images.detach(), torch.tensor([4, 0, 6]))
    assert expected.max() > 0
    torch.testing.assert_close(maps, expected)


class Corner(nn.Module):
    """Predicts `a` for a bright upper left quarter, `b` for a dark one, whatever the rest of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, images: Tensor) -> Tensor:
        mean = (self.conv(images) - 0.5)[:, 0, : SIZE // 2, : SIZE // 2].mean(dim=(1, 2))
        return 12 * torch.stack([mean, -mean, *[torch.zeros_like(mean)] * 5], dim=1)


def cornered() -> tuple[Trained, Tensor]:
    network = Corner().eval().requires_grad_(False)
    trained = built("backbone=aer_cnn")
    image = torch.full((1, 1, SIZE, SIZE), 40, dtype=torch.uint8)
    image[..., : SIZE // 2, : SIZE // 2] = 250
    return Trained(Path("none"), network, trained.cfg, tuple("abcdefg"), 1.0, torch.device("cpu")), image


def test_a_network_that_uses_one_quarter_is_explained_by_it() -> None:
    trained, image = cornered()
    (explanation,) = explain(trained, image)
    assert explanation.label == "a"
    assert explanation.probability > 0.9
    row, column = np.unravel_index(explanation.maps["gradcam"].argmax(), (SIZE, SIZE))
    assert max(row, column) < SIZE // 2
    scores = explanation.scores
    assert scores.deletion < scores.deletion_random - 0.2
    assert scores.insertion > scores.insertion_random  # a blurred quarter is still bright


def test_a_map_of_the_wrong_region_is_worse_than_random() -> None:
    trained, image = cornered()
    good = torch.zeros(4, 4)
    good[:2, :2] = 1
    right, wrong = (score(trained, image[0], 0, coarse) for coarse in (good, 1 - good))
    assert right.deletion_random == wrong.deletion_random
    assert right.deletion < right.deletion_random < wrong.deletion
    assert wrong.insertion < right.insertion_random < right.insertion
    flat = score(trained, image[0], 0, torch.zeros(4, 4))
    assert wrong.deletion > flat.deletion > right.deletion


def test_deletion_is_the_area_under_the_probability() -> None:
    """Compute the series by hand: an image without its first k tenths of pixels, k from 0 to 10."""
    trained, image = cornered()
    coarse = torch.arange(SIZE * SIZE, dtype=torch.float32).flip(0).view(SIZE, SIZE)
    mean = int(image.float().mean().round())
    heights = []
    for k in range(STEPS + 1):
        changed = image.clone()
        changed.view(-1)[: round(k / STEPS * SIZE * SIZE)] = mean
        heights.append(float(trained.probabilities(changed)[0, 0]))
    area = np.trapezoid(heights, dx=1 / STEPS)
    assert score(trained, image[0], 0, coarse).deletion == pytest.approx(area, abs=1e-5)


def test_an_explanation_holds_maps_at_the_images_size_and_gates_as_computed() -> None:
    trained = built("backbone=drf_msam")
    (one, two) = explain(trained, noise(2), target=3)
    assert (one.target, one.label, two.target) == (3, "d", 3)
    answers = read_out(trained.network, scaled(noise(2)))
    assert set(one.gates) == set(answers)
    assert one.gates["stages.0.drf.mixture"].shape == (3, 32)
    assert one.gates["stages.0.msam.channel_gate"].shape == (32,)
    np.testing.assert_allclose(two.gates["stages.2.msam.spatial_gate"], answers["stages.2.msam.spatial_gate"][1, 0])
    assert set(one.maps) == {"gradcam", *(f"stages.{number}.msam.spatial_gate" for number in (0, 2, 4, 6))}
    assert all(each.shape == (SIZE, SIZE) and each.dtype == np.float32 for each in one.maps.values())
    np.testing.assert_allclose(one.probabilities, trained.probabilities(noise(2))[0], atol=1e-6)
    again, _ = explain(trained, noise(2), target=3)
    assert again.scores == one.scores
    assert explain(trained, noise(0)) == []


def test_gates_of_each_channel_and_position_are_kept_and_drawn_as_their_mean() -> None:
    trained = built("backbone=aer_cnn", "fidelity=code")
    (one,) = explain(trained, noise(1))
    gate = one.gates["features.gated1.gate"]
    assert gate.shape == (32, 16, 16)
    mean = enlarged(torch.from_numpy(gate.mean(axis=0))[None], SIZE)[0]
    np.testing.assert_allclose(one.maps["features.gated1.gate"], mean, atol=1e-6)


def test_the_spread_of_mixtures_is_told_between_images_and_channels() -> None:
    rng = np.random.default_rng(0)
    channels, images = rng.normal(0, 0.1, (1, 3, 16)), rng.normal(0, 0.02, (200, 3, 1))
    found = 1 / 3 + channels + images  # every channel of an image is moved by as much
    rows = spreads({"a.mixture": torch.from_numpy(found), "b.mixture": torch.full((5, 3, 4), 1 / 3)})
    assert [(row.block, row.branch, row.images) for row in rows[2:4]] == [("a.mixture", 3, 200), ("b.mixture", 1, 5)]
    for number, row in enumerate(rows[:3]):
        assert row.mean == pytest.approx(found[:, number].mean())
        assert row.between_images == pytest.approx(images[:, number].std())
        assert row.between_channels == pytest.approx(channels[:, number].std())
    assert [(row.between_images, row.between_channels) for row in rows[3:]] == [(0, 0)] * 3
    both = overall(rows)
    assert both["shares_between_images"] == pytest.approx(
        (sum(images[:, n].var() for n in range(3)) / 6) ** 0.5, abs=1e-4
    )


def test_shares_are_those_that_the_network_mixes_with() -> None:
    trained, batch = built("backbone=drf_msam"), noise(5)
    found = shares(trained, batch)
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        f"stages.{2 * number}.drf.mixture": (5, 3, 32 * 2**number) for number in range(4)
    }
    expected = read_out(trained.network, scaled(batch[3:4]))
    for name, each in found.items():
        torch.testing.assert_close(each[3], expected[name][0])
    assert all(row.between_images > 1e-6 for row in spreads(found))
    alike = spreads(shares(trained, batch[:1].expand(5, -1, -1, -1)))
    assert all(row.between_images < 1e-6 < row.between_channels for row in alike)
    assert shares(built("backbone=aer_cnn"), batch) == {}
