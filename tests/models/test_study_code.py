"""fidelity=code against the study's reference code: parameters, logits, gradients, statistics, optimiser steps.

``golden/study.json`` has the outputs of the reference code (its last commit, TensorFlow 2.15, float32) for the weights
and images of `formula`, copied into its layout.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import formula
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import nn
from torch.nn import functional as F

from fersweep.build import build_model, model, optimizer_factory
from fersweep.config.compose import compose_config
from fersweep.errors import UserError
from fersweep.models.attention import CBAM
from fersweep.models.resnet import ResNet
from fersweep.models.resnetv2 import ResNetV2
from fersweep.models.study_code import ParallelCBAM, RowBatchNorm, ScalarGate, glorot_uniform, scalar_gate_kernel_size
from fersweep.report.parameters import Count, count, show
from fersweep.report.study import rows, study
from fersweep.training.batch_norm import sync_batch_norm
from fersweep.training.optim import KerasAdam

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "study.json").read_text())


def network(row: str, *overrides: str) -> tuple[DictConfig, nn.Module]:
    """One of the 32 networks with the formula's weights, and its configuration."""
    choices = [f"{group}={name}" for group, name in zip(("backbone", "attention"), row.split(), strict=True)]
    cfg = compose_config([*choices, "fidelity=code", "recipe=study", *overrides])
    with torch.device("meta"):
        built = model(cfg, 7)
    built = built.to_empty(device="cpu")
    formula.fill(built)
    return cfg, built


@pytest.mark.parametrize("row", GOLDEN["logits"])
def test_logits_are_the_reference_codes(row: str) -> None:
    expected = torch.tensor(GOLDEN["logits"][row])
    assert expected.std(dim=0).mean() > 0.05  # outputs depend on image and class, or equality would say nothing
    _, built = network(row)
    with torch.no_grad():
        logits = built.eval()(formula.images())
    torch.testing.assert_close(logits, expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("row", "override"),
    [
        ("vgg16 cbam", "fidelity.backbone.vgg.attention_shortcut=false"),
        ("resnet50 cbam", "fidelity.attention.cbam._target_=fersweep.models.attention.CBAM"),
        ("resnet50 none", "fidelity.backbone.resnet.stride_on=conv2"),
        ("resnet50 none", "fidelity.backbone.resnet.stem_activation=null"),
        ("resnet50 none", "fidelity.backbone.resnet.projection_norm=null"),
        ("resnetv2_50 none", "fidelity.backbone.resnetv2.zero_padded_pool=false"),
        ("resnetv2_50 none", "fidelity.backbone.resnetv2.final_activation=null"),
    ],
)
def test_the_golden_logits_distinguish_the_forms(row: str, override: str) -> None:
    """Another form with the same parameters has other logits, so the equality above means something."""
    _, built = network(row, override)
    with torch.no_grad():
        logits = built.eval()(formula.images())
    assert (logits - torch.tensor(GOLDEN["logits"][row])).abs().max() > 2e-4


def test_all_32_rows_have_golden_logits_and_six_a_training_step() -> None:
    assert list(GOLDEN["logits"]) == [f"{backbone} {attention}" for backbone, attention in rows()]
    assert len(GOLDEN["logits"]) == 32
    assert len(GOLDEN["step"]) == 6


@pytest.mark.parametrize("row", GOLDEN["step"])
def test_a_training_step_is_the_reference_codes(row: str) -> None:
    """Loss, every gradient's norm and every moving statistic's norm at the first step; the loss after three of Adam."""
    expected = GOLDEN["step"][row]
    cfg, built = network(row)
    optimizer, losses = optimizer_factory(cfg)(built.train().parameters()), []
    for step in range(4):
        loss = F.cross_entropy(built(formula.images()), formula.labels())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            norms = {name: float(each.grad.double().norm()) for name, each in built.named_parameters()}
            moving = {name: float(each.double().norm()) for name, each in built.named_buffers() if "running" in name}
            assert norms == pytest.approx(expected["gradients"], rel=1e-3, abs=1e-6)
            assert moving == pytest.approx(expected["statistics"], rel=1e-5)
        optimizer.step()
    assert losses == pytest.approx(expected["losses"], rel=2e-3)  # rounding of processors accumulates
    assert losses[0] == pytest.approx(expected["losses"][0], abs=1e-5)
    assert max(losses) - min(losses) > 0.3  # the steps were large enough to distinguish optimisers


@pytest.fixture(scope="module")
def counts() -> list[Count]:
    """Of all 32 rows."""
    return count("code")


def test_parameters_of_all_rows_are_the_reference_codes(counts: list[Count]) -> None:
    assert [(each.backbone, each.attention) for each in counts] == rows()
    for each in counts:
        name = f"{each.backbone} {each.attention}"
        assert (each.total, each.trainable) == (each.code_total, each.code_trainable), name
        printed = abs(each.total / 1e6 - each.printed_m) <= 0.005
        assert printed != bool(each.note), name  # every printed figure is right, or explained
    assert [f"{each.backbone} {each.attention}" for each in counts if each.note] == ["vgg19 none", "resnetv2_50 cbam"]
    assert all(each.equal for each in counts)


