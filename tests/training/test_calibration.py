"""Temperature scaling, calibration error, and both in a run's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TinyNetwork
from omegaconf import DictConfig
from outcomes import read_json, run_here
from torch.nn import functional as F

from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.training import calibration, checkpoint


def drawn(sharpness: float, n: int = 4000, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are ``sharpness`` times those that the labels were drawn from."""
    generator = torch.Generator().manual_seed(3)
    true = torch.randn(n, classes, generator=generator) * 1.5
    labels = torch.multinomial(true.softmax(dim=1), 1, generator=generator)[:, 0]
    return true * sharpness, labels


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(sharpness: float) -> None:
    logits, labels = drawn(sharpness)
    assert calibration.fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.08)


def test_the_temperature_minimises_the_cross_entropy() -> None:
    logits, labels = drawn(2.0)
    found = calibration.fit_temperature(logits, labels)
    best = float(F.cross_entropy(logits.double() / found, labels))
    assert all(float(F.cross_entropy(logits.double() / (found * by), labels)) > best for by in (0.9, 1.1))


def test_scaling_calibrates_overconfident_probabilities_and_changes_no_prediction() -> None:
    logits, labels = drawn(3.0)
    raw = logits.softmax(dim=1)
    told = calibration.summary(raw, labels, calibration.fit_temperature(*drawn(3.0)))
    assert told["test_ece"] > 0.15
    assert told["test_ece_scaled"] < 0.03
    assert torch.equal(calibration.scaled(raw, told["temperature"]).argmax(dim=1), raw.argmax(dim=1))


def test_scaling_probabilities_equals_scaling_their_logits() -> None:
    logits, _ = drawn(1.0, n=50)
    scaled = calibration.scaled(logits.softmax(dim=1), 2.5)
    assert torch.allclose(scaled, (logits / 2.5).softmax(dim=1), atol=1e-6)


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    probabilities = torch.tensor([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = torch.tensor([0] * 7 + [1] * 3 + [0] * 6 + [1] * 4)
    assert calibration.expected_calibration_error(probabilities, labels) == pytest.approx(0.5 * 0.2, abs=1e-6)


def test_without_finite_logits_the_temperature_is_one() -> None:
    assert calibration.fit_temperature(torch.empty(0, 7), torch.empty(0, dtype=torch.int64)) == 1.0
    spoilt = torch.tensor([[float("nan"), 0.0]])
    assert calibration.fit_temperature(spoilt, torch.tensor([0])) == 1.0


def test_a_result_has_the_calibration_error_before_and_after_scaling(finished: Path) -> None:
    told = json.loads((finished / "result.json").read_text())["calibration"]
    assert told["temperature"] == checkpoint.load(finished)["fersweep"]["temperature"] != 1.0
    table = pd.read_parquet(finished / "predictions.parquet")
    names = list(CLASSES)
    labels = torch.tensor([names.index(label) for label in table["label"]])
    probabilities = torch.from_numpy(table[names].to_numpy().astype(np.float32))
    assert told["test_ece"] == pytest.approx(calibration.expected_calibration_error(probabilities, labels), abs=1e-5)
    assert told["test_ece_scaled"] != told["test_ece"]


@pytest.mark.usefixtures("tiny_network")
def test_the_temperature_is_fitted_on_unaugmented_validation_images(
    small: Callable[..., DictConfig], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[torch.Tensor, torch.Tensor]] = []

    def fit(logits: torch.Tensor, labels: torch.Tensor) -> float:
        fitted.append((logits, labels))
        return 1.0 + len(fitted)

    monkeypatch.setattr("fersweep.training.module.fit_temperature", fit)
    cfg = small("recipe.augment_validation=true")
    directory = run_here(cfg)
    network = TinyNetwork(1, 7)
    kept = checkpoint.load_weights(network, directory / "checkpoints" / "best.ckpt")
    samples = build.samples(cfg)
    val = build.datamodule(cfg, samples).split.val
    images, labels = torch.from_numpy(samples.images[val]), torch.from_numpy(samples.labels[val])
    with torch.no_grad():
        logits = network.eval()(images[:, None].float() / 255)
    assert len(fitted) == 3  # after two epochs, and of the best when training has ended
    torch.testing.assert_close(fitted[2][0], logits)
    assert torch.equal(fitted[2][1], labels)
    assert all(not torch.allclose(each, logits, atol=1e-3) for each, _ in fitted[:2])
    told = read_json(directory / "result.json")["calibration"]
    assert told["temperature"] == kept["fersweep"]["temperature"] == 4.0
    assert kept.keys() == checkpoint.load(finished).keys()  # written again as it was
