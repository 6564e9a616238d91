"""The notebook's networks under fidelity=code against a rebuild of its notebook's with Keras.

``golden/notebook.json`` holds what the rebuild gave (docs/explanation/notebook.md's words in layers of TensorFlow 2.15,
float32) for the weights and images of `formula`, copied into its layout.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import formula
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fersweep.build import model
from fersweep.config.compose import compose_config
from fersweep.errors import UserError
from fersweep.models.notebook import DoubleSigmoidGate, PointGate

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "notebook.json").read_text())
PARAMETERS = {"aer_cnn": 24_487, "msff_cnn": 33_369_735, "drf_msam": 97_223}
DENSE_VARIANCE = "classifier.4.running_var"
"""MSFF-CNN's norm after a dense layer, the only one whose moving variance in Keras follows the biased variance."""


@functools.cache
def network(name: str, scaled: bool = False) -> nn.Module:
    """One of the three networks with the formula's weights; shared, so not to be changed.

    The golden numbers are of images in [0, 1] that nothing multiplies, so nothing does here unless ``scaled``.
    """
    cfg = compose_config([f"backbone={name}", "attention=none", "activation=relu", "fidelity=code"])
    with torch.device("meta"):
        built = model(cfg, 7)
    built = built.to_empty(device="cpu")
    formula.fill(built)
    if not scaled:
        built.input_scale = 1.0
    return built.eval()


@torch.no_grad()
def distance(name: str) -> float:
    """The largest difference between a network's logits and the golden ones."""
    logits = network(name)(formula.images())
    expected = torch.tensor(GOLDEN["logits"][name])
    assert logits.shape == expected.shape == (formula.IMAGES, 7)
    return float((logits - expected).abs().max())


def moving(built: nn.Module) -> dict[str, Tensor]:
    """The moving statistics of a network."""
    return {name: each for name, each in built.named_buffers() if "running" in name}


@pytest.mark.parametrize("name", PARAMETERS)
def test_logits_are_the_rebuilds(name: str) -> None:
    expected = torch.tensor(GOLDEN["logits"][name])
    assert expected.std(dim=0).mean() > 0.01  # outputs depend on the image, or equality would say nothing
    assert expected.std(dim=1).mean() > 0.05  # and on the class
    assert distance(name) < 1e-4


@pytest.mark.parametrize(("name", "scale"), [("aer_cnn", 255), ("msff_cnn", 255), ("drf_msam", 1)])
def test_two_of_the_three_see_pixels_from_0_to_255(name: str, scale: int) -> None:
    """The notebook divided by 255 only before it trained DRF + MSAM."""
    images = (formula.images() * 255).round()  # uint8 values
    with torch.no_grad():
        logits = network(name, scaled=True)(images / 255)
        torch.testing.assert_close(
            logits, network(name)(images if scale == 255 else images / 255), rtol=1e-4, atol=1e-4
        )
        assert (logits - network(name)(images / 255)).abs().max() > 0.1 or scale == 1


@pytest.mark.parametrize("value", ["abc", "0", "-1", "nan", "inf"])
def test_an_impossible_scale_is_refused(value: str) -> None:
    cfg = compose_config(["backbone=aer_cnn", "fidelity=code", f"fidelity.backbone.aer_cnn.input_scale={value}"])
    with pytest.raises(
        UserError,
        match=r"input_scale=\S+ (is impossible: choose a number above 0|does not fit .*: it must be a number)",
    ):
        model(cfg, 7)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_training_step_is_the_rebuilds(name: str) -> None:
    """Loss, every gradient's norm and every moving statistic's norm after one batch."""
    expected, built = GOLDEN["step"][name], copy.deepcopy(network(name)).train()
    loss = F.cross_entropy(built(formula.images()), formula.labels())
    loss.backward()
    norms = {key: float(each.grad.double().norm()) for key, each in built.named_parameters()}
    statistics = moving(built)
    if name == "msff_cnn":
        kept = 0.99 * formula.tensor(DENSE_VARIANCE, (256,))
        biased = (formula.IMAGES - 1) / formula.IMAGES
        statistics[DENSE_VARIANCE] = kept + biased * (statistics[DENSE_VARIANCE] - kept)
    assert float(loss.detach()) == pytest.approx(expected["loss"], rel=1e-4)
    assert norms == pytest.approx(expected["gradients"], rel=1e-3)
    assert {key: float(each.double().norm()) for key, each in statistics.items()} == pytest.approx(
        expected["statistics"], rel=1e-5
    )