def test_the_two_printed_errors_are_what_the_notes_say(counts: list[Count], capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    cfg = compose_config(["backbone=vgg19", "attention=none", "fidelity=code", "backbone.model.depths=[2,2,4,3,4]"])
    with torch.device("meta"):
        without = sum(parameter.numel() for parameter in model(cfg, 7).parameters())
    assert without == 42_866_119
    wrong = [each for each in counts if each.note]
    assert math.floor(wrong[1].total / 1e4) / 100 == 26.01
    show(wrong, "code", Console(width=200))
    said = capsys.readouterr().out
    assert "42.87M*" in said
    assert "26.01M**" in said
    assert "42,866,119" in said
    assert "26,015,543" in said


def test_the_printed_parameters_of_the_ablations_are_built() -> None:
    """Cut off or rounded after the second decimal, as printed; eca's are those of the code's form."""
    for name, ablation in study()["ablations"].items():
        for value, printed in ablation.get("params_m", {}).items():
            choices = [f"{key}={ablation[key]}" for key in ("backbone", "attention")]
            setting = f"{ablation['setting']}={'null' if value is None else value}"
            with torch.device("meta"):
                built = model(compose_config([*choices, "fidelity=code", setting]), 7)
            moving = sum(each.numel() for key, each in built.named_buffers() if "running" in key)
            total = (sum(each.numel() for each in built.parameters()) + moving) / 1e6
            assert 0 <= total - printed < 0.01 or abs(total - printed) <= 0.005, f"{name} {value}: {total}"


def test_row_batch_norm_takes_statistics_of_rows() -> None:
    torch.manual_seed(0)
    x, norm = 3 + 2 * torch.randn(4, 5, 6, 7), RowBatchNorm(6, epsilon=1e-3)
    with torch.no_grad():
        norm.rows.weight.copy_(torch.rand(6))
        norm.rows.bias.copy_(torch.rand(6))
    mean, variance = x.mean(dim=(0, 1, 3)), x.var(dim=(0, 1, 3), unbiased=False)
    scale, shift = norm.rows.weight, norm.rows.bias
    expected = (x - mean[:, None]) / (variance[:, None] + 1e-3).sqrt() * scale[:, None] + shift[:, None]
    torch.testing.assert_close(norm.train()(x), expected)
    torch.testing.assert_close(norm.rows.running_mean, 0.01 * mean)
    torch.testing.assert_close(norm.rows.running_var, 0.99 + 0.01 * x.var(dim=(0, 1, 3), unbiased=True))


def test_row_batch_norm_keeps_channels_last_and_can_be_shared_by_processes() -> None:
    x = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)
    assert RowBatchNorm(6, 1e-3)(x).is_contiguous(memory_format=torch.channels_last)
    shared = sync_batch_norm(build_model("resnet50", "none", "elu", "code"), "cpu")
    kinds = {type(module) for module in shared.modules() if isinstance(module, nn.modules.batchnorm._NormBase)}
    assert nn.BatchNorm2d not in kinds
    assert len(kinds) == 1


def test_scalar_gate_reads_one_tap_of_each_channel() -> None:
    assert [scalar_gate_kernel_size(c, 2, 1) for c in (64, 256, 512, 1024, 2048)] == [7, 9, 9, 11, 11]
    torch.manual_seed(0)
    gate, x = ScalarGate(16, kernel_size=5), torch.randn(3, 16, 4, 4)
    by_convolution = torch.sigmoid(gate.conv(x.mean(dim=(2, 3))[:, :, None]))  # a sequence of length one
    torch.testing.assert_close(gate(x), x * by_convolution[..., None])
    gate(x).square().sum().backward()
    used = gate.conv.weight.grad[0].abs().sum(dim=0) > 0
    assert used.tolist() == [False, False, True, False, False]


def test_parallel_cbam_differs_from_cbam_in_the_input_of_the_spatial_gate() -> None:
    torch.manual_seed(0)
    parallel, serial, x = ParallelCBAM(32), CBAM(32), torch.randn(2, 32, 6, 6)
    serial.load_state_dict(parallel.state_dict())
    assert not torch.allclose(parallel(x), serial(x))
    with torch.no_grad():  # a channel gate of one half scales the input of the spatial gate by one half
        parallel.mlp[2].weight.zero_()
        parallel.mlp[2].bias.zero_()
        serial.load_state_dict(parallel.state_dict())
        serial.conv.weight.mul_(2)
    torch.testing.assert_close(parallel(x), serial(x))


