"""Operations of a network: torch's count, compared with one by hand, and of any network of this project."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console
from torch import nn

from fersweep.build import build_model
from fersweep.models.flops import count, forward
from fersweep.report import parameters


def test_convolutions_and_products_are_counted_by_hand() -> None:
    with torch.device("meta"):
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3),
            nn.Flatten(),
        ).append(nn.Linear(6 * 6 * 6, 7))
    first, second, last = 2 * 16 * 16 * 4 * 9, 2 * 6 * 6 * 6 * 4 * 9, 2 * 216 * 7
    once = first + second + last
    assert count(network, 1, 16) == (once, 3 * once - first)  # the images need no gradient
    assert forward(network, 1, 16) == once


def test_the_count_is_linear_in_the_area_and_changes_no_random_number() -> None:
    state = torch.random.get_rng_state()
    with torch.device("meta"):
        small, large = (count(build_model("drf_msam", "none", image_size=size), 1, size).training for size in (48, 96))
    assert 3.9 < large / small < 4.1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_params_shows_the_forward_pass_if_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parameters, "rows", lambda: [("vgg16", "none")])
    (plain,), (counted,) = parameters.count("paper"), parameters.count("paper", operations=True)
    with torch.device("meta"):
        expected = forward(build_model("vgg16", "none"), 1, 48) / 1e9
    assert (plain.forward_gflop, counted.forward_gflop) == (None, pytest.approx(expected, abs=1e-4))
    for each, shown in ((plain, False), (counted, True)):
        parameters.show([each], "paper", Console(width=150))
        out = capsys.readouterr().out
        assert ("GFLOP" in out, f"{expected:.3f}" in out) == (shown, shown)
