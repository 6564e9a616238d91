"""Augmentation: the study's flip and zoom, the ranges of the standard pipeline, seeding."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import yaml
from scipy.ndimage import affine_transform

from fersweep.data import augment
from fersweep.data.batchwise import Batchwise
from fersweep.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "augmentation"
PIPELINES = {
    "none": augment.none,
    "flip_zoom": augment.flip_zoom,
    "standard": augment.standard,
    "crop_flip": augment.crop_flip,
}


def smooth_images(number: int = 32, size: int = 48, channels: int = 0) -> np.ndarray:
    """Random images, smooth as photographs, so that interpolation errors are realistic."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (number, size // 6, size // 6) + ((channels,) if channels else ()))
    fine = coarse.repeat(6, axis=1).repeat(6, axis=2)
    kernel = np.ones(7) / 7
    for axis in (1, 2):
        fine = np.apply_along_axis(lambda line: np.convolve(np.pad(line, 3, mode="edge"), kernel, "valid"), axis, fine)
    return fine.astype(np.uint8)


def keras_zoom(image: np.ndarray, zx: float, zy: float) -> np.ndarray:
    """Keras' ``apply_affine_transform`` with zoom alone: homogeneous, about the centre, order 1, nearest fill.

    Rows come first, and Keras calls their factor zx; the caller says which is which.
    """
    height, width = image.shape
    row, column = height / 2 - 0.5, width / 2 - 0.5
    there = np.array([[1, 0, row], [0, 1, column], [0, 0, 1]])
    back = np.array([[1, 0, -row], [0, 1, -column], [0, 0, 1]])
    matrix = there @ np.diag([zx, zy, 1.0]) @ back
    return affine_transform(image.astype(float), matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest")


@pytest.mark.parametrize(
    ("zx", "zy"), [(0.7, 0.7), (1.3, 1.3), (0.7, 1.3), (1.3, 0.7), (1.0, 1.0), (0.93, 1.17), (1.0, 0.71)]
)
@pytest.mark.parametrize("size", [48, 66])
def test_zoom_is_that_of_keras(zx: float, zy: float, size: int) -> None:
    for image in smooth_images(4, size):
        ours = augment.RandomAffine().apply(image, zoom=(zx, zy))
        assert np.abs(ours - keras_zoom(image, zx=zy, zy=zx)).max() <= 1.5


def test_zoom_is_that_of_keras_through_the_whole_pipeline() -> None:
    """The pipeline's images are Keras zooms of the originals or of their mirrors, by factors the test re-draws."""
    images = smooth_images(16)
    transform = augment.flip_zoom(48)
    transform.set_random_seed(11)
    seen = set()
    for image in images:
        drawn = draw(transform, image)
        expected = keras_zoom(image, zx=drawn["zoom"][1], zy=drawn["zoom"][0])
        candidates = {False: expected, True: expected[:, ::-1]}
        errors = {flipped: np.abs(drawn["image"] - one).max() for flipped, one in candidates.items()}
        assert min(errors.values()) <= 1.5
        seen.add(min(errors, key=errors.__getitem__))
    assert seen == {False, True}


def draw(transform: A.Compose, image: np.ndarray) -> dict[str, Any]:
    """Return the result of one application and the affine parameters drawn."""
    affine = transform.transforms[0]
    result = transform(image=image)["image"]
    return {"image": result, **{name: affine.params[name] for name in ("zoom", "shift", "angle")}}


def test_factor_below_one_magnifies() -> None:
    image = np.zeros((48, 48), dtype=np.uint8)
    image[20:28, 20:28] = 255
    areas = {zoom: (augment.RandomAffine().apply(image, zoom=(zoom, zoom)) > 127).sum() for zoom in (0.7, 1.0, 1.3)}
    assert areas[0.7] > 1.8 * areas[1.0]
    assert areas[1.3] < 0.7 * areas[1.0]


def test_fill_repeats_the_nearest_pixel() -> None:
    image = np.full((48, 48), 90, dtype=np.uint8)
    image[0], image[-1] = 10, 250
    small = augment.RandomAffine().apply(image, zoom=(1.0, 1.3))
    assert (small[:4] == 10).all()
    assert (small[-4:] == 250).all()
    assert (augment.RandomAffine().apply(image, shift=(0.0, -0.25))[:11] == 10).all()


def test_shift_and_rotation_move_what_they_say() -> None:
    image = np.zeros((48, 48), dtype=np.uint8)
    image[10, 24:28] = 200
    shifted = augment.RandomAffine().apply(image, shift=(0.125, 0.25))
    np.testing.assert_array_equal(shifted[:-12, :-6], image[12:, 6:])
    np.testing.assert_array_equal(augment.RandomAffine().apply(image, angle=90), np.rot90(image, 1))


def test_flip_zoom_draws_the_studys_distribution() -> None:
    image = np.tile(np.arange(48, dtype=np.uint8) * 5, (48, 1))
    transform = augment.flip_zoom(48)
    transform.set_random_seed(0)
    drawn = [draw(transform, image) for _ in range(4000)]
    flips = np.mean([one["image"][24, 0] > one["image"][24, -1] for one in drawn])
    assert flips == pytest.approx(0.5, abs=0.04)
    zoom = np.array([one["zoom"] for one in drawn])
    assert 0.7 <= zoom.min() < 0.701
    assert 1.299 < zoom.max() <= 1.3
    np.testing.assert_allclose(zoom.mean(axis=0), 1, atol=0.015)
    np.testing.assert_allclose(zoom.std(axis=0), 0.6 / 12**0.5, atol=0.01)
    assert abs(np.corrcoef(zoom.T)[0, 1]) < 0.06
    assert all(one["shift"] == (0, 0) and one["angle"] == 0 for one in drawn)


def test_standard_draws_its_ranges_each_half_of_the_time() -> None:
    transform = augment.standard(48)
    transform.set_random_seed(0)
    drawn = [draw(transform, np.full((48, 48), 128, dtype=np.uint8)) for _ in range(3000)]
    for name, limit in (("zoom", 0.2), ("shift", 0.2), ("angle", 10.0)):
        values = np.array([one[name] for one in drawn]) - (1 if name == "zoom" else 0)
        assert np.abs(values).max() == pytest.approx(limit, rel=0.02)
        assert (values != 0).reshape(3000, -1).any(axis=1).mean() == pytest.approx(0.5, abs=0.04)
    erased = np.array([(one["image"] == 0).mean() for one in drawn])
    assert (erased > 0).mean() == pytest.approx(0.5, abs=0.04)
    assert erased[erased > 0].min() > 0.01
    assert erased.max() < 0.36
    brightness = np.array([one["image"].max() for one in drawn])
    assert brightness.min() < 100
    assert brightness.max() > 156
    assert (brightness != 128).mean() == pytest.approx(0.5, abs=0.05)


def test_strengths_of_zero_are_the_identity() -> None:
    images = smooth_images()
    still = augment.standard(48, flip=0, zoom=0, shift=0, rotate=0, brightness=0, contrast=0, erase=0)
    for transform in (still, augment.crop_flip(48, flip=0), augment.flip_zoom(48, flip=0, zoom=0), augment.none(48)):
        np.testing.assert_array_equal(augment.apply(transform, images, seed=3), images)


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("size", [48, 80])
def test_shape_and_type_stay_and_input_is_untouched(name: str, channels: int, size: int) -> None:
    images = smooth_images(8, size - size % 6, channels)
    images.setflags(write=False)
    before = images.copy()
    augmented = augment.apply(PIPELINES[name](images.shape[1]), images, seed=1)
    assert augmented.shape == images.shape
    assert augmented.dtype == np.uint8
    assert augmented.flags.writeable
    assert not np.shares_memory(augmented, images)
    np.testing.assert_array_equal(images, before)
    assert (name == "none") == np.array_equal(augmented, images)


def test_bright_and_dark_pixels_do_not_wrap_around() -> None:
    extremes = np.zeros((200, 48, 48), dtype=np.uint8)
    extremes[100:] = 255
    transform = augment.standard(48, erase=0, brightness=0.3, contrast=0.0)
    augmented = augment.apply(transform, extremes, seed=0)
    assert augmented[:100].max() <= 77
    assert augmented[100:].min() >= 178


def _augmented_elsewhere(seed: int) -> bytes:
    np.random.seed(0)  # noqa: NPY002 - must not matter
    return augment.apply(augment.standard(48), smooth_images(), seed).tobytes()


def test_the_seed_alone_decides() -> None:
    images = smooth_images()
    transform = augment.standard(48)
    first = augment.apply(transform, images, seed=7)
    assert not np.array_equal(first, augment.apply(transform, images, seed=8))
    np.testing.assert_array_equal(first, augment.apply(transform, images, seed=7))
    np.testing.assert_array_equal(first, augment.apply(augment.standard(48), images, seed=7))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_augmented_elsewhere, (7,)) == first.tobytes()


