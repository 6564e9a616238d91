"""Choosing faces, cutting them out, and aligning them."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import picture

from fersweep.faces import Face
from fersweep.faces.crop import choose, cut

LANDMARKS = np.array([[2.0, 3.0], [6.0, 3.0], [4.0, 5.0], [2.0, 7.0], [6.0, 7.0]])


def test_choosing() -> None:
    small, large = Face((0, 0, 2, 2), 0.9), Face((0, 0, 5, 5), 0.8)
    assert choose([small, large], "all") == [small, large]
    assert choose([small, large], "largest") == [large]
    assert choose([large, small], "confident") == [small]
    assert choose([], "all") == choose([], "largest") == choose([], "confident") == []


def test_cutting_repeats_the_border_and_rounds_to_pixels() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)
    assert np.array_equal(cut(image, Face((1.4, 0.6, 4.6, 3.4), 1)), image[1:3, 1:5])
    assert np.array_equal(cut(image, Face((2, 1, 6, 5), 1), margin=0.25), image[0:6, 1:7])
    beyond = cut(np.stack([image] * 3, axis=2), Face((-2, 4, 2, 9), 1))
    assert beyond.shape == (5, 4, 3)
    assert beyond[..., 0].tolist()[0] == [32, 32, 32, 33]
    assert beyond[..., 0].tolist()[-1] == [40, 40, 40, 41]
    for box in ((3, 3, 3, 3), (5, 5, 2, 2), (100, 100, 100.2, 130), (-50, -50, -40, -40)):
        for align in (False, True):
            assert min(cut(image, Face(box, 1, LANDMARKS + [0, 1] * np.arange(5)[:, None]), 0.5, align).shape) >= 1


def test_alignment_turns_about_the_middle_of_the_box_and_needs_landmarks() -> None:
    image = np.zeros((60, 80), np.uint8)
    image[20:24, 30:34] = image[32:36, 50:54] = 255  # eyes, whose line falls by atan(12 / 20)
    landmarks = np.array([[31.5, 21.5], [51.5, 33.5], [40, 32], [36, 40], [44, 44]])
    face = Face((26, 13, 57, 43), 1.0, landmarks)
    aligned = cut(image, face, align=True)
    assert aligned.shape == (30, 31)
    rows, columns = np.nonzero(aligned > 127)
    left, right = (rows[columns < 15], rows[columns > 15])
    assert abs(left.mean() - right.mean()) < 0.5
    distance = columns[columns > 15].mean() - columns[columns < 15].mean()
    assert distance == pytest.approx(np.hypot(20, 12), abs=0.7)
    assert np.array_equal(cut(image, Face(face.box, 1.0), align=True), cut(image, face))
    level = Face(face.box, 1.0, np.array([[30.0, 22], [50, 22], [40, 30], [36, 40], [44, 40]]))
    assert np.array_equal(cut(image, level, align=True), cut(image, face))


def test_a_box_far_beyond_the_image_is_cut_off() -> None:
    image = picture(0, (20, 30))
    assert cut(image, Face((-1e12, 5, 1e12, 10), 1.0)).shape == (5, 90)
    assert cut(image, Face((1e9, 1e9, 2e9, 2e9), 1.0), align=True).shape == (1, 1)
