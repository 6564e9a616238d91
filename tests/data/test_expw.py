"""ExpW: faces cut to the boxes of the list, the confidence, repeated lines, and what is missing."""

from pathlib import Path

import fakes
import fakes_wild
import numpy as np
import pytest
from fakes import encoded, picture, write

from fersweep.data.samples import CLASSES
from fersweep.data.sources.expw import CODES, COUNTS, ExpW
from fersweep.errors import UserError

LIST = "label/label.lst"


def test_each_face_of_a_picture_is_an_image(tmp_path: Path) -> None:
    source = ExpW(fakes_wild.expw(tmp_path))
    records = source.records()
    assert fakes.class_counts(source.load()) == dict.fromkeys(CLASSES, 4)
    assert records.ids[:2].tolist() == ["angry_actor_0.jpg/0", "angry_actor_0.jpg/1"]
    assert [CLASSES[label] for label in records.labels[:2]] == ["angry", "disgust"]
    whole = ExpW(tmp_path).tree()
    assert [records.read(index).shape for index in (0, 1)] == [(40, 40, 3), (40, 45, 3)]  # top, left, right, bottom
    assert np.array_equal(records.read(0), fakes_wild.decoded(whole, "image/origin/angry_actor_0.jpg")[10:50, 20:60])
    assert source.left_out() == []


def test_faces_of_a_low_confidence_are_left_out(tmp_path: Path) -> None:
    root = fakes_wild.expw(tmp_path)
    source = ExpW(root, confidence=20)
    assert len(source.load()) == 14
    assert source.fingerprint() != ExpW(root).fingerprint()
    with pytest.raises(UserError, match=r"no face of .* has dataset.source.confidence=99: lower it$"):
        ExpW(root, confidence=99).load()
    with pytest.raises(UserError, match=r"dataset.source.confidence=-1 is impossible: choose null, or 0 or more"):
        ExpW(root, confidence=-1)


def test_pictures_that_are_missing_or_not_in_the_list_are_named(tmp_path: Path) -> None:
    root = fakes_wild.expw(tmp_path)
    write(root / "image/origin/sad_dog_1.jpg", encoded(picture(1)))
    write(root / "more/x.jpg", encoded(picture(2)))
    assert [(left.what, left.missing) for left in ExpW(root).left_out()] == [
        ("1 image without a face in label.lst", True),
        ("1 image without a face in label.lst", False),
    ]
    (root / "image/origin/angry_actor_0.jpg").unlink()
    source = ExpW(root)
    assert [name for name, _ in source.records().faults] == ["angry_actor_0.jpg/0", "angry_actor_0.jpg/1"]
    with pytest.raises(UserError, match=r"^angry_actor_0.jpg/0: it is in label.lst, but its picture is missing"):
        source.load()


def test_repeated_lines_count_once_and_two_labels_of_a_face_are_two_images(tmp_path: Path) -> None:
    root = fakes_wild.expw(tmp_path)
    with (root / LIST).open("a") as file:
        file.write("angry_actor_0.jpg 0 10 20 60 50 54.5 0\nangry_actor_0.jpg 0 10 20 60 50 54.5 4\n")
    source = ExpW(root)
    records = source.records()
    assert records.ids[:3].tolist() == ["angry_actor_0.jpg/0", "angry_actor_0.jpg/0.30", "angry_actor_0.jpg/1"]
    assert source.checks(records)[0] == ("faces in label.lst", 30, 91_793)


@pytest.mark.parametrize(
    "line",
    [
        "angry_actor_0.jpg 0 10 20 60 50 54.5 7",
        "angry_actor_0.jpg 0 10 20 60 50 54.5",
        "a b c d e f g 1",
        "a.jpg 0 10 nan 60 50 54.5 0",
    ],
)
def test_a_line_that_is_none_of_the_list_is_named(tmp_path: Path, line: str) -> None:
    root = fakes_wild.expw(tmp_path)
    with (root / LIST).open("a") as file:
        file.write(line)
    with pytest.raises(
        UserError, match=rf"{LIST} line 29 is '{line}', and must be a name, the number of the face, top"
    ):
        ExpW(root).load()


def test_a_box_outside_of_its_picture_is_a_broken_image(tmp_path: Path) -> None:
    root = fakes_wild.expw(tmp_path)
    write(root / LIST, "angry_actor_0.jpg 0 10 200 260 50 54.5 0\n")
    with pytest.raises(UserError, match=r"cannot read the image angry_actor_0.jpg/0: its box 200, 10, 260, 50"):
        ExpW(root).load()


def test_the_counts_are_those_of_the_literature() -> None:
    assert sum(COUNTS) == 91_793
    assert dict(zip(CLASSES, COUNTS, strict=True))["fear"] == min(COUNTS)
    assert sorted(CODES) == sorted(CLASSES)