def test_images_of_a_batch_are_augmented_differently() -> None:
    same = np.repeat(smooth_images(1), 32, axis=0)
    assert len({image.tobytes() for image in augment.apply(augment.flip_zoom(48), same, seed=0)}) == 32


def test_global_generators_are_neither_read_nor_moved() -> None:
    images = smooth_images()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generator is the subject
    states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    first = augment.apply(augment.standard(48), images, seed=5)
    assert states == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index] # noqa: NPY002
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, augment.apply(augment.standard(48), images, seed=5))


def test_crop_flip_only_flips_unless_told_otherwise() -> None:
    images = smooth_images(200)
    augmented = augment.apply(augment.crop_flip(48), images, seed=0)
    flipped = [bool((one != image).any()) for one, image in zip(augmented, images, strict=True)]
    assert 70 < sum(flipped) < 130
    for one, image, mirrored in zip(augmented, images, flipped, strict=True):
        np.testing.assert_array_equal(one, image[:, ::-1] if mirrored else image)


@pytest.mark.parametrize("channels", [0, 3])
def test_crop_flip_has_what_standard_has(channels: int) -> None:
    """Each of its steps changes as many images as its probability says, within the range of its strength."""
    same = np.repeat(smooth_images(1, channels=channels), 400, axis=0)

    def changed(**options: Any) -> tuple[np.ndarray, float]:
        found = augment.apply(augment.crop_flip(48, flip=0, **options), same, seed=1)
        moved = (found != same).reshape(len(same), -1).any(axis=1)
        return found[moved], float(moved.mean())

    still = np.full((400, 48, 48) + ((3,) if channels else ()), 100, np.uint8)
    brighter = augment.apply(augment.crop_flip(48, flip=0, brightness=0.2), still, seed=1)
    assert (int(brighter.min()), int(brighter.max())) == (pytest.approx(49, abs=2), pytest.approx(151, abs=2))
    assert 0.4 < (brighter[:, 0, 0] != 100).mean() < 0.6
    steeper = augment.apply(augment.crop_flip(48, flip=0, contrast=0.2), still, seed=1)
    assert (int(steeper.min()), int(steeper.max())) == (pytest.approx(80, abs=1), pytest.approx(120, abs=1))
    for options in ({"zoom": 0.2}, {"shift": 0.2}, {"rotate": 10.0}):
        assert 0.4 < changed(**options)[1] < 0.6
        assert changed(**options, each=1.0)[1] > 0.95
    erased, share = changed(erase=0.3, erase_area=(0.1, 0.2))
    assert 0.2 < share < 0.4
    black = (erased == 0).reshape(len(erased), 48, 48, -1).all(axis=3)
    assert ((black.mean(axis=(1, 2)) > 0.08) & (black.mean(axis=(1, 2)) < 0.22)).all()
    for one in black:
        rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
        assert one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9  # a rectangle


