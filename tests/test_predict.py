"""The predictor, and the verb: pictures, videos, cameras; tables and drawings; what goes wrong."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import fakes
import numpy as np
import pytest
import torch
from conftest import use_tiny_network
from skimage import data as photographs

from fersweep import checkpoint, trained
from fersweep.cli import main
from fersweep.errors import UserError
from fersweep.faces import Face, Pixels
from fersweep.predict import Predictor, draw, inputs, outputs, predictor
from fersweep.predict.run import Job, run
from fersweep.predict.smooth import Smoother

pytestmark = pytest.mark.usefixtures("tiny_network")

Verb = Callable[..., int]


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    """A photograph with one face, RGB, 512 × 512."""
    return np.asarray(photographs.astronaut())


@pytest.fixture(scope="module")
def as_faces(finished: Path) -> Iterator[Predictor]:
    """A predictor that takes every picture for a face."""
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_network(patch)
        yield Predictor(finished, detector="none")


@pytest.fixture
def verb(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verb:
    """``verb(INPUT, ...)``: ``fersweep predict`` with the finished run, every picture a face."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["predict", str(finished), *map(str, arguments), "--detector", "none"])


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (40, 40)) -> Path:
    return fakes.write(path, fakes.encoded(fakes.picture(seed, size)))


def video(path: Path, frames: int = 12, size: tuple[int, int] = (64, 48), rate: float = 10.0) -> Path:
    """Frames of one brightness each, that grows."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), 20 * number, np.uint8))
    writer.release()
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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


def test_several_pictures_of_any_size_and_colour_are_answered_in_order(as_faces: Predictor, tmp_path: Path) -> None:
    faces = [fakes.picture(seed, (60 - seed, 50 + seed), channels=1 + 2 * (seed % 2)) for seed in range(5)]
    labels, probabilities, boxes = as_faces([*faces, picture(tmp_path / "a.png", 9)])
    assert [len(each) for each in (labels, probabilities, boxes)] == [6, 6, 6]
    for face, own in zip(faces, probabilities, strict=False):
        assert np.allclose(as_faces(face).probabilities, own, atol=1e-6)
    assert boxes[1].tolist() == [[0, 0, 51, 59]]


def test_no_picture_and_no_face_are_answers(as_faces: Predictor, finished: Path) -> None:
    assert as_faces([]) == ([], [], [])
    labels, probabilities, boxes = Predictor(finished)(np.full((200, 200), 128, np.uint8))
    assert (labels, probabilities.shape, boxes.shape) == ([], (0, 7), (0, 4))


def test_by_itself_it_looks_for_faces_in_photographs_and_takes_small_pictures_as_they_are(
    finished: Path, astronaut: Pixels
) -> None:
    found = Predictor(finished)
    (labels, _, boxes), (_, _, small) = found(astronaut), found(fakes.picture(0, (60, 64)))
    assert len(labels) == 1
    left, top, right, bottom = boxes[0]
    assert 150 < left < 200 < 240 < right < 300
    assert 40 < top < 90 < 150 < bottom < 210
    assert small.tolist() == [[0, 0, 64, 60]]


def test_a_face_that_was_looked_for_is_cut_square(as_faces: Predictor) -> None:
    image = np.arange(100 * 100, dtype=np.int64).reshape(100, 100).astype(np.uint8)
    (cut,) = as_faces.cut(image, [Face((40, 30, 60, 70), 0.9)])
    assert np.array_equal(cut, image[30:70, 30:70])


def test_several_runs_answer_with_their_mean(finished: Path, tmp_path: Path) -> None:
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
    with pytest.raises(UserError, match="knows the classes a, b, c"):
        Predictor(tmp_path / "runs")


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("nowhere.png", "cannot read nowhere.png"),
        (np.zeros((4, 4)), "uint8 array"),
        (np.zeros((4, 4, 2), np.uint8), "2 channels"),
        (np.zeros((0, 4), np.uint8), "uint8 array"),
    ],
)
def test_what_is_no_picture_is_refused(as_faces: Predictor, image: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        as_faces(image)


def test_unknown_options_and_empty_folders_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"detector=mtcn is not known \(did you mean mtcnn\?\)"):
        Predictor(finished, detector="mtcn")
    with pytest.raises(UserError, match="choose=first is not known"):
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
    assert numbers == [0]
    assert np.allclose(mean, [[np.exp(-0.2), 1 - np.exp(-0.2)]])


def test_faces_keep_their_numbers_and_newcomers_get_others() -> None:
    smooth, chances = Smoother(0), np.float32([[0.5, 0.5], [0.2, 0.8]])
    two = np.array([[0.0, 0, 20, 20], [50, 0, 70, 20]])
    assert smooth(two, chances, 0.0)[0] == [0, 1]
    numbers, same = smooth(two[::-1] + 3, chances, 0.1)
    assert numbers == [1, 0]
    assert np.array_equal(same, chances)
    assert smooth(np.empty((0, 4)), np.empty((0, 2), np.float32), 0.5)[0] == []
    assert smooth(two[1:], chances[1:], 0.9)[0] == [1]
    assert smooth(two, chances, 2.5)[0] == [2, 3]  # away for longer than `FORGET`
    seldom = Smoother(0, interval=2.0)
    assert [seldom(two, chances, seconds)[0] for seconds in (0.0, 2.0, 6.0)] == [[0, 1], [0, 1], [2, 3]]


# inputs


def test_files_folders_and_patterns_are_found_once(tmp_path: Path) -> None:
    for name in ("a.png", "in/b.png", "in/deep/c.jpg"):
        picture(tmp_path / name) if name.endswith("png") else fakes.write(tmp_path / name, b"x")
    video(tmp_path / "v.mp4")
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
        (["camera", "x"], "'camera x' is no camera"),
        (["."], "holds no picture"),
        (["a\0b"], "cannot be looked at"),
        (["x" * 5000], "cannot be looked at"),
    ],
)
def test_a_name_that_is_nothing_is_refused(
    given: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        inputs.resolve(given, 1, None)


def test_pictures_are_looked_at_together_but_few_large_ones() -> None:
    small = [inputs.Frame("a", np.zeros((10, 10), np.uint8))] * 70
    large = [inputs.Frame("a", np.broadcast_to(np.uint8(0), (5000, 5000)))] * 3
    assert [len(chunk) for chunk in inputs.chunks(iter(small), live=False)] == [32, 32, 6]
    assert [len(chunk) for chunk in inputs.chunks(iter(large), live=False)] == [2, 1]
    assert [len(chunk) for chunk in inputs.chunks(iter(small[:2]), live=True)] == [1, 1]


# the verb


def test_a_folder_becomes_tables_and_drawings_and_unreadable_files_cost_themselves_alone(
    verb: Verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "a.png", 1)
    picture(tmp_path / "in" / "deep" / "line\nbreak.png", 2)
    picture(tmp_path / "in" / os.fsdecode(b"\xff\xe4.png"), 3)
    fakes.write(tmp_path / "in" / "broken.jpg", fakes.encoded(fakes.picture(4), ".jpg")[:300])
    assert verb("in", "-o", "out") == 1
    told = capsys.readouterr().out
    assert "3 faces in 3 pictures" in told
    assert "unreadable: in/broken.jpg" in told
    table = rows(tmp_path / "out" / "predictions.csv")
    assert [row["file"] for row in table] == [
        "in/a.png",
        "in/broken.jpg",
        "in/deep/line\nbreak.png",
        "in/\udcff\udce4.png",
    ]
    assert table[1]["error"]
    assert sum(float(table[0][name]) for name in list(table[0])[11:]) == pytest.approx(1, abs=1e-4)
    objects = lines(tmp_path / "out" / "predictions.jsonl")
    assert [each["file"] for each in objects] == [row["file"] for row in table]
    assert (
        max(objects[0]["probabilities"], key=objects[0]["probabilities"].get)
        == objects[0]["label"]
        == table[0]["label"]
    )
    drawn = sorted(path.name for path in (tmp_path / "out" / "annotated").rglob("*.png"))
    assert drawn == ["a.png.png", "line\nbreak.png.png", "\udcff\udce4.png.png"]


def test_equal_names_from_different_places_do_not_meet(verb: Verb, tmp_path: Path) -> None:
    for place in ("a", "b"):
        picture(tmp_path / place / "x.jpg.png", 1)
        video(tmp_path / place / "v.mp4", frames=2)
    assert verb("a", "b", "a/v.mp4", "b/v.mp4", "-o", "out") == 0
    drawn = sorted(path.name for path in (tmp_path / "out" / "annotated").iterdir())
    assert drawn == ["v.mp4-2.mp4", "v.mp4.mp4", "x.jpg.png-2.png", "x.jpg.png.png"]


def test_a_table_alone_can_be_asked_for(verb: Verb, tmp_path: Path) -> None:
    assert verb(picture(tmp_path / "a.png"), "-o", "new/only.csv") == 0
    assert len(rows(tmp_path / "new" / "only.csv")) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["only.csv"]


def test_a_video_becomes_a_video_and_a_row_for_each_face_and_frame(verb: Verb, tmp_path: Path) -> None:
    video(tmp_path / "v.mp4", frames=12)
    assert verb("v.mp4", "-o", "out", "--every", 2) == 0
    table = rows(tmp_path / "out" / "predictions.csv")
    assert [int(row["frame"]) for row in table] == list(range(0, 12, 2))
    assert [float(row["seconds"]) for row in table] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0], abs=0.02)
    assert {row["face"] for row in table} == {"0"}
    film = cv2.VideoCapture(str(tmp_path / "out" / "annotated" / "v.mp4.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    film.release()


def test_smoothing_is_that_of_the_table(verb: Verb, tmp_path: Path) -> None:
    video(tmp_path / "v.mp4", frames=5)
    assert verb("v.mp4", "-o", "raw.jsonl", "--smooth", 0) == 0
    assert verb("v.mp4", "-o", "smooth.jsonl", "--smooth", 1) == 0
    raw, smooth = (lines(tmp_path / name) for name in ("raw.jsonl", "smooth.jsonl"))
    kept, expected = np.exp(-0.1), list(raw[0]["probabilities"].values())
    for before, after in zip(raw[1:], smooth[1:], strict=True):
        expected = [
            kept * old + (1 - kept) * new for old, new in zip(expected, before["probabilities"].values(), strict=True)
        ]
        assert list(after["probabilities"].values()) == pytest.approx(expected, abs=2e-3)


def test_broken_videos_are_named(verb: Verb, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fakes.write(tmp_path / "empty.mp4", b"")
    assert verb("empty.mp4", "-o", "out") == 2
    fakes.write(tmp_path / "text.mp4", b"no video at all" * 100)
    assert verb("text.mp4", "-o", "out") == 2
    told = capfd.readouterr().err
    assert "empty.mp4 is empty (0 bytes)" in told
    assert "text.mp4 cannot be read as a video" in told
    assert len(told.splitlines()) == 2  # and nothing of ffmpeg's
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_video_that_ends_early_keeps_what_there_was(verb: Verb, tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert verb("v.avi", "-o", "t.csv") == 1
    table = rows(tmp_path / "t.csv")
    assert 3 < len(table) < 20
    assert "of some 20 frames" in table[-1]["error"]


class Camera:
    """Stands for OpenCV's capture of camera 3."""

    def __init__(self, source: Any, *_: Any) -> None:
        self.there, self.left = source == 3, 50

    def isOpened(self) -> bool:
        return self.there

    def get(self, _: int) -> float:
        return 0.0

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, Pixels]:
        return True, np.full((48, 64, 3), self.left, np.uint8)

    def release(self) -> None:
        """Nothing is held."""


