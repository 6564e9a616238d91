"""Figures of ``result.json``, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import plain, quickly_composed

from fersweep.data.samples import Samples
from fersweep.data.splits import Split
from fersweep.training import metrics, results


def test_test_metrics_by_hand() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    final = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    single = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    scores, counts = metrics.test_metrics(labels, single, final)
    assert scores["test/accuracy"] == 0.75
    assert scores["test/accuracy_single_view"] == 1.0
    assert scores["test/n"] == 4
    assert scores["test/macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert scores["test/loss"] == pytest.approx(-(math.log(0.7) + math.log(0.1) + math.log(0.5)) / 4)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    scores, _ = metrics.test_metrics(labels, single, 1 - final)  # certain and wrong: large, not infinite
    assert 1 < scores["test/loss"] < 100


def test_the_summary_follows_from_training_labels_and_both_views() -> None:
    """Class 1 is the most frequent in training, class 0 in the test; ten crops are right more often than one view."""
    labels = np.array([1, 1, 1, 0, 2, 0, 0, 0, 1, 2])
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 16, 16), dtype=np.uint8)
    images[9] = images[0]
    samples = Samples(images, labels, np.array([f"{index}" for index in range(10)]), ("a", "b", "c"))
    split = Split(np.arange(4), np.arange(4, 5), np.arange(5, 10))
    final = torch.eye(3)[[0, 0, 0, 1, 1]] * 0.7 + 0.1
    single = torch.eye(3)[[0, 1, 1, 1, 1]] * 0.4 + 0.2
    result = results.summary(plain(quickly_composed()), results.Tested(samples, split, single, final), 0.5, 1.0)
    assert result["majority_baseline"] == 0.2
    assert result["metrics"]["val/accuracy"] == 0.5
    assert result["metrics"]["test/accuracy"] == 0.8
    assert result["metrics"]["test/accuracy_single_view"] == 0.4
    z = 1.959964
    middle, half = (0.8 + z**2 / 10) / (1 + z**2 / 5), z * math.sqrt(0.16 / 5 + z**2 / 100) / (1 + z**2 / 5)
    assert result["accuracy_interval"] == pytest.approx([middle - half, middle + half], abs=1e-6)
    assert result["confusion_matrix"] == [[3, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert result["per_class"]["b"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "n": 1}
    assert result["per_class"]["c"] == {"precision": None, "recall": 0.0, "f1": 0.0, "n": 1}
    assert (result["train_n"], result["val_n"], result["metrics"]["test/n"]) == (4, 1, 5)
    assert result["calibration"]["test_ece"] == pytest.approx(0.2, abs=1e-6)  # confidence 0.6, single view 2 of 5
    assert result["twins"]["either"] == {"identical": 1, "identical_other_label": 1, "near": 0, "near_other_label": 0}
    assert (result["metrics"]["test/n_without_twins"], result["metrics"]["test/accuracy_without_twins"]) == (4, 1.0)
