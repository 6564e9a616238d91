"""Preprocessing: the numbers of each step, the images left out, caching."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import quickly_composed
from fakes import picture

from fersweep import build
from fersweep.data import cache
from fersweep.data.preprocess import Preprocessed
from fersweep.data.samples import PRIVATE, PUBLIC, TEST, TRAINING, Samples
from fersweep.data.sources.synthetic import Synthetic
from fersweep.errors import UserError

OPTIONS = ("min_max=true", "equalize=true", "min_variance=10")
FACES = ("dataset.image_size=32", "dataset.source.size=21")


@dataclass
class Given:
    """A source of given samples that counts how often they are decoded."""

    samples: Samples
    name: str = "given"
    loads: list[int] = field(default_factory=list)

    def fingerprint(self) -> str:
        return sha256(self.samples.images.tobytes()).hexdigest()

    def load(self) -> Samples:
        self.loads.append(len(self.samples))
        return self.samples


def given(images: list[np.ndarray], usage: list[str] | None = None, subjects: list[str] | None = None) -> Given:
    """Return a source of ``images``, read-only as a memory map."""
    pixels = np.stack(images).astype(np.uint8)
    pixels.flags.writeable = False
    ids = np.array([f"{index:03d}.png" for index in range(len(pixels))])
    people, parts = (None if each is None else np.array(each) for each in (subjects, usage))
    return Given(Samples(pixels, np.arange(len(pixels)) % 3, ids, ("a", "b", "c"), people, parts))


def faint(seed: int) -> np.ndarray:
    """A picture of fewer than 90 levels."""
    return picture(seed) // 3 + 40


def flat(level: int, half_difference: int = 0) -> np.ndarray:
    """A 48×48 image of two levels in equal parts; its variance is ``half_difference``²."""
    image = np.full((48, 48), level - half_difference, np.uint8)
    image[::2] = level + half_difference
    return image


def test_stretching_spreads_an_image_over_all_levels_and_rounds() -> None:
    images = [np.arange(8).reshape(2, 4) + 17, np.array([[10, 20, 30, 60], [60, 30, 20, 10]]), np.full((2, 4), 201)]
    images.append(np.array([[0, 255, 7, 100], [1, 254, 128, 127]]))
    source = given(images)
    found = Preprocessed(source, min_max=True).load()
    assert found.images.dtype == np.uint8
    assert found.images[0].tolist() == [[0, 36, 73, 109], [146, 182, 219, 255]]  # 255/7 is 36.43
    assert found.images[1].tolist() == [[0, 51, 102, 255], [255, 102, 51, 0]]
    assert found.images[2].tolist() == [[0] * 4] * 2
    assert np.array_equal(found.images[3], images[3])
    assert np.array_equal(source.samples.images, np.stack(images))  # what was given is left as it was


def test_every_level_is_the_nearest() -> None:
    for seed in range(5):
        image = faint(seed)
        (found,) = Preprocessed(given([image]), min_max=True).load().images
        low, high = int(image.min()), int(image.max())
        exact = (image.astype(float) - low) * 255 / (high - low)
        assert np.abs(found - exact).max() <= 0.5 + 1e-9
        assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("min_max", [False, True])
def test_equalising_is_opencvs_after_stretching(min_max: bool) -> None:
    images = [faint(seed) for seed in range(4)] + [np.full((48, 48), 77, np.uint8)]
    before = Preprocessed(given(images), min_max=min_max).load().images
    found = Preprocessed(given(images), min_max=min_max, equalize=True).load().images
    assert found.dtype == np.uint8
    for image, stretched, one in zip(images, before, found, strict=True):
        assert np.array_equal(one, cv2.equalizeHist(stretched))
        assert np.array_equal(one, image) == (image.min() == image.max() and not min_max)
    assert np.unique(found[4]).tolist() == [0 if min_max else 77]  # one brightness: black only where it was stretched


def skewed() -> np.ndarray:
    """An image of variance 16,131; equalisation moves the second of its three levels to the middle: 4,480."""
    return np.repeat([0, 1, 255], [1, 49, 50]).reshape(10, 10).astype(np.uint8)


@pytest.mark.parametrize(
    ("min_max", "equalize", "kept"),
    [(False, False, ["001.png"]), (True, False, ["000.png", "001.png"]), (True, True, ["000.png"])],
)
def test_the_variance_is_of_the_image_as_it_has_become(min_max: bool, equalize: bool, kept: list[str]) -> None:
    """Stretching raises the variance of a faint checkerboard, equalisation lowers that of `skewed`."""
    checkerboard = (np.indices((10, 10)).sum(axis=0) % 2 + 100).astype(np.uint8)
    assert skewed().var() > 10_000 > cv2.equalizeHist(skewed()).var()
    source = given([checkerboard, skewed(), np.full((10, 10), 200)])
    found = Preprocessed(source, min_max, equalize, min_variance=10_000).load()
    assert found.ids.tolist() == kept


@pytest.mark.parametrize(("least", "kept"), [(0, 4), (8.99, 3), (9, 3), (9.01, 2), (100, 1), (101, 0)])
def test_an_image_of_exactly_the_least_variance_stays(least: float, kept: int) -> None:
    images = [flat(90, half) for half in (0, 3, 5, 10)]
    if kept:
        found = Preprocessed(given(images), min_variance=least).load()
        assert found.ids.tolist() == ["000.png", "001.png", "002.png", "003.png"][4 - kept :]
        assert np.array_equal(found.images, np.stack(images[4 - kept :]))  # and none of them is changed
    else:
        with pytest.raises(UserError, match="leaves no image"):
            Preprocessed(given(images), min_variance=least).load()


def test_only_training_images_are_left_out_and_everything_else_stays_beside_its_image() -> None:
    usage = [TRAINING, PUBLIC, PRIVATE, TEST, TRAINING, TRAINING, PUBLIC]
    images = [flat(20 + 10 * index, 10 if index in (4, 6) else index % 2) for index in range(7)]
    people = [f"P{index}" for index in range(7)]
    found = Preprocessed(given(images, usage, people), min_variance=10).load()
    kept = [1, 2, 3, 4, 6]
    assert np.array_equal(found.images, np.stack([images[index] for index in kept]))
    assert found.ids.tolist() == [f"{index:03d}.png" for index in kept]
    assert found.labels.tolist() == [index % 3 for index in kept]
    assert found.subjects is not None
    assert found.subjects.tolist() == [people[index] for index in kept]
    assert found.usage is not None
    assert found.usage.tolist() == [usage[index] for index in kept]
    assert found.class_names == ("a", "b", "c")


def test_without_parts_any_image_can_be_left_out() -> None:
    found = Preprocessed(given([flat(50), flat(60, 4), flat(70), flat(80, 5)]), min_variance=10).load()
    assert found.ids.tolist() == ["001.png", "003.png"]
    assert found.labels.tolist() == [1, 0]
    assert (found.subjects, found.usage) == (None, None)


@pytest.mark.parametrize("usage", [None, [TRAINING] * 2, [TRAINING, "PublicTest"]])
def test_nothing_left_is_one_sentence(usage: list[str] | None) -> None:
    message = r"^dataset\.preprocessing\.min_variance=10 leaves no image of given to train on: lower it\.$"
    with pytest.raises(UserError, match=message):
        Preprocessed(given([flat(50), flat(60, 3)], usage), min_variance=10).load()


def test_colour_is_stretched_over_all_channels_but_not_equalised() -> None:
    image = np.array([[[10, 20, 30], [40, 50, 60]], [[10, 10, 60], [36, 60, 10]]])
    found = Preprocessed(given([image, image + 100]), min_max=True, min_variance=10).load()
    expected = [[[0, 51, 102], [153, 204, 255]], [[0, 0, 255], [133, 255, 0]]]  # 26 · 5.1 is 132.6
    assert found.images.tolist() == [expected, expected]
    for source in (given([image]), Synthetic(image_size=32, channels=3, size=21)):
        with pytest.raises(
            UserError, match=r"^dataset\.preprocessing\.equalize needs grey images: set dataset\.channels=1\.$"
        ):
            Preprocessed(source, min_max=True, equalize=True).load()


def test_the_fingerprint_tells_every_option_and_the_source() -> None:
    def made() -> Iterator[Preprocessed]:
        for images in ([faint(1), faint(2)], [faint(1), faint(3)]):
            source = given(images)
            yield Preprocessed(source)
            yield Preprocessed(source, min_max=True)
            yield Preprocessed(source, equalize=True)
            yield Preprocessed(source, min_variance=1)
            yield Preprocessed(source, min_variance=10)
            yield Preprocessed(source, True, True, 10)

    first, again = ([each.fingerprint() for each in made()] for _ in range(2))
    assert first == again
    assert len({*first, given([faint(1), faint(2)]).fingerprint()}) == 13
    whole, fraction = (Preprocessed(given([faint(1)]), min_variance=each) for each in (10, 10.0))
    assert whole.fingerprint() == fraction.fingerprint()
    assert whole.name == "given"


def test_it_is_decoded_once(tmp_path: Path) -> None:
    source = given([faint(1), flat(9), faint(2)], [TRAINING] * 3)
    first, second = (cache.load(Preprocessed(source, True, True, 10), tmp_path) for _ in range(2))
    assert source.loads == [3]
    assert isinstance(second.images, np.memmap)
    assert first.ids.tolist() == second.ids.tolist() == ["000.png", "002.png"]
    assert np.array_equal(second.images, [cv2.equalizeHist(faint(seed)) for seed in (1, 2)])
    assert len(cache.load(source, tmp_path)) == 3  # the source itself is kept apart
    assert source.loads == [3, 3]


def folders(place: Path) -> set[str]:
    return {path.name for path in place.iterdir() if not path.name.startswith(".")}


def test_a_run_gets_what_its_settings_ask_for(tmp_path: Path) -> None:
    """Each combination of options has a separate cache folder; without options it is the source's."""
    plain = build.samples(quickly_composed(*FACES, f"cache={tmp_path}"))
    source = build.source(quickly_composed(*FACES))
    names = {f"synthetic-{source.fingerprint()[:16]}"}
    assert isinstance(source, Synthetic)
    assert folders(tmp_path) == names
    for count in range(1, 4):
        options = [f"dataset.preprocessing.{each}" for each in OPTIONS[:count]]
        found = build.samples(quickly_composed(*FACES, f"cache={tmp_path}", *options))
        wrapped = Preprocessed(source, True, count > 1, 10 if count > 2 else 0)
        names.add(f"synthetic-{wrapped.fingerprint()[:16]}")
        assert folders(tmp_path) == names
        assert np.array_equal(found.images, wrapped.load().images)
        assert not np.array_equal(found.images, plain.images)
        assert found.ids.tolist() == plain.ids.tolist()
    off = [f"dataset.preprocessing.{each}" for each in ("min_max=false", "equalize=false", "min_variance=0.0")]
    again = build.samples(quickly_composed(*FACES, f"cache={tmp_path}", *off))
    assert folders(tmp_path) == names
    assert np.array_equal(again.images, plain.images)