def test_import_asks_nobody_for_a_version() -> None:
    """The import emits no warning and opens no connection."""
    script = (
        "import os, sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'urllib.Request'): raise SystemExit(event)\n"
        "sys.addaudithook(refuse)\n"
        "import fersweep.data.augment\n"
        "assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'\n"
        "import cv2; assert cv2.getNumThreads() == 1, cv2.getNumThreads()\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("name", PIPELINES)
def test_config_names_every_strength_with_its_default(name: str) -> None:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert config["name"] == name
    options = config["transform"]
    assert options.pop("_target_") == f"fersweep.data.augment.{name}"
    assert options.pop("_partial_") is True
    defaults = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in zip(
            PIPELINES[name].__code__.co_varnames[1:], PIPELINES[name].__defaults__ or (), strict=False
        )
    }
    assert options == defaults
    assert isinstance(PIPELINES[name](48, **options), A.Compose | Batchwise)


@pytest.mark.parametrize(
    ("pipeline", "options", "message"),
    [
        ("flip_zoom", {"flip": 1.2}, r"augmentation=flip_zoom: flip must lie in \[0, 1\], not 1.2"),
        ("flip_zoom", {"zoom": 1.0}, r"augmentation=flip_zoom: zoom must lie in \[0, 1\), not 1.0"),
        ("standard", {"erase": -0.1}, r"augmentation=standard: erase must lie in \[0, 1\], not -0.1"),
        ("standard", {"rotate": 200}, r"rotate must lie in \[0, 180\], not 200"),
        ("crop_flip", {"zoom": 1.0}, r"augmentation=crop_flip: zoom must lie in \[0, 1\), not 1.0"),
        ("crop_flip", {"erase_area": (0.1, 0.2)}, "erase_area has no effect with erase=0: set erase, or leave it"),
        ("standard", {"erase_area": (0.4, 0.2)}, r"erase_area must be two rising numbers in \(0, 1\)"),
    ],
)
def test_impossible_strengths_are_refused(pipeline: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PIPELINES[pipeline](48, **options)
