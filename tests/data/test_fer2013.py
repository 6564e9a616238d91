"""FER2013: every layout, broken CSV rows, the download."""

from pathlib import Path

import fakes
import kagglehub
import numpy as np
import pytest
import requests
from fakes import csv_row, encoded, picture, write

from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING
from fersweep.data.sources import fer2013 as fer2013_source
from fersweep.data.sources.fer2013 import COUNTS, Fer2013
from fersweep.data.sources.fer2013_csv import CODES, parse_pixels
from fersweep.errors import UserError


def test_fer2013_reads_the_zip_without_unpacking_it(tmp_path: Path) -> None:
    archive = fakes.fer2013_zip(tmp_path / "fer2013.zip")
    data = Fer2013(archive).load()
    assert data.images.shape == (56, 48, 48)
    assert data.class_names == CLASSES
    assert fakes.class_counts(data) == dict.fromkeys(CLASSES, 8)
    assert [int((data.usage == part).sum()) for part in (TRAINING, PUBLIC, PRIVATE)] == [28, 14, 14]
    assert set(tmp_path.iterdir()) == {archive, tmp_path / "fer2013-unpacked"}
    index = data.ids.tolist().index("train/angry/Training_1000.png")
    assert np.array_equal(data.images[index], picture(0))


def test_fer2013_is_the_same_in_every_layout(tmp_path: Path) -> None:
    flat = Fer2013(fakes.fer2013_zip(tmp_path / "a" / "fer2013.zip")).load()
    nested = Fer2013(fakes.fer2013_zip(tmp_path / "b" / "x.zip", prefix="archive/fer2013/")).load()
    unpacked = Fer2013(tmp_path / "a" / "fer2013-unpacked").load()
    for other in (nested, unpacked):
        assert np.array_equal(flat.images, other.images)
        assert flat.ids.tolist() == other.ids.tolist()
        assert flat.usage.tolist() == other.usage.tolist()


def test_fer2013_is_found_below_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fakes.fer2013_folder(tmp_path / "data" / "one" / "fer2013")
    write(tmp_path / "data" / ".hidden" / "fer2013.csv", "hidden")
    write(tmp_path / "data" / "notes" / "readme.txt", "no data")
    assert Fer2013(tmp_path).locate() == folder
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Fer2013("~/data").locate() == folder
    write(tmp_path / "data" / "broken.zip", "no zip")
    assert Fer2013(tmp_path).locate() == folder


def test_older_names_do_not_tell_the_usage(tmp_path: Path) -> None:
    data = Fer2013(fakes.fer2013_folder(tmp_path, named=False)).load()
    assert set(data.usage.tolist()) == {TRAINING, "Test"}
    checks = Fer2013(tmp_path).checks(Fer2013(tmp_path).records())
    assert ("Test images", 28, 7178) in checks


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("fer2013.csv", "emotion,pixels,Usage"),
        ("icml_face_data.csv", "emotion, Usage, pixels"),
        ("my.csv", "Usage,pixels,emotion"),
    ],
)
def test_fer2013_csv(tmp_path: Path, name: str, header: str) -> None:
    path = fakes.fer2013_csv(tmp_path / name, header=header)
    data = Fer2013(path).load()
    assert len(data) == 28
    assert data.ids[0] == f"{name}/000001"
    assert [data.class_names[label] for label in data.labels[:7]] == list(CODES)
    assert [int((data.usage == part).sum()) for part in (TRAINING, PUBLIC, PRIVATE)] == [14, 7, 7]
    assert np.array_equal(data.images[3], picture(3))


