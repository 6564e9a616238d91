"""``fersweep predict``: pictures, videos and cameras; tables and drawings; errors."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import fakes
import numpy as np
import pytest
from skimage.data import astronaut

from fersweep.cli.main import main
from fersweep.faces import Pixels
from fersweep.faces.mtcnn import Mtcnn
from fersweep.inference.predict import outputs, predictor
from fersweep.inference.predict.run import Job, run

pytestmark = pytest.mark.usefixtures("tiny_network")

Verb = Callable[..., int]


@pytest.fixture
def verb(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verb:
    """``verb(INPUT, ...)``: ``fersweep predict`` with the finished run, without face detection."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["predict", str(finished), *map(str, arguments), "--detector", "none"])


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (40, 40)) -> Path:
    return fakes.write(path, fakes.encoded(fakes.picture(seed, size)))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_becomes_tables_and_drawings_despite_unreadable_files(
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
    assert sum(float(table[0][name]) for name in list(table[0])[12:]) == pytest.approx(1, abs=1e-4)
    objects = lines(tmp_path / "out" / "predictions.jsonl")
    assert [each["file"] for each in objects] == [row["file"] for row in table]
    assert (
        max(objects[0]["probabilities"], key=objects[0]["probabilities"].get)
        == objects[0]["label"]
        == table[0]["label"]
    )
    drawn = sorted(path.name for path in (tmp_path / "out" / "annotated").rglob("*.png"))
    assert drawn == ["a.png.png", "line\nbreak.png.png", "\udcff\udce4.png.png"]


def test_equal_names_from_different_folders_do_not_collide(verb: Verb, tmp_path: Path) -> None:
    for place in ("a", "b"):
        picture(tmp_path / place / "x.jpg.png", 1)
        fakes.video(tmp_path / place / "v.mp4", frames=2)
    assert verb("a", "b", "a/v.mp4", "b/v.mp4", "-o", "out") == 0
    drawn = sorted(path.name for path in (tmp_path / "out" / "annotated").iterdir())
    assert drawn == ["v.mp4-2.mp4", "v.mp4.mp4", "x.jpg.png-2.png", "x.jpg.png.png"]


def test_the_output_can_be_a_single_table(verb: Verb, tmp_path: Path) -> None:
    assert verb(picture(tmp_path / "a.png"), "-o", "new/only.csv") == 0
    assert len(rows(tmp_path / "new" / "only.csv")) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["only.csv"]


def test_names_that_are_formulas_are_quoted_in_csv_alone(verb: Verb, tmp_path: Path) -> None:
    picture(tmp_path / "=cmd|x.png")
    assert verb("=cmd|x.png", "-o", "a.csv") == 0
    assert [row["file"] for row in rows(tmp_path / "a.csv")] == ["'=cmd|x.png"]
    assert all(float(row["probability"]) <= 1 for row in rows(tmp_path / "a.csv"))
    assert verb("=cmd|x.png", "-o", "a.jsonl") == 0
    assert [line["file"] for line in lines(tmp_path / "a.jsonl")] == ["=cmd|x.png"]


def test_a_video_becomes_a_video_and_a_row_for_each_face_and_frame(verb: Verb, tmp_path: Path) -> None:
    fakes.video(tmp_path / "v.mp4", frames=12)
    assert verb("v.mp4", "-o", "out", "--every", 2) == 0
    table = rows(tmp_path / "out" / "predictions.csv")
    assert [int(row["frame"]) for row in table] == list(range(0, 12, 2))
    assert [float(row["seconds"]) for row in table] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0], abs=0.02)
    assert {row["face"] for row in table} == {"1"}
    film = cv2.VideoCapture(str(tmp_path / "out" / "annotated" / "v.mp4.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    film.release()


def test_the_table_has_smoothed_probabilities(verb: Verb, tmp_path: Path) -> None:
    fakes.video(tmp_path / "v.mp4", frames=5)
    assert verb("v.mp4", "-o", "raw.jsonl", "--smooth", 0) == 0
    assert verb("v.mp4", "-o", "smooth.jsonl", "--smooth", 1) == 0
    raw, smooth = (lines(tmp_path / name) for name in ("raw.jsonl", "smooth.jsonl"))
    kept, expected = np.exp(-0.1), list(raw[0]["probabilities"].values())
    for before, after in zip(raw[1:], smooth[1:], strict=True):
        expected = [
            kept * old + (1 - kept) * new for old, new in zip(expected, before["probabilities"].values(), strict=True)
        ]
        assert list(after["probabilities"].values()) == pytest.approx(expected, abs=2e-3)


def test_faces_are_followed_between_searches(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = cv2.resize(astronaut(), (256, 256), interpolation=cv2.INTER_AREA)[..., ::-1]
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (256, 256))
    for number in range(9):
        writer.write(np.roll(picture, 2 * number, axis=1))
    writer.release()
    searched = []
    search = Mtcnn.detect
    monkeypatch.setattr(Mtcnn, "detect", lambda self, images: searched.append(len(images)) or search(self, images))
    for every, table in ((1, "each.jsonl"), (4, "some.jsonl")):
        arguments = ["v.mp4", "-o", table, "--detector", "mtcnn", "--detect-every", str(every), "--smooth", "0"]
        monkeypatch.chdir(tmp_path)
        assert main(["predict", str(finished), *arguments]) == 0
    assert searched == [9, 1, 1, 1]
    each, some = lines(tmp_path / "each.jsonl"), lines(tmp_path / "some.jsonl")
    assert [row["frame"] for row in some] == [row["frame"] for row in each] == list(range(9))
    assert {row["face"] for row in (*each, *some)} == {1}
    assert np.abs(np.subtract([row["box"] for row in each], [row["box"] for row in some])).max() < 5
    for number in (0, 4, 8):
        assert some[number] == each[number]


def test_broken_videos_are_named(verb: Verb, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fakes.write(tmp_path / "empty.mp4", b"")
    assert verb("empty.mp4", "-o", "out") == 2
    fakes.write(tmp_path / "text.mp4", b"no video at all" * 100)
    assert verb("text.mp4", "-o", "out") == 2
    (tmp_path / "whole").mkdir()
    odd = fakes.video(tmp_path / "whole" / "v.mp4", frames=2).rename(tmp_path / os.fsdecode(b"\xff.mp4"))
    assert verb(odd, "-o", "out") == 2
    fakes.video(tmp_path / "v.mp4", frames=2)
    assert verb("v.mp4", "-o", os.fsdecode(b"\xff")) == 2
    told = capfd.readouterr().err
    assert told.count("is not valid Unicode, which videos need") == 2
    assert "empty.mp4 is empty (0 bytes)" in told
    assert "text.mp4 cannot be read as a video" in told
    assert len(told.splitlines()) == 4  # nothing from ffmpeg
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_truncated_video_keeps_its_readable_frames(verb: Verb, tmp_path: Path) -> None:
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
    assert "of about 20 frames" in table[-1]["error"]


class Camera:
    """Replaces OpenCV's capture of camera 3."""

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
        """There is nothing to release."""


def test_a_camera_stops_after_the_number_of_frames(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert verb("camera", 3, "-o", "t.jsonl", "--frames", 4) == 0
    assert [each["frame"] for each in lines(tmp_path / "t.jsonl")] == [0, 1, 2, 3]
    assert lines(tmp_path / "t.jsonl")[0]["file"] == "camera 3"
    assert verb("camera", 7) == 2
    assert "There is no camera 7" in capsys.readouterr().err


def test_ctrl_c_with_a_camera_is_a_normal_end(verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_ctrl_c_with_pictures_keeps_the_table_and_exits_with_130(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", number)
    real = outputs.Table.write

    def write(self: outputs.Table, found: outputs.Detections) -> None:
        if found.frame.file.endswith("2.png"):
            raise KeyboardInterrupt
        real(self, found)

    monkeypatch.setattr(outputs.Table, "write", write)
    assert verb("in", "-o", "t.csv") == 130
    assert len(rows(tmp_path / "t.csv")) == 2


def test_a_failure_leaves_no_partial_table(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        (["in", "-o", "in/out"], "lies inside in, an input"),
        (["in", "--every", "2"], "are for videos and cameras"),
        (["v.mp4", "--every", "0"], "--every 0 is out of range"),
        (["v.mp4", "--frames", "0"], "--frames 0 is out of range"),
        (["in", "--smooth", "1"], "are for videos and cameras"),
        (["in", "--detect-every", "2"], "are for videos and cameras"),
        (["v.mp4", "--detect-every", "0"], "--detect-every 0 is out of range"),
        (
            ["v.mp4", "--detect-every", "5", "-o", "out"],
            "none, which follows no faces: leave it out, or use",
        ),
        (["in", "-o", "x" * 300], "cannot be accessed"),
        (["in", "--weights", "~nobody-of-that-name/w.onnx"], "cannot be accessed"),
        (["in", "-o", "loop/out"], "cannot be accessed"),
        (["v.mp4", "--smooth", "-1"], "--smooth -1.0 is out of range"),
        (["in", "-o", "v.mp4"], "v.mp4 cannot be written"),
        (["in", "-o", "v.mp4/t.csv"], "cannot be written"),
    ],
)
def test_an_unusable_argument_is_one_sentence(
    arguments: list[str], says: str, verb: Verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "a.png")
    fakes.video(tmp_path / "v.mp4", frames=2)
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    assert verb(*arguments) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
