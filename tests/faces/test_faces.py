"""`fersweep faces`: the tree, the table, skipped pictures, resuming, refusals."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import encoded, picture, picture_tree, write
from skimage.data import astronaut

from fersweep.cli.main import main
from fersweep.errors import UserError
from fersweep.faces import Face, Pixels, detectors, extract, pictures, table

LANDMARKS = np.array([[2.0, 3.0], [6.0, 3.0], [4.0, 5.0], [2.0, 7.0], [6.0, 7.0]])


class Fake:
    """Returns ``faces(image)`` for each image, and records the batch sizes."""

    name = "fake"

    def __init__(self, faces: Callable[[Pixels], list[Face]] | None = None) -> None:
        self.faces = faces or (lambda _: [Face((2, 1, 8, 9), 0.8, LANDMARKS), Face((0, 0, 9, 10), 0.7)])
        self.batches: list[int] = []

    def fingerprint(self) -> str:
        return self.name

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        self.batches.append(len(images))
        return [self.faces(image) for image in images]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replaces every detector."""
    made = Fake()
    monkeypatch.setattr(detectors, "make", lambda *_, **__: made)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return picture_tree(tmp_path / "in")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "faces.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_tree_of_pictures_becomes_a_tree_of_faces_and_a_table(
    fake: Fake, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert main(["faces", str(source), str(out)]) == 1
    faces = ["a/b.c/two.png", "a/b/one.jpg.png", "a/b/one.png.png", "a/grey.png", "three\nlines ü.png"]
    assert files(out) == sorted([*faces, "faces.csv", "faces.json"])
    listed = rows(out)
    assert [row["face"] for row in listed if row["face"]] == faces
    assert [(row["file"], row["skipped"]) for row in listed if row["skipped"]] == [
        ("a/broken.png", "image file is truncated")
    ]
    whole = pictures.read(source / "a" / "b.c" / "two.PNG")
    assert np.array_equal(pictures.read(out / "a" / "b.c" / "two.png"), whole[1:9, 2:8])
    assert pictures.read(out / "a" / "grey.png").shape == (8, 6)
    two = listed[0]
    assert list(two) == list(table.COLUMNS)
    assert [float(two[name]) for name in ("left", "top", "right", "bottom", "confidence")] == [2, 1, 8, 9, 0.8]
    assert [float(two[name]) for name in ("left_eye_x", "left_eye_y", "mouth_right_x")] == [2, 3, 6]
    assert fake.batches == [5]
    assert capsys.readouterr().out.splitlines() == [
        "6 pictures, 5 faces, 0 without a face, 1 unreadable",
        "  a/broken.png: image file is truncated",
        str(out / "faces.csv"),
    ]


def test_all_faces_are_numbered_and_without_landmarks_their_cells_are_empty(
    fake: Fake, source: Path, tmp_path: Path
) -> None:
    fake.faces = lambda image: [] if image.ndim == 2 else [Face((2, 1, 8, 9), 0.8), Face((0, 0, 9, 10), 0.7)]
    out = tmp_path / "out"
    assert main(["faces", str(source / "a"), str(out), "--choose", "all", "--size", "12"]) == 1
    listed = {row["face"] or row["file"]: row for row in rows(out)}
    assert list(listed) == [
        "b.c/two_1.png",
        "b.c/two_2.png",
        "b/one.jpg_1.png",
        "b/one.jpg_2.png",
        "b/one.png_1.png",
        "b/one.png_2.png",
        "broken.png",
        "grey.png",
    ]
    assert listed["grey.png"]["skipped"] == "no face found"
    assert listed["b.c/two_2.png"]["nose_x"] == ""
    assert all(pictures.read(out / name).shape == (12, 12, 3) for name in files(out) if name.endswith(".png"))


def test_names_never_collide() -> None:
    names = ["x/b.jpg", "x/b.png", "x/b.jpg.png", "b.png", "b.jpg.jpg", "b.jpg.png.bmp", "c.d.tiff"]
    keys = extract._keys(names)
    assert len(set(keys.values())) == len(names)
    assert keys["b.png"] == "b"
    assert keys["c.d.tiff"] == "c.d"
    assert keys["x/b.jpg"] == "x/b.jpg"