def test_fer2013_csv_inside_a_zip(tmp_path: Path) -> None:
    path = fakes.fer2013_csv(tmp_path / "source" / "fer2013.csv")
    archive = fakes.zipped(path.parent, tmp_path / "a" / "challenge.zip", "fer2013/")
    inside = Fer2013(tmp_path / "a").load()
    assert Fer2013(tmp_path / "a").locate() == archive
    assert np.array_equal(inside.images, Fer2013(path).load().images)
    assert inside.ids.tolist() == Fer2013(path).load().ids.tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (csv_row(pixels=2303), r"2303 pixels, and must be 2304"),
        (csv_row(emotion=9), r"emotion is '9', and must be 0 to 6"),
        (csv_row(emotion="happy"), r"emotion is 'happy'"),
        (csv_row(pixels="1 2 three"), r"pixel 'three' is not a number of 0 to 255"),
        (csv_row(pixels="1 2 -3"), r"pixel '-3' is not a number"),
        (csv_row(pixels="1 2 300"), r"pixel '300' is not a number of 0 to 255"),
        (csv_row(pixels="1 2 3000"), r"pixel '3000' is not a number"),
        (csv_row(pixels=""), r"0 pixels, and must be 2304"),
        (csv_row(usage="Testing"), r"Usage is 'Testing', and must be one of Training, PublicTest, PrivateTest"),
        ("3", r"Usage is ''"),
    ],
)
def test_a_wrong_csv_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = fakes.fer2013_csv(tmp_path / "fer2013.csv", extra=[line])
    with pytest.raises(UserError, match=rf"fer2013.csv row 29 \(line 30\): {message}.*`fersweep data fer2013` lists"):
        Fer2013(path).load()


def test_a_csv_without_columns_or_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fer2013.csv lacks the columns pixels, usage: its first line must name"):
        Fer2013(write(tmp_path / "fer2013.csv", "emotion,image\n1,2\n")).load()
    with pytest.raises(UserError, match=r"fer2013.csv has a header but no rows"):
        Fer2013(write(tmp_path / "fer2013.csv", "emotion,pixels,Usage\n")).load()
    with pytest.raises(UserError, match=r"fer2013.csv lacks the columns emotion, pixels, usage"):
        Fer2013(write(tmp_path / "fer2013.csv", "")).load()


def test_pixels_with_other_white_space() -> None:
    assert parse_pixels("  1 22 255\t0  7 \n").tolist() == [1, 22, 255, 0, 7]
    assert parse_pixels("7").tolist() == [7]


def test_an_unknown_class_folder_is_named(tmp_path: Path) -> None:
    root = fakes.fer2013_folder(tmp_path)
    write(root / "train" / "hungry" / "1.png", encoded(picture(0)))
    with pytest.raises(UserError, match=r"has the folder train/hungry, which is not a class: use angry, disgust"):
        Fer2013(root).load()


def test_the_counts_of_fer2013() -> None:
    assert [sum(COUNTS[part]) for part in (TRAINING, PUBLIC, PRIVATE, "Test")] == [28709, 3589, 3589, 7178]
    assert [a + b for a, b in zip(COUNTS[PUBLIC], COUNTS[PRIVATE], strict=True)] == list(COUNTS["Test"])


def test_download_gives_the_folder_that_kagglehub_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: asked.append(handle) or str(tmp_path))
    fakes.fer2013_folder(tmp_path)
    assert len(Fer2013(download=True).load()) == 56
    assert set(asked) == {fer2013_source.HANDLE}
    with pytest.raises(UserError, match=r"give dataset.root or dataset.download=true, not both"):
        Fer2013(tmp_path, download=True).locate()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.ConnectionError("HTTPSConnectionPool(...): Max retries exceeded"), "there is no connection"),
        (requests.Timeout(), "there is no connection"),
        (RuntimeError("403 Forbidden\nmore"), "403 Forbidden"),
    ],
)
def test_download_without_a_connection_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(_handle: str) -> str:
        raise error

    monkeypatch.setattr(kagglehub, "dataset_download", fail)
    with pytest.raises(UserError, match=rf"^cannot download FER2013 from Kaggle: {reason}; instead, set dataset.root"):
        Fer2013(download=True).load()