def test_a_camera_is_looked_at_for_as_long_as_asked(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert verb("camera", 3, "-o", "t.jsonl", "--frames", 4) == 0
    assert [each["frame"] for each in lines(tmp_path / "t.jsonl")] == [0, 1, 2, 3]
    assert lines(tmp_path / "t.jsonl")[0]["file"] == "camera 3"
    assert verb("camera", 7) == 2
    assert "There is no camera 7" in capsys.readouterr().err


def test_ctrl_c_before_a_camera_is_an_end_and_keeps_the_table(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Camera):
        def retrieve(self) -> tuple[bool, Pixels]:
            if self.left == 45:
                raise KeyboardInterrupt
            return super().retrieve()

    real = cv2.VideoCapture
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda source, *how: Interrupted(source) if source == 3 else real(source, *how)
    )
    assert verb("camera", 3, "-o", "out") == 0
    assert len(rows(tmp_path / "out" / "predictions.csv")) == 4
    assert (tmp_path / "out" / "annotated" / "camera_3.mp4").stat().st_size > 0


def test_ctrl_c_among_pictures_keeps_the_table_and_says_that_it_was_cut_short(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", number)
    real = outputs.Table.write

    def write(self: outputs.Table, seen: outputs.Seen) -> None:
        if seen.frame.file.endswith("2.png"):
            raise KeyboardInterrupt
        real(self, seen)

    monkeypatch.setattr(outputs.Table, "write", write)
    assert verb("in", "-o", "t.csv") == 130
    assert len(rows(tmp_path / "t.csv")) == 2


def test_a_failure_leaves_no_half_table(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(predictor.Predictor, "classify", fail)
    job = Job(finished, (str(tmp_path / "a.png"),), tmp_path / "t.csv", "none", None, "all", "auto", None, 1, None)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(job)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["in", "-o", "in/out"], "lies in in, which is read"),
        (["in", "--every", "2"], "are of videos and cameras"),
        (["v.mp4", "--every", "0"], "--every 0 is out of range"),
        (["v.mp4", "--frames", "0"], "--frames 0 is out of range"),
        (["in", "--smooth", "1"], "are of videos and cameras"),
        (["in", "-o", "x" * 300], "cannot be looked at"),
        (["in", "--weights", "~nobody-of-that-name/w.onnx"], "cannot be looked at"),
        (["in", "-o", "loop/out"], "cannot be looked at"),
        (["v.mp4", "--smooth", "-1"], "--smooth -1.0 is out of range"),
        (["in", "-o", "v.mp4"], "v.mp4 cannot be written"),
        (["in", "-o", "v.mp4/t.csv"], "cannot be written"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    arguments: list[str], says: str, verb: Verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "a.png")
    video(tmp_path / "v.mp4", frames=2)
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    assert verb(*arguments) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_drawing_marks_the_box_and_leaves_the_picture_alone(astronaut: Pixels) -> None:
    before = astronaut.copy()
    drawn = draw.annotate(astronaut, ["überrascht"], np.float32([[0.25, 0.75]]), np.array([[170.0, 60, 280, 190]]))
    assert np.array_equal(astronaut, before)
    changed = (drawn != astronaut).any(axis=2)
    assert tuple(drawn[120, 170]) == tuple(drawn[190, 220]) == draw.LINE
    assert not changed[80:180, 190:260].any()
    assert not changed[300:].any()


def test_boxes_beyond_a_tiny_picture_are_drawn_within() -> None:
    for size in ((1, 1), (3, 200), (200, 3)):
        grey = np.zeros(size, np.uint8)
        assert draw.annotate(grey, ["sad"], np.float32([[1.0]]), np.array([[-50.0, -50, 900, 900]])).shape == (*size, 3)