def test_the_same_call_resumes_with_new_missing_and_repaired_pictures(fake: Fake, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ["faces", str(source), str(out)]
    assert main(call) == 1
    before = {name: (out / name).stat().st_mtime_ns for name in files(out) if name.endswith(".png")}
    assert main(call) == 1
    assert fake.batches == [5, 0]
    write(source / "a" / "broken.png", encoded(picture(9)))
    write(source / "a" / "b.c" / "two.bmp", encoded(picture(5), ".bmp"))
    (out / "a" / "grey.png").unlink()
    assert main(call) == 0
    assert fake.batches == [5, 0, 3]
    after = {name: (out / name).stat().st_mtime_ns for name in files(out) if name.endswith(".png")}
    assert {name for name in after if after[name] != before.get(name)} == {
        "a/b.c/two.bmp.png",
        "a/broken.png",
        "a/grey.png",
    }
    assert len(rows(out)) == 7


def test_an_interruption_keeps_what_is_done(
    fake: Fake, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "BATCH", 2)
    whole = tmp_path / "whole"
    main(["faces", str(source), str(whole)])
    out, detect = tmp_path / "out", fake.detect

    def interrupted(images: Sequence[Pixels]) -> list[list[Face]]:
        if len(fake.batches) == 5:
            raise KeyboardInterrupt
        return detect(images)

    monkeypatch.setattr(fake, "detect", interrupted)
    assert fake.batches == [2, 1, 2]
    assert main(["faces", str(source), str(out)]) == 130
    assert 0 < len(rows(out)) < 6
    monkeypatch.setattr(fake, "detect", detect)
    assert main(["faces", str(source), str(out)]) == 1
    assert (out / "faces.csv").read_bytes() == (whole / "faces.csv").read_bytes()
    assert files(out) == files(whole)
    assert sum(fake.batches) == 10  # no picture twice


@pytest.mark.parametrize("broken", ["no table", '"file","face"\n"a"\n', ""])
@pytest.mark.usefixtures("fake")
def test_a_table_that_is_none_is_refused(source: Path, tmp_path: Path, broken: str) -> None:
    out = tmp_path / "out"
    main(["faces", str(source), str(out)])
    write(out / "faces.csv", broken)
    with pytest.raises(UserError, match=r"faces.csv is not a table of faces: remove it"):
        table.read(out)
    assert main(["faces", str(source), str(out)]) == 2
    assert (out / "faces.csv").read_text() == broken


@pytest.mark.usefixtures("fake")
def test_other_settings_or_files_in_the_folder_are_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["faces", str(source), str(out)])
    before = {name: (out / name).read_bytes() for name in files(out)}

    def refused(*arguments: object) -> str:
        capsys.readouterr()
        assert main(["faces", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "was made with margin=0.0, not 0.3: use the same settings" in refused(source, out, "--margin", 0.3)
    assert "was made with size=None, not 80" in refused(source, out, "--preset", "study")
    assert "was made with pictures=" in refused(source / "a", out)
    assert f"{source / 'out'} lies inside {source}" in refused(source, source / "out")
    assert "lies inside" in refused(source, source)
    assert "holds other files: choose a new or empty folder" in refused(source, tmp_path)
    assert "Cannot write" in refused(source / "a", source / "notes.txt")
    assert "missing does not exist" in refused(tmp_path / "missing", out)
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in refused(tmp_path / "empty", out)
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    write(out / "faces.json", "[")
    assert "faces.json is damaged" in refused(source, out)
    assert not (source / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--margin -1", "--margin -1.0 is out of range"),
        ("--margin nan", "--margin nan is out of range"),
        ("--size 0", "--size 0 is out of range"),
        ("--jobs 0", "--jobs 0 is out of range"),
        ("--align --detector none", "--align has no effect with --detector none"),
        ("--confidence 0.5 --detector none", "confidence has no effect with the detector none"),
        ("--weights x.onnx --detector mtcnn", "have no effect with the detector mtcnn"),
        ("--weights missing.onnx", "Cannot read the weights missing.onnx"),
        ("--detector mtcn", "did you mean mtcnn?"),
    ],
)
def test_invalid_options_are_refused(
    source: Path, tmp_path: Path, options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["faces", str(source), str(tmp_path / "out"), *options.split()]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("fake")
def test_a_folder_that_cannot_be_written_is_one_sentence(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["faces", str(source), str(tmp_path / "out")]) == 2
    assert ".png: No space left on device." in capsys.readouterr().err
    assert rows(tmp_path / "out") == []
    assert [name for name in files(tmp_path / "out") if name.endswith(".png")] == []


def test_mtcnn_cuts_the_astronaut_out_as_the_study_would(tmp_path: Path) -> None:
    turned = cv2.warpAffine(astronaut(), cv2.getRotationMatrix2D((224, 117), 15, 1), (512, 512))
    write(tmp_path / "in" / "face.png", encoded(turned))
    write(tmp_path / "in" / "blank.png", encoded(np.zeros((512, 512), np.uint8)))
    arguments = ["faces", str(tmp_path / "in" / "face.png"), str(tmp_path / "one"), "--preset", "study"]
    assert main([*arguments, "--device", "cpu"]) == 0
    assert pictures.read(tmp_path / "one" / "face.png").shape == (80, 80, 3)
    assert main(["faces", str(tmp_path / "in"), str(tmp_path / "out"), "--align", "--device", "cpu"]) == 0
    blank, face = rows(tmp_path / "out")
    assert (blank["face"], blank["skipped"]) == ("", "no face found")
    assert 5 < float(face["left_eye_y"]) - float(face["right_eye_y"]) < 25
    level = detectors.make("mtcnn", device="cpu").detect(
        [np.pad(pictures.read(tmp_path / "out" / "face.png"), ((40, 40), (40, 40), (0, 0)))]
    )
    left, right = level[0][0].landmarks[:2]  # type: ignore[index]
    assert abs(left[1] - right[1]) < 3


@pytest.mark.usefixtures("fake")
def test_names_that_are_not_unicode_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        write(tmp_path / "in" / name, encoded(picture(1)))
    except OSError:
        pytest.skip("this file system takes Unicode names alone")
    write(tmp_path / "in" / f"broken {name}", b"")
    assert main(["faces", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert name in files(tmp_path / "out")
    assert main(["faces", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert {row["file"] for row in rows(tmp_path / "out")} == {name, f"broken {name}"}


@pytest.mark.usefixtures("fake")
def test_names_that_are_formulas_are_quoted_in_the_table_alone(tmp_path: Path) -> None:
    names = ["=cmd|x.png", "-1+1.png", "'=x.png", "@a.png", "plain.png"]
    for number, name in enumerate(names):
        write(tmp_path / "in" / name, encoded(picture(number)))
    assert main(["faces", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert {row["file"] for row in rows(tmp_path / "out")} == {
        "'=cmd|x.png",
        "'-1+1.png",
        "''=x.png",
        "'@a.png",
        "plain.png",
    }
    assert set(table.read(tmp_path / "out")) == set(names)
    before = (tmp_path / "out" / "faces.csv").read_bytes()
    assert main(["faces", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "faces.csv").read_bytes() == before
