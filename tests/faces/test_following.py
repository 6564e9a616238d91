"""Tracking: which frames are searched, and MTCNN following the astronaut's face."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from fersweep.config.schema import DETECTORS
from fersweep.faces import Face, Follower, Pixels
from fersweep.faces.detectors import FOLLOWERS, WholeImage
from fersweep.faces.mtcnn import Mtcnn
from fersweep.faces.tracking import Tracker, overlap
from fersweep.faces.yolo5face import Yolo5Face


class Scripted:
    """Detector of faces whose left edges are known for each frame; the value of its pixels is a frame's number."""

    name = "scripted"

    def __init__(self, *places: tuple[float, ...]) -> None:
        self.places, self.searched = places, list[int]()

    def fingerprint(self) -> str:
        return self.name

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        self.searched += [int(image[0, 0]) for image in images]
        return [self._there(image) for image in images]

    def follow(self, image: Pixels, faces: Sequence[Face]) -> list[Face | None]:
        """Return the nearest face, if there is one at all."""
        return [
            min(self._there(image), key=lambda new, old=old: abs(new.box[0] - old.box[0]), default=None)
            for old in faces
        ]

    def _there(self, image: Pixels) -> list[Face]:
        return [Face((x, 0.0, x + 10, 10.0), 0.9) for x in self.places[int(image[0, 0])]]


def tracked(detector: Scripted, every: int) -> list[tuple[float, ...]]:
    """Return the left edges found in each frame, given in batches of two."""
    tracker = Tracker(detector, every)
    frames = [np.full((4, 4), number, np.uint8) for number in range(len(detector.places))]
    found = [faces for start in range(0, len(frames), 2) for faces in tracker.detect(frames[start : start + 2])]
    assert tracker.searched == len(detector.searched)
    return [tuple(face.box[0] for face in faces) for faces in found]


@pytest.mark.parametrize("every", [1, 3, 8])
def test_every_nth_frame_is_searched_and_faces_are_followed_in_between(every: int) -> None:
    detector = Scripted(*((float(number), 50.0 - number) for number in range(8)))
    assert tracked(detector, every) == list(detector.places)
    assert detector.searched == list(range(0, 8, every))


def test_a_face_that_leaves_or_jumps_is_searched_for_at_once() -> None:
    detector = Scripted((1.0,), (2.0,), (), (), (), (90.0,), (10.0,))
    assert tracked(detector, 4) == [(1.0,), (2.0,), (), (), (), (), (10.0,)]
    assert detector.searched == [0, 2, 6]
    jumping = Scripted((1.0,), (50.0,), (51.0,))
    assert tracked(jumping, 9) == list(jumping.places)
    assert jumping.searched == [0, 1]


def test_faces_that_merge_are_searched_for_at_once() -> None:
    detector = Scripted((1.0, 8.0), (5.0,), (6.0,))
    assert tracked(detector, 9) == list(detector.places)
    assert detector.searched == [0, 1]


def test_a_face_that_appears_is_found_by_the_next_search() -> None:
    detector = Scripted((1.0,), (1.0, 40.0), (1.0, 41.0), (1.0, 42.0))
    assert tracked(detector, 3) == [(1.0,), (1.0,), (1.0,), (1.0, 42.0)]


def test_detectors_that_follow_are_known() -> None:
    classes = {"none": WholeImage, "mtcnn": Mtcnn, "yolo5face": Yolo5Face}
    assert {name for name, kind in classes.items() if hasattr(kind, "follow")} | {"libfacedetection"} == set(FOLLOWERS)
    assert set(FOLLOWERS) < set(DETECTORS)
    assert isinstance(Scripted(), Follower)
    assert not isinstance(WholeImage(), Follower)


@pytest.fixture(scope="module")
def detector() -> Mtcnn:
    return Mtcnn(device="cpu")


def moved(x: float, y: float, turn: float, scale: float, grey: bool = False) -> Pixels:
    """Return 256×256 pixels of the astronaut with her face at a distance of (x, y) from (128, 128)."""
    matrix = cv2.getRotationMatrix2D((224, 117), turn, scale)
    matrix[:, 2] += 128 + x - 224, 128 + y - 117
    frame = cv2.warpAffine(astronaut(), matrix, (256, 256), borderValue=(90, 90, 90))
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if grey else frame, np.uint8)


@pytest.mark.parametrize("grey", [False, True])
def test_mtcnn_follows_a_face_to_where_a_search_finds_it(detector: Mtcnn, grey: bool) -> None:
    places = [(-20 + 4 * step, 3 * step, 2.0 * step, 0.8 + 0.03 * step) for step in range(8)]
    frames = [moved(*place, grey=grey) for place in places]
    searched, faces = detector.detect(frames), detector.detect(frames[:1])[0]
    for frame, (expected,) in zip(frames[1:], searched[1:], strict=True):
        [face] = detector.follow(frame, faces)
        assert face is not None
        assert overlap(face, expected) > 0.85
        assert 0.9 < face.confidence <= 1
        assert face.landmarks is not None
        assert expected.landmarks is not None
        assert np.abs(face.landmarks - expected.landmarks).max() < 0.12 * (expected.box[2] - expected.box[0])
        faces = [face]


def test_mtcnn_loses_a_face_that_is_gone_or_outside(detector: Mtcnn) -> None:
    frame = moved(0, 0, 0, 0.8)
    [face] = detector.detect([frame])[0]
    assert detector.follow(np.full((256, 256, 3), 90, np.uint8), [face]) == [None]
    away = [Face(tuple(side + far for side in face.box), 1.0) for far in (-900, 900)]  # type: ignore[arg-type]
    assert detector.follow(frame, [*away, face])[:2] == [None, None]
    assert detector.follow(frame, []) == []


def test_overlap_is_intersection_over_union() -> None:
    one = Face((0, 0, 10, 10), 1.0)
    assert overlap(one, one) == 1
    assert overlap(one, Face((5, 0, 15, 10), 1.0)) == pytest.approx(1 / 3)
    assert overlap(one, Face((10, 0, 20, 10), 1.0)) == overlap(one, Face((0, 20, 10, 10), 1.0)) == 0
