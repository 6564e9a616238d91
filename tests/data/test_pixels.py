"""Oddities of pixels: told on changed copies of drawn faces, and not on the faces themselves."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from fersweep.data import pixels
from fersweep.data.images import Records, UnreadableImageError
from fersweep.data.sources.synthetic import Synthetic

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return Synthetic(48, size=105).load().images


def records(images: list[np.ndarray]) -> Records:
    def read(index: int) -> np.ndarray:
        if not images[index].size:
            raise UnreadableImageError("broken")
        return images[index]

    ids = np.array([f"{index:06d}" for index in range(len(images))])
    return Records(ids=ids, labels=np.zeros(len(images), np.int64), class_names=("one",), read=read)


def resized(side: int, method: int) -> Change:
    return lambda image: cv2.resize(image, (side, side), interpolation=method)


def enlarged(method: int) -> Change:
    return lambda image: resized(48, method)(resized(24, cv2.INTER_AREA)(image))


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


CHANGES: dict[str, tuple[str, Change]] = {
    "equalised": ("flat", cv2.equalizeHist),
    "equalised and saved as JPEG": ("flat", lambda image: compressed(cv2.equalizeHist(image), 75)),
    "brighter": ("clipped", lambda image: np.clip(image + 70.0, 0, 255).astype(np.uint8)),
    "more contrast": ("clipped", lambda image: np.clip((image - 128.0) * 1.6 + 128, 0, 255).astype(np.uint8)),
    "a sixteenth of the range": ("narrow", lambda image: image // 16),
    "from 24 pixels, bilinear": ("enlarged", enlarged(cv2.INTER_LINEAR)),
    "from 24 pixels, bicubic": ("enlarged", enlarged(cv2.INTER_CUBIC)),
    "from 24 pixels, repeated": ("enlarged", enlarged(cv2.INTER_NEAREST)),
    "from 24 pixels, saved as JPEG": ("enlarged", lambda image: compressed(enlarged(cv2.INTER_CUBIC)(image), 95)),
    "frame": ("border", lambda image: np.pad(resized(40, cv2.INTER_AREA)(image), 4)),
    "bars": ("border", lambda image: np.pad(image[8:-8], ((8, 8), (0, 0)), constant_values=255)),
    "strong JPEG": ("JPEG", lambda image: compressed(image, 30)),
    "strong JPEG, then weak": ("JPEG", lambda image: compressed(compressed(image, 30), 95)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_told_as_what_it_is(faces: np.ndarray, name: str) -> None:
    kind, change = CHANGES[name]
    found = pixels.examine(records([change(face) for face in faces]))
    [phrase] = found["odd"]
    assert (pixels.TEXTS.get(kind) or "JPEG blocks are visible") in phrase
    assert phrase in pixels.line(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: compressed(image, 75),
        lambda image: cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA),
        lambda image: np.stack([image] * 3, axis=-1),
        lambda image: np.ascontiguousarray(image[:, ::-1]),
        lambda image: cv2.createCLAHE(2, (8, 8)).apply(image),
    ],
    ids=["as drawn", "JPEG of quality 75", "reduced", "colour", "mirrored", "local contrast"],
)
def test_originals_are_not_odd(faces: np.ndarray, change: Change) -> None:
    found = pixels.examine(records([change(face) for face in faces]))
    assert found["odd"] == []
    assert found["examined"] == 105
    assert max(found["shares"].values()) < 0.1
    assert pixels.line(found) == "Pixels of 105 images: nothing odd."


def test_a_quarter_of_the_images_is_needed(faces: np.ndarray) -> None:
    for number, told in ((20, False), (40, True)):
        images = [cv2.equalizeHist(face) if index < number else face for index, face in enumerate(faces)]
        assert bool(pixels.examine(records(images))["odd"]) is told


def test_a_sample_of_a_large_dataset_is_examined(faces: np.ndarray) -> None:
    found = pixels.examine(records(list(faces)), 50)
    assert found["examined"] == 50


def test_unreadable_tiny_and_blank_images_do_not_stop_it() -> None:
    broken = np.zeros((0, 0), np.uint8)
    odd = [broken, np.zeros((3, 3), np.uint8), np.full((48, 48), 7, np.uint8), np.eye(48, dtype=np.uint8) * 255]
    assert pixels.examine(records(odd))["examined"] == 2
    empty = pixels.examine(records([broken]))
    assert (empty["examined"], empty["blockiness"], empty["odd"]) == (0, None, [])
    thin = np.zeros((16, 16), np.uint8)
    thin[8] = 255
    assert pixels.examine(records([thin]))["shares"]["border"] == 1


def test_large_soft_pictures_are_not_called_enlarged(faces: np.ndarray) -> None:
    large = [cv2.resize(face, (240, 240), interpolation=cv2.INTER_CUBIC) for face in faces[:20]]
    assert pixels.examine(records(large))["shares"]["enlarged"] == 0


def test_blocks_of_a_large_picture_are_found_in_its_middle(faces: np.ndarray) -> None:
    wide = np.tile(np.concatenate(list(faces[:25, :45, :45]), axis=1), (25, 1))
    assert pixels.examine(records([wide]))["blockiness"] < 1.1
    assert pixels.examine(records([compressed(wide, 20)]))["blockiness"] > 1.3