@pytest.mark.parametrize(("name", "total"), PARAMETERS.items())
def test_parameters_are_the_rebuilds(name: str, total: int) -> None:
    trainable = sum(each.numel() for each in network(name).parameters() if each.requires_grad)
    statistics = sum(each.numel() for each in moving(network(name)).values())
    assert GOLDEN["parameters"][name] == {"total": trainable + statistics, "trainable": trainable}
    assert trainable + statistics == total
    assert statistics == (1_600 if name == "msff_cnn" else 0)


def test_the_l2_term_is_of_the_six_convolutions_kernels() -> None:
    kernels = [each.weight.detach() for each in network("msff_cnn").modules() if isinstance(each, nn.Conv2d)]
    assert len(kernels) == 6
    assert 1e-3 * sum(float(each.double().square().sum()) for each in kernels) == pytest.approx(GOLDEN["l2"], rel=1e-6)


def one_sigmoid_before_pooling(patch: pytest.MonkeyPatch) -> None:
    def forward(self: DoubleSigmoidGate, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(self.scales(x))).mean(dim=(2, 3), keepdim=True)

    patch.setattr(DoubleSigmoidGate, "forward", forward)


def one_sigmoid_after_pooling(patch: pytest.MonkeyPatch) -> None:
    def forward(self: DoubleSigmoidGate, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(self.scales(x)).mean(dim=(2, 3), keepdim=True))

    patch.setattr(DoubleSigmoidGate, "forward", forward)


def gates_of_positions(patch: pytest.MonkeyPatch) -> None:
    def forward(self: DoubleSigmoidGate, x: Tensor) -> Tensor:
        return torch.sigmoid(torch.sigmoid(self.conv(self.scales(x))))

    patch.setattr(DoubleSigmoidGate, "forward", forward)


def gates_of_channels(patch: pytest.MonkeyPatch) -> None:
    def forward(self: PointGate, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(x.mean(dim=(2, 3), keepdim=True)))

    patch.setattr(PointGate, "forward", forward)


def no_gates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PointGate, "forward", lambda _, x: torch.ones_like(x))


def bilinear_enlarging(patch: pytest.MonkeyPatch) -> None:
    original = F.interpolate

    def interpolate(x: Tensor, **options: Any) -> Tensor:
        return original(x, **{**options, "mode": "bilinear"})

    patch.setattr(F, "interpolate", interpolate)


def positions_before_channels(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nn.Flatten, "forward", lambda _, x: x.movedim(1, -1).flatten(1))


def torchs_epsilon(patch: pytest.MonkeyPatch) -> None:
    norms = [each for each in network("msff_cnn").modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(norms) == 7
    for each in norms:
        patch.setattr(each, "eps", 1e-5)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("aer_cnn", gates_of_channels),
        ("aer_cnn", no_gates),
        ("msff_cnn", bilinear_enlarging),
        ("msff_cnn", positions_before_channels),
        ("msff_cnn", torchs_epsilon),
        ("drf_msam", one_sigmoid_before_pooling),
        ("drf_msam", one_sigmoid_after_pooling),
        ("drf_msam", gates_of_positions),
    ],
)
def test_the_golden_logits_distinguish_the_forms(
    name: str, change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another form with the same parameters has other logits, so the equality above means something."""
    assert distance(name) < 1e-4
    change(monkeypatch)
    assert distance(name) > 2e-4


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_double_sigmoid_gates_are_one_per_channel_from_a_half_to_0_7311(scale: float) -> None:
    torch.manual_seed(0)
    gate, x = DoubleSigmoidGate(32, nn.ReLU), scale * torch.randn(16, 32, 12, 12)
    with torch.no_grad():
        gates = gate(x)
        assert gates.shape == (16, 32, 1, 1)
        assert gates.min() >= 0.5
        assert gates.max() <= 0.7311
        assert gates.std(dim=1).min() > 0  # channels have different gates
        gate.conv.bias.copy_(torch.tensor([-1e4, 1e4]).repeat(16))  # the extremes for any input
        gates = gate(x)[:, :, 0, 0]
    torch.testing.assert_close(gates, torch.tensor([0.5, 0.7310586]).repeat(16).expand(16, 32))