def test_initial_weights_are_glorot_uniform() -> None:
    torch.manual_seed(0)
    built = build_model("resnet50", "eca", "elu", "code")
    built.requires_grad_(False)
    conv, gate = built.stages[0][0].conv2, built.stages[3][2].attention.conv
    limit = (6 / (9 * 64 + 9 * 64)) ** 0.5
    assert 0.99 * limit < conv.weight.abs().max() <= limit
    assert float(conv.weight.std()) == pytest.approx(limit / 3**0.5, rel=0.02)
    assert gate.weight.abs().max() <= (6 / (11 * (2048 + 1))) ** 0.5
    assert not conv.bias.any()
    norm = built.stages[0][0].norm1.rows
    assert norm.weight.eq(1).all()
    assert (norm.eps, norm.momentum) == (1.001e-5, 0.01)
    assert built.stages[0][0].shortcut.norm.rows.eps == 1e-3
    plain = nn.Linear(4, 4, bias=False)
    glorot_uniform(plain)
    assert plain.weight.abs().max() <= (6 / 8) ** 0.5


def test_strides_of_the_codes_resnets() -> None:
    first, second = (build_model(name, "none", "elu", "code") for name in ("resnet50", "resnetv2_50"))
    assert [stage[0].conv1.stride[0] for stage in first.stages] == [1, 2, 2, 2]
    assert [stage[0].conv2.stride[0] for stage in first.stages] == [1, 1, 1, 1]
    assert [[block.conv2.stride[0] for block in stage] for stage in second.stages] == [
        [1, 1, 2],
        [1, 1, 1, 2],
        [1, 1, 1, 1, 1, 2],
        [1, 1, 1],
    ]
    assert type(first.stem.act) is nn.ReLU
    assert type(second.act) is nn.ReLU
    assert [block.shortcut is None for block in second.stages[0]] == [False, True, True]


def test_vgg_adds_attention_to_its_input_only_before_the_classifier() -> None:
    def built(position: str) -> nn.Module:
        overrides = ["backbone=vgg16", "attention=se", "fidelity=code", f"backbone.attention_position={position}"]
        return model(compose_config(overrides), 7).eval()

    network, images = built("before_classifier"), formula.images()[:2]
    with torch.no_grad():
        features = network.features(images)
        expected = network.classifier((features + network.attention(features)).flatten(1))
        torch.testing.assert_close(network(images), expected)
    assert not built("every_stage").attention_shortcut
    plain = build_model("vgg16", "none", "elu", "code").eval()  # no attention: nothing is added
    with torch.no_grad():
        torch.testing.assert_close(plain(images), plain.classifier(plain.features(images).flatten(1)))
    assert [layer.p for layer in plain.classifier if isinstance(layer, nn.Dropout)] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        (
            ResNet,
            {"stride_on": "conv3"},
            "fidelity.backbone.resnet.stride_on=conv3 is not known.*choose conv1 or conv2",
        ),
        (
            ResNetV2,
            {"stride_in": "middle"},
            "fidelity.backbone.resnetv2.stride_in=middle is not known: choose first or last",
        ),
        (ResNet, {"pooling": "mean"}, "backbone.model.pooling=mean is not known: choose avg or max"),
    ],
)
def test_unknown_forms_are_user_errors(kind: type, option: dict[str, str], message: str) -> None:
    from test_models import OPTIONS

    with pytest.raises(UserError, match=message):
        kind([1, 1, 1, 1], attention_position="before_addition", **OPTIONS, **option)


def test_keras_adam_is_kerass_formula() -> None:
    """Against the formula in double precision, with gradients near epsilon, where torch's own Adam differs."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=20), rng.normal(size=(5, 20)) * np.logspace(-9, 0, 20)
    rate, first, second, eps = 1e-2, 0.9, 0.999, 1e-7
    value, m, v = start.copy(), np.zeros(20), np.zeros(20)
    for t, gradient in enumerate(gradients, 1):
        m, v = first * m + (1 - first) * gradient, second * v + (1 - second) * gradient**2
        value -= rate * math.sqrt(1 - second**t) / (1 - first**t) * m / (np.sqrt(v) + eps)
    results = []
    for kind in (KerasAdam, torch.optim.Adam):
        parameter = nn.Parameter(torch.from_numpy(start.copy()))
        optimizer = kind([parameter], lr=rate, eps=eps)
        for gradient in gradients:
            parameter.grad = torch.from_numpy(gradient.copy())
            optimizer.step()
        results.append(parameter.detach().numpy())
    np.testing.assert_allclose(results[0], value, rtol=1e-12)
    assert np.abs(results[1] - value).max() > 1e-3


def test_keras_adam_resumes_from_its_state() -> None:
    def steps(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, count: int) -> None:
        for _ in range(count):
            parameter.grad = parameter.detach() * 1e-6
            optimizer.step()

    whole, part = (nn.Parameter(torch.linspace(1, 2, 5)) for _ in range(2))
    steps(KerasAdam([whole], lr=0.1), whole, 4)
    first = KerasAdam([part], lr=0.1)
    steps(first, part, 2)
    again = KerasAdam([part], lr=0.1)
    again.load_state_dict(first.state_dict())
    steps(again, part, 2)
    assert torch.equal(whole, part)
