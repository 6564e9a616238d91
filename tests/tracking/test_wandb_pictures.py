"""Choice of the test images that a tracker shows."""

from __future__ import annotations

import numpy as np

from fersweep.data.samples import Samples
from fersweep.tracking.pictures import choose, pictures


def probabilities(of_the_first: list[float]) -> np.ndarray:
    first = np.array(of_the_first, dtype=np.float32)
    return np.stack([first, 1 - first], axis=1)


def test_half_are_the_hardest_mistakes_and_the_rest_is_random_but_the_same_each_time() -> None:
    labels = np.zeros(10, dtype=np.int64)
    shares = probabilities([0.9, 0.4, 0.1, 0.9, 0.3, 0.1, 0.9, 0.9, 0.9, 0.9])
    hardest, sample = choose(labels, shares, 5, seed=1)
    assert hardest.tolist() == [2, 5, 4]  # of equals the first
    assert len(sample) == 2
    assert set(sample.tolist()).isdisjoint(hardest.tolist())
    assert choose(labels, shares, 5, seed=1)[1].tolist() == sample.tolist()
    others = {tuple(choose(labels, shares, 5, seed)[1].tolist()) for seed in range(20)}
    assert len(others) > 5


def test_with_few_mistakes_or_images_all_are_used_once() -> None:
    labels = np.zeros(3, dtype=np.int64)
    hardest, sample = choose(labels, probabilities([0.9, 0.2, 0.9]), 64, seed=1)
    assert (hardest.tolist(), sample.tolist()) == ([1], [0, 2])
    hardest, sample = choose(labels, probabilities([0.9, 0.9, 0.9]), 2, seed=1)
    assert (len(hardest), len(sample)) == (0, 2)
    assert len(choose(labels, probabilities([0.1, 0.1, 0.1]), 1, seed=1)[0]) == 1


def test_a_picture_has_image_names_and_probabilities_of_its_own_row() -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    samples = Samples(images, np.array([0, 1, 0, 1]), np.array(["a", "b", "c", "d"]), ("happy", "sad"))
    shown = list(pictures(samples, np.array([1, 3]), probabilities([0.25, 0.75]), 2, seed=1))
    assert [each[1:] for each in shown] == [
        ("d", "sad", "happy", 0.25, 0.75, "mistake"),
        ("b", "sad", "sad", 0.75, 0.75, "random"),
    ]
    assert [int(each.image[0, 0]) for each in shown] == [3, 1]
