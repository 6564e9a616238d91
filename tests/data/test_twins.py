"""Twins: identical and near-identical images, counting the test images with one, and dropping them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import fakes
import numpy as np
import pytest
from conftest import quickly_composed

from fersweep import build
from fersweep.data import twins
from fersweep.data.samples import Samples
from fersweep.data.splits import Split
from fersweep.errors import UserError


def photo(seed: int, size: int = 48, channels: int = 1) -> np.ndarray:
    """Return a picture with structure at all scales, different for every seed."""
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size, 3))
    for cells, weight in ((3, 120.0), (8, 70.0), (24, 15.0)):
        coarse = rng.uniform(-weight, weight, (cells, cells, 3))
        image += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    image = np.clip(128 + image / 2, 0, 255).astype(np.uint8)
    return image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def saved_again(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_UNCHANGED)


def with_a_mark(image: np.ndarray) -> np.ndarray:
    marked, size = image.copy(), len(image)
    cv2.putText(marked, "stock", (size // 4, size * 3 // 4), cv2.FONT_HERSHEY_PLAIN, size / 96, (200,) * 3)
    return cv2.addWeighted(marked, 0.4, image, 0.6, 0)


def scaled_again(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[:2], interpolation=cv2.INTER_LINEAR)


CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "saved again": (saved_again, True),
    "marked": (with_a_mark, True),
    "scaled again": (scaled_again, True),
    "darker": (lambda image: (image * 0.6 + 10).astype(np.uint8), True),
    "itself": (lambda image: image, True),
    "mirrored": (lambda image: image[:, ::-1], False),
    "turned": (lambda image: np.rot90(image), False),
    "another": (lambda image: photo(99, len(image), 1 if image.ndim == 2 else 3), False),
    "half of it": (lambda image: np.concatenate((image[: len(image) // 2], image[: -(len(image) // 2)])), False),
    "one brightness": (lambda image: np.full_like(image, 128), False),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [40, 48, 100])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_near_identical(change: str, size: int, channels: int) -> None:
    changed, near = CHANGES[change]
    image = photo(0, size, channels)
    small = twins.reduced(np.stack([image, np.ascontiguousarray(changed(image))]))
    pairs = list(twins.near_pairs(small, np.array([0]), np.array([1])))
    assert [(one.tolist(), other.tolist()) for one, other in pairs if len(one)] == ([([0], [1])] if near else [])


def test_pairs_are_those_that_correlate(monkeypatch: pytest.MonkeyPatch) -> None:
    """For any pre-screening and block size."""
    rng = np.random.default_rng(0)
    base = [photo(seed) for seed in range(12)]
    noisy = [np.clip(each + rng.normal(0, sigma, each.shape), 0, 255) for each in base for sigma in (1, 3, 5, 20)]
    small = np.array([*base, *noisy], np.uint8)
    monkeypatch.setattr(twins, "_ROWS", 7)
    monkeypatch.setattr(twins, "_COLUMNS", 5)
    one, other = np.arange(0, 60, 2), np.arange(1, 60, 2)
    found = {pair for a, b in twins.near_pairs(small, one, other) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    exact = np.corrcoef(small.reshape(len(small), -1))
    assert found == {(a, b) for a in one.tolist() for b in other.tolist() if exact[a, b] >= twins.NEAR}
    assert 10 < len(found) < 40


@pytest.fixture
def data() -> tuple[Samples, Split]:
    """Eight images that train, four that validate, seven that test."""
    train = [photo(seed) for seed in range(8)]
    val = [photo(seed) for seed in (20, 21, 22)] + [train[6]]
    test = [train[0], train[1], saved_again(train[2]), saved_again(train[3]), val[0], train[6], photo(40)]
    labels = [0, 0, 0, 0, 0, 1, 1, 1, *[0, 0, 1, 1], *[0, 1, 0, 1, 0, 1, 0]]
    images = np.stack([*train, *val, *test])
    ids = np.array([f"{index:02d}" for index in range(len(images))])
    samples = Samples(images, np.array(labels), ids, ("a", "b"))
    return samples, Split(np.arange(8), np.arange(8, 12), np.arange(12, 19))


def test_test_images_with_twins_are_counted(data: tuple[Samples, Split]) -> None:
    found = twins.find(*data)
    none = {"identical": 0, "identical_other_label": 0, "near": 0, "near_other_label": 0}
    assert found.counts() == {
        "train": {"identical": 3, "identical_other_label": 1, "near": 2, "near_other_label": 1},
        "val": none | {"identical": 2},
        "either": {"identical": 4, "identical_other_label": 1, "near": 2, "near_other_label": 1},
    }
    assert np.flatnonzero(found.any).tolist() == [12, 13, 14, 15, 16, 17]


def test_twins_of_test_images_are_dropped(data: tuple[Samples, Split]) -> None:
    samples, split = data
    kept = twins.drop(samples, split)
    assert kept.train.tolist() == [4, 5, 7]
    assert kept.val.tolist() == [9, 10]
    assert kept.test.tolist() == split.test.tolist()
    assert kept.dropped == 7
    assert not twins.find(samples, kept).any.any()
    assert twins.drop(samples, kept).dropped == 0


def test_too_little_that_is_left_is_refused(data: tuple[Samples, Split]) -> None:
    samples, split = data
    with pytest.raises(UserError, match=r"leaves no image of a to train on: choose dataset\.twins=keep"):
        twins.drop(samples, Split(split.train[:4], split.val, split.test))
    with pytest.raises(UserError, match="leaves no image to validate on"):
        twins.drop(samples, Split(split.train, split.val[:1], split.test))


def test_a_run_is_told_to_drop_them(tmp_path: Path) -> None:
    root = fakes.fer2013_folder(tmp_path)
    source = next((root / "test" / "happy").glob("PrivateTest*"))
    (root / "train" / "sad" / "Training_9999.png").write_bytes(source.read_bytes())
    settings = ("dataset=fer2013", f"dataset.root={root}", f"cache={tmp_path / 'cache'}", "split=official")
    kept = build.datamodule(cfg := quickly_composed(*settings), build.samples(cfg)).split
    cfg = quickly_composed(*settings, "dataset.twins=drop_from_training")
    dropped = build.datamodule(cfg, samples := build.samples(cfg)).split
    assert (kept.dropped, dropped.dropped) == (0, 1)
    assert samples.ids[np.setdiff1d(kept.train, dropped.train)].tolist() == ["train/sad/Training_9999.png"]
