"""Synthetic faces: deterministic, complete, varied, and neither trivial nor impossible to classify."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Samples
from fersweep.data.sources.synthetic import Synthetic, contact_sheet
from fersweep.data.synthetic.drawing import draw_face
from fersweep.data.synthetic.parameters import (
    CONFUSED_WITH,
    EMFACS,
    UNITS,
    Appearance,
    Expression,
    Identity,
    sample_expression,
)
from fersweep.errors import UserError


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Synthetic(48, size=1400, subjects=20).load()


def test_samples_are_complete_and_consistent(samples: Samples) -> None:
    assert samples.images.shape == (1400, 48, 48)
    assert samples.images.dtype == np.uint8
    assert samples.labels.dtype == np.int64
    assert samples.class_names == CLASSES
    assert len(set(samples.ids)) == 1400
    assert samples.subjects is not None
    assert samples.usage is not None
    assert sorted(set(samples.subjects)) == [f"P{number:03d}" for number in range(20)]
    assert np.bincount(samples.labels).tolist() == [200] * 7
    assert Counter(samples.usage.tolist()) == {TRAINING: 1120, PUBLIC: 140, PRIVATE: 140}
    for usage in (TRAINING, PUBLIC, PRIVATE):
        assert len(set(np.bincount(samples.labels[samples.usage == usage], minlength=7))) == 1
    for identifier, label, person in zip(samples.ids, samples.labels, samples.subjects, strict=True):
        assert f"/{CLASSES[label]}/{person}_" in identifier


def test_every_subject_shows_every_class(samples: Samples) -> None:
    assert samples.subjects is not None
    for person in set(samples.subjects):
        assert np.bincount(samples.labels[samples.subjects == person], minlength=7).tolist() == [10] * 7


@pytest.mark.parametrize("size", [21, 22, 69, 205])
def test_every_class_is_in_every_usage_at_any_size(size: int) -> None:
    samples = Synthetic(16, size=size).load()
    assert samples.usage is not None
    for usage in (TRAINING, PUBLIC, PRIVATE):
        assert set(samples.labels[samples.usage == usage]) == set(range(7))


def test_larger_size_keeps_the_images_of_a_smaller_one() -> None:
    small, large = Synthetic(32, size=25, seed=3).load(), Synthetic(32, size=90, seed=3).load()
    for name in ("images", "labels", "ids", "subjects", "usage"):
        np.testing.assert_array_equal(getattr(small, name), getattr(large, name)[:25])


def test_another_process_draws_the_same_bytes() -> None:
    script = (
        "import sys; from fersweep.data.sources.synthetic import Synthetic;"
        "sys.stdout.buffer.write(Synthetic(48, size=21, seed=5).load().images.tobytes())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert run.stdout == Synthetic(48, size=21, seed=5).load().images.tobytes()


def test_seed_changes_images_and_numbers_do_not_drift() -> None:
    """Means and spreads pinned with a tolerance that covers OpenCV's own changes of anti-aliasing."""
    first, other = Synthetic(48, size=140).load().images, Synthetic(48, size=140, seed=1).load().images
    assert (first != other).mean() > 0.9
    assert first.mean() == pytest.approx(131.2, abs=1.0)
    assert first.std() == pytest.approx(52.5, abs=1.0)


def test_global_generators_are_neither_read_nor_moved() -> None:
    np.random.seed(1)  # noqa: NPY002 - the global generator is the subject
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr] # noqa: NPY002
    first = Synthetic(24, size=21).load().images
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, Synthetic(24, size=21).load().images)


@pytest.mark.parametrize("image_size", [16, 48, 96, 256])
def test_any_size_shows_the_same_scene(image_size: int) -> None:
    """Shrunk to 16 pixels, pictures of all sizes agree but for their noise."""

    def shrunk_to_16(size: int) -> np.ndarray:
        images = Synthetic(size, size=21).load().images
        return images.reshape(21, 16, size // 16, 16, size // 16).mean(axis=(2, 4))

    shrunk, reference = shrunk_to_16(image_size), shrunk_to_16(64)
    assert np.abs(shrunk - reference).mean() < 5
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(shrunk, reference, strict=True)]
    assert min(correlations) > 0.95


def test_grey_is_the_luma_of_the_colour_picture() -> None:
    grey, colour = Synthetic(48, size=21).load().images, Synthetic(48, 3, size=21).load().images
    assert colour.shape == (21, 48, 48, 3)
    assert np.ptp(colour.mean(axis=(0, 1, 2))) > 3
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - grey).max() <= 1


