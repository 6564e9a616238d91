"""Damaged images, videos and ONNX files, none of which causes a traceback; benchmarks/fuzzing has further kinds."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import fakes
import numpy as np
import onnx
import pytest
from PIL import ExifTags, Image

from fersweep.cli.main import main

pytestmark = pytest.mark.usefixtures("tiny_network")

PICTURES, VIDEOS, DETECTORS = 120, 40, 20


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Return ``whole`` truncated, with random bytes, zeros, no beginning, a repetition or a wrong header."""
    data, place = bytearray(whole), int(rng.integers(1, max(len(whole), 2)))
    kind = rng.integers(6)
    if kind == 0:
        return bytes(data[:place])
    if kind == 1:
        for each in rng.integers(0, len(data), max(1, len(data) // 50)):
            data[each] = rng.integers(256)
    elif kind == 2:
        data[place : place + len(data) // 4] = bytes(len(data[place : place + len(data) // 4]))
    elif kind == 3:
        return bytes(data[place // 8 + 1 :])
    elif kind == 4:
        data[place:place] = data[: place // 2]
    else:
        data[:64] = rng.integers(0, 256, 64, dtype=np.uint8).tobytes()
    return bytes(data)


def pictures() -> list[tuple[str, bytes]]:
    """Return one image in each common format."""
    made = []
    for number, name in enumerate(("a.png", "a.jpg", "a.tiff", "a.bmp", "a.webp")):
        file = io.BytesIO()
        kind = {"jpg": "JPEG"}.get(name[2:], name[2:].upper())
        Image.fromarray(fakes.picture(number, (40, 50), 3)).save(file, kind)
        made.append((Path(name).suffix, file.getvalue()))
    turned, exif = io.BytesIO(), Image.Exif()
    exif.update({ExifTags.Base.Orientation: 6, ExifTags.Base.Make: "a camera", ExifTags.Base.XResolution: 72.0})
    Image.fromarray(fakes.picture(9, (40, 50))).save(turned, "JPEG", exif=exif)
    return [*made, (".jpg", turned.getvalue())]


def videos(folder: Path) -> list[tuple[str, bytes]]:
    made = []
    for suffix, code in ((".mp4", "mp4v"), (".avi", "MJPG")):
        path = folder / f"whole{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 10, (64, 48))
        for number in range(8):
            writer.write(fakes.picture(number, (48, 64), 3))
        writer.release()
        made.append((suffix, path.read_bytes()))
    return made


def no_traceback(verb: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> int:
    """Run a command and check that its error is one sentence."""
    code = verb()
    told = capsys.readouterr()
    assert code in (0, 1, 2)
    assert "Traceback" not in told.out + told.err
    assert (code == 2) == told.err.startswith("error: ")
    if code == 2:
        assert len(told.err.splitlines()) == 1, told.err
    return code


def test_damaged_pictures(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    whole = pictures()
    for number in range(PICTURES):
        suffix, data = whole[number % len(whole)]
        fakes.write(tmp_path / "in" / f"{number:03}{suffix}", damaged(data, rng))
    for verb in (
        ["predict", str(finished), str(tmp_path / "in"), "-o", str(tmp_path / "t.csv"), "--detector", "none"],
        ["faces", str(tmp_path / "in"), str(tmp_path / "cut"), "--detector", "none"],
    ):
        assert no_traceback(lambda verb=verb: main(verb), capsys) == 1  # type: ignore[misc]
    for table, column in ((tmp_path / "t.csv", "error"), (tmp_path / "cut" / "faces.csv", "skipped")):
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len({row["file"] for row in rows}) == PICTURES
        unread = [row for row in rows if row[column]]
        assert PICTURES // 4 < len(unread) < PICTURES  # some damage only changes what is seen
        assert all("\n" not in row[column] and len(row[column]) < 300 for row in unread)


def test_damaged_videos(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    whole = videos(tmp_path)
    codes = []
    for number in range(VIDEOS):
        suffix, data = whole[number % len(whole)]
        path = fakes.write(tmp_path / f"{number}{suffix}", damaged(data, rng))
        verb = ["predict", str(finished), str(path), "-o", str(tmp_path / "t.jsonl"), "--detector", "none"]
        codes.append(no_traceback(lambda verb=verb: main(verb), capsys))  # type: ignore[misc]
    assert codes.count(2) > VIDEOS // 8
    assert codes.count(0) + codes.count(1) > VIDEOS // 8


def test_damaged_detectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    fakes.write(tmp_path / "in" / "a.png", fakes.encoded(fakes.picture(0)))
    image = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, 64, 64])
    found = onnx.helper.make_tensor_value_info("found", onnx.TensorProto.FLOAT, [1, 3, 64, 64])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["images"], ["found"])], "g", [image], [found])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    whole = model.SerializeToString()
    for number in range(DETECTORS):
        path = fakes.write(tmp_path / f"{number}.onnx", damaged(whole, rng) if number else whole)
        verb = ["faces", str(tmp_path / "in"), str(tmp_path / "cut"), "--detector", "yolo5face", "--weights", str(path)]
        assert no_traceback(lambda verb=verb: main(verb), capsys) == 2  # type: ignore[misc]
