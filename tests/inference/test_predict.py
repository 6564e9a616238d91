"""The predictor, smoothing, inputs and drawing; the command is in test_predict_verb.py."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import torch
from conftest import use_tiny_network
from skimage import data as photographs

from fersweep.errors import UserError
from fersweep.faces import Face, Pixels
from fersweep.inference import trained
from fersweep.inference.predict import Predictor, draw, inputs
from fersweep.inference.predict.smooth import Smoother
from fersweep.training import checkpoint

pytestmark = pytest.mark.usefixtures("tiny_network")


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    """A photograph with one face, RGB, 512 × 512."""
    return np.asarray(photographs.astronaut())


@pytest.fixture(scope="module")
def as_faces(finished: Path) -> Iterator[Predictor]:
    """A predictor without face detection."""
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_network(patch)
        yield Predictor(finished, detector="none")


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (40, 40)) -> Path:
    return fakes.write(path, fakes.encoded(fakes.picture(seed, size)))


# the predictor


def test_a_face_gets_the_networks_own_calibrated_probabilities(finished: Path, as_faces: Predictor) -> None:
    network = as_faces.trained[0]
    size = network.image_size
    face = fakes.picture(1, (size, size))
    labels, probabilities, boxes = as_faces(face)
    about = checkpoint.load(finished)["fersweep"]
    with torch.no_grad():
        logits = network.network(torch.from_numpy(face)[None, None].float() / 255)
    expected = (logits / about["temperature"]).softmax(dim=1).numpy()
    assert np.allclose(probabilities, expected, atol=1e-6)
    assert labels == [about["class_names"][int(expected.argmax())]]
    assert boxes.tolist() == [[0, 0, size, size]]


def test_pictures_of_any_size_and_colour_are_classified_in_order(as_faces: Predictor, tmp_path: Path) -> None:
    faces = [fakes.picture(seed, (60 - seed, 50 + seed), channels=1 + 2 * (seed % 2)) for seed in range(5)]
    labels, probabilities, boxes = as_faces([*faces, picture(tmp_path / "a.png", 9)])
    assert [len(each) for each in (labels, probabilities, boxes)] == [6, 6, 6]
    for face, own in zip(faces, probabilities, strict=False):
        assert np.allclose(as_faces(face).probabilities, own, atol=1e-6)
    assert boxes[1].tolist() == [[0, 0, 51, 59]]


def test_no_picture_and_no_face_are_not_errors(as_faces: Predictor, finished: Path) -> None:
    assert as_faces([]) == ([], [], [])
    labels, probabilities, boxes = Predictor(finished)(np.full((200, 200), 128, np.uint8))
    assert (labels, probabilities.shape, boxes.shape) == ([], (0, 7), (0, 4))


def test_by_default_faces_are_detected_in_photographs_and_not_in_small_pictures(
    finished: Path, astronaut: Pixels
) -> None:
    found = Predictor(finished)
    (labels, _, boxes), (_, _, small) = found(astronaut), found(fakes.picture(0, (60, 64)))
    assert len(labels) == 1
    left, top, right, bottom = boxes[0]
    assert 150 < left < 200 < 240 < right < 300
    assert 40 < top < 90 < 150 < bottom < 210
    assert small.tolist() == [[0, 0, 64, 60]]


def test_a_detected_face_is_cropped_square(as_faces: Predictor) -> None:
    image = np.arange(100 * 100, dtype=np.int64).reshape(100, 100).astype(np.uint8)
    (cut,) = as_faces.cut(image, [Face((40, 30, 60, 70), 0.9)])
    assert np.array_equal(cut, image[30:70, 30:70])


def test_several_runs_give_their_mean(finished: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("a", "b"):
        shutil.copytree(finished, tmp_path / "runs" / name)
    other = checkpoint.load(finished)
    other["state_dict"] = {key: value * 0.5 for key, value in other["state_dict"].items()}
    torch.save(other, tmp_path / "runs" / "b" / "checkpoints" / "best.ckpt")
    face = fakes.picture(1, (48, 48))
    both = Predictor(tmp_path / "runs", detector="none")
    single = [Predictor(tmp_path / "runs" / name, detector="none")(face).probabilities for name in ("a", "b")]
    assert not np.allclose(*single, atol=1e-4)
    assert np.allclose(both(face).probabilities, np.mean(single, axis=0), atol=1e-6)
    assert both.title.endswith("and 1 more")
    other["fersweep"]["class_names"] = list("abcdefg")
    torch.save(other, tmp_path / "runs" / "b" / "checkpoints" / "best.ckpt")
    with pytest.raises(UserError, match="has the classes a, b, c"):
        Predictor(tmp_path / "runs")


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("nowhere.png", "Cannot read nowhere.png"),
        (np.zeros((4, 4)), "uint8 array"),
        (np.zeros((4, 4, 2), np.uint8), "2 channels"),
        (np.zeros((0, 4), np.uint8), "uint8 array"),
    ],
)
def test_an_invalid_picture_is_refused(as_faces: Predictor, image: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        as_faces(image)


def test_unknown_options_and_empty_folders_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unknown detector=mtcn \(did you mean mtcnn\?\)"):
        Predictor(finished, detector="mtcn")
    with pytest.raises(UserError, match="Unknown choose=first"):
        Predictor(finished, choose="first")
    with pytest.raises(UserError, match="There is no checkpoint"):
        Predictor(tmp_path)


def test_a_checkpoint_of_another_version_is_one_sentence(finished: Path, tmp_path: Path) -> None:
    for key, value, named in (("spin", 3, "spin"), ("image_size", "large", "Value 'large'")):
        other = checkpoint.load(finished)
        other["fersweep"]["config"]["dataset"][key] = value
        torch.save(other, tmp_path / "other.ckpt")
        with pytest.raises(UserError, match=rf"written by another version .*{named}"):
            Predictor(tmp_path / "other.ckpt")
    other = checkpoint.load(finished)
    del other["fersweep"]["class_names"]
    torch.save(other, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="was not written by fersweep"):
        Predictor(tmp_path / "other.ckpt")


def test_loading_a_network_leaves_random_numbers_alone(finished: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trained.load(finished)
    assert torch.equal(torch.rand(1), expected)


# smoothing


def test_probabilities_of_one_face_are_averaged_over_time() -> None:
    smooth, box = Smoother(0.5), np.array([[10.0, 10, 30, 30]])
    first, second = np.float32([[1, 0]]), np.float32([[0, 1]])
    assert np.array_equal(smooth(box, first, 0.0)[1], first)
    numbers, mean = smooth(box + 1, second, 0.1)
    assert numbers == [1]
    assert np.allclose(mean, [[np.exp(-0.2), 1 - np.exp(-0.2)]])


def test_faces_keep_their_numbers_and_newcomers_get_others() -> None:
    smooth, chances = Smoother(0), np.float32([[0.5, 0.5], [0.2, 0.8]])
    two = np.array([[0.0, 0, 20, 20], [50, 0, 70, 20]])
    assert smooth(two, chances, 0.0)[0] == [1, 2]
    numbers, same = smooth(two[::-1] + 3, chances, 0.1)
    assert numbers == [2, 1]
    assert np.array_equal(same, chances)
    assert smooth(np.empty((0, 4)), np.empty((0, 2), np.float32), 0.5)[0] == []
    assert smooth(two[1:], chances[1:], 0.9)[0] == [2]
    assert smooth(two, chances, 2.5)[0] == [3, 4]  # lost for longer than `FORGET`
    seldom = Smoother(0, interval=2.0)
    assert [seldom(two, chances, seconds)[0] for seconds in (0.0, 2.0, 6.0)] == [[1, 2], [1, 2], [3, 4]]


# inputs


def test_files_folders_and_patterns_are_found_once(tmp_path: Path) -> None:
    for name in ("a.png", "in/b.png", "in/deep/c.jpg"):
        picture(tmp_path / name) if name.endswith("png") else fakes.write(tmp_path / name, b"x")
    fakes.video(tmp_path / "v.mp4")
    every = inputs.resolve(
        [str(tmp_path / "a.png"), str(tmp_path / "in"), f"{tmp_path}/*.png", f"{tmp_path}/v.mp4"], 1, None
    )
    assert isinstance(every[0], inputs.Pictures)
    assert every[0].names == ("a.png", "b.png", "deep/c.jpg")
    assert every[1:] == [inputs.Video(tmp_path / "v.mp4")]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["gone.png"], "There is no gone.png"),
        (["*.png"], r"No picture or video matches \*.png"),
        (["camera", "x"], "'camera x' is not a camera"),
        (["."], r"There is no picture in \.: it is empty, or holds empty folders only\."),
        (["films"], r"in films: it holds 1 \.mp4 file, such as a\.mp4: name each video itself\."),
        (["a\0b"], "cannot be accessed"),
        (["x" * 5000], "cannot be accessed"),
    ],
)
def test_an_unresolvable_input_is_refused(
    given: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == ["films"]:
        fakes.write(tmp_path / "films" / "a.mp4", "no film")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        inputs.resolve(given, 1, None)


def test_photos_that_are_not_decoded_are_listed_with_the_reason(tmp_path: Path) -> None:
    fakes.write(tmp_path / "in" / "IMG_1.HEIC", b"\0\0\0\x18ftypheic" + bytes(40))
    for given in (f"{tmp_path}/in", f"{tmp_path}/in/*"):
        (pictures,) = inputs.resolve([given], 1, None)
        assert isinstance(pictures, inputs.Pictures)
        assert [frame.error for frame in pictures.frames()] == ["a HEIC photo: save it as JPEG or PNG"]


def test_batches_are_limited_by_frames_and_pixels() -> None:
    small = [inputs.Frame("a", np.zeros((10, 10), np.uint8))] * 70
    large = [inputs.Frame("a", np.broadcast_to(np.uint8(0), (5000, 5000)))] * 3
    assert [len(batch) for batch in inputs.batches(iter(small), live=False)] == [32, 32, 6]
    assert [len(batch) for batch in inputs.batches(iter(large), live=False)] == [2, 1]
    assert [len(batch) for batch in inputs.batches(iter(small[:2]), live=True)] == [1, 1]


# drawing


def test_drawing_marks_the_box_and_leaves_the_picture_alone(astronaut: Pixels) -> None:
    before = astronaut.copy()
    drawn = draw.faces(astronaut, [Face((170, 60, 280, 190), 0.9)], np.float32([[0.25, 0.75]]), ["", "überrascht"])
    assert np.array_equal(astronaut, before)
    changed = (drawn != astronaut).any(axis=2)
    assert tuple(drawn[120, 170]) == tuple(drawn[190, 220]) == draw.LINE
    assert not changed[80:180, 190:260].any()
    assert not changed[300:].any()


def test_a_label_stands_beside_its_face_and_has_its_number(astronaut: Pixels) -> None:
    found = [Face((170, 2, 280, 130), 0.9), Face((20, 300, 120, 400), 0.8)]
    drawn = draw.faces(astronaut, found, np.float32([[1], [1]]), ["happy"], [1, 2])
    changed = (drawn != astronaut).any(axis=2)
    assert not changed[8:125, 176:274].any()  # no room above the first face, so its label is below it
    assert changed[132:150, 170:230].mean() > 0.8
    assert changed[285:298, 20:60].mean() > 0.8
    plain = draw.faces(astronaut, found, np.float32([[1], [1]]), ["happy"])
    assert (drawn != plain).any(axis=2)[280:300].any()
    assert not (drawn != plain).any(axis=2)[302:].any()


def test_a_checkpoint_from_before_options_had_titles_is_called_by_them(as_faces: Predictor) -> None:
    network = as_faces.trained[0]
    cfg = copy.deepcopy(network.cfg)
    for group in ("backbone", "attention", "activation", "dataset"):
        cfg[group].title = None
    assert replace(network, cfg=cfg).title == network.title == "ResNet-50 + SE, ELU, synthetic faces"


def test_boxes_beyond_a_tiny_picture_are_drawn_within() -> None:
    for size in ((1, 1), (3, 200), (200, 3)):
        grey = np.zeros(size, np.uint8)
        assert draw.faces(grey, [Face((-50, -50, 900, 900), 0.9)], np.float32([[1]]), ["sad"]).shape == (*size, 3)