def test_pixels_do_not_give_the_emotion_away(samples: Samples) -> None:
    """The mean face of each class hardly says more than chance: light, pose and identity dominate the pixels."""
    train = samples.usage == TRAINING
    flat = samples.images.reshape(len(samples), -1).astype(np.float64)
    means = np.stack([flat[train & (samples.labels == label)].mean(axis=0) for label in range(7)])
    distances = ((flat[~train, None] - means) ** 2).sum(axis=2)
    accuracy = (distances.argmin(axis=1) == samples.labels[~train]).mean()
    assert accuracy < 0.4


def test_mean_faces_of_the_classes_differ() -> None:
    """Without pose, light and people, the seven full displays are seven different faces."""
    rng = np.random.default_rng(0)
    identity = Identity(np.random.default_rng(4))
    appearance = Appearance(np.random.default_rng(2))
    faces = []
    for emotion in CLASSES:
        units = {unit: EMFACS[emotion].get(unit, 0.0) for unit in UNITS}
        expression = Expression(units, units, (0.0, 0.0))
        faces.append(draw_face(identity, expression, appearance, rng, 96).astype(float))
    for i in range(7):
        for j in range(i):
            assert np.abs(faces[i] - faces[j]).max() > 60, (CLASSES[i], CLASSES[j])


def test_a_subject_keeps_its_looks() -> None:
    """Identity is a function of the seed and the subject: hair and skin tie a person's pictures together."""
    colour = Synthetic(32, 3, size=420, subjects=6).load()
    assert colour.subjects is not None
    hue = colour.images[:, 14:22, 10:22].reshape(420, -1, 3).astype(float).mean(axis=1)
    hue = hue[:, :2] / hue[:, 2:]
    within = np.mean([hue[colour.subjects == person].std(axis=0) for person in set(colour.subjects)])
    assert within < 0.75 * hue.std(axis=0).mean()


def test_expressions_follow_emfacs_and_overlap() -> None:
    rng = np.random.default_rng(0)
    for emotion, units in EMFACS.items():
        drawn = [sample_expression(rng, emotion) for _ in range(400)]
        means = {unit: np.mean([expression.both[unit] for expression in drawn]) for unit in UNITS}
        for unit, weight in units.items():
            assert 0.45 * weight < means[unit] < 1.1 * weight, (emotion, unit)
        if emotion != "neutral":
            strongest = max(means, key=lambda unit: means[unit])
            assert units.get(strongest) == max(units.values()), emotion
    blended = [sample_expression(rng, "fear").both[4] for _ in range(2000)]
    assert np.mean(np.array(blended) < 0.25) > 0.03  # some fear looks like surprise
    lopsided = [expression.left[1] - expression.right[1] for expression in drawn]
    assert min(lopsided) < -0.1 < 0.1 < max(lopsided)
    assert set(CONFUSED_WITH) == set(CLASSES)
    assert set().union(*CONFUSED_WITH.values()) <= set(CLASSES)


def test_fingerprint_depends_on_every_parameter() -> None:
    sources = [
        Synthetic(48),
        Synthetic(64),
        Synthetic(48, 3),
        Synthetic(48, size=70),
        Synthetic(48, seed=1),
        Synthetic(48, subjects=5),
    ]
    assert len({source.fingerprint() for source in sources}) == len(sources)
    assert Synthetic(48).fingerprint() == Synthetic(48).fingerprint()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 20}, "size must be a whole number of at least 21, not 20"),
        ({"image_size": 15}, "image_size must be a whole number from 16 to 256, not 15"),
        ({"image_size": 257}, "image_size must be a whole number from 16 to 256, not 257"),
        ({"channels": 2}, r"channels must be 1 \(grey\) or 3 \(RGB\), not 2"),
        ({"subjects": 1}, "subjects must be a whole number from 2 to 999999, not 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"size": 70.5}, "size must be a whole number of at least 21, not 70.5"),
    ],
)
def test_bad_parameters_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Synthetic(**({"image_size": 48} | arguments))


@pytest.mark.parametrize("channels", [1, 3])
def test_contact_sheet_shows_every_class(channels: int) -> None:
    samples = Synthetic(48, channels, size=70).load()
    sheet = contact_sheet(samples, per_class=4)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (7 * 52 + 4, 46 + 4 * 52, 3)
    for row in range(7):
        images = samples.images[samples.labels == row]
        cell = sheet[4 + row * 52 : 52 + row * 52, 46 + 52 : 46 + 52 + 48]
        np.testing.assert_array_equal(cell, np.broadcast_to(images[1].reshape(48, 48, channels), (48, 48, 3)))
        assert sheet[4 + row * 52 : 52 + row * 52, :46].min() < 100  # its name
