"""Dataset sources: every layout people have, and one sentence for everything that is wrong with one."""

import zipfile
from pathlib import Path

import cv2
import fakes
import kagglehub
import numpy as np
import pytest
import requests
from fakes import csv_row, encoded, picture, write
from PIL import Image

from fersweep.data import files, images
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING
from fersweep.data.sources import fer2013 as fer2013_source
from fersweep.data.sources.ckplus import CkPlus
from fersweep.data.sources.fer2013 import COUNTS, Fer2013
from fersweep.data.sources.fer2013_csv import CODES, parse_pixels
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.jaffe import Jaffe
from fersweep.errors import UserError

EMPTY_ROOTS = pytest.mark.parametrize("source", [Fer2013, CkPlus, Jaffe, Folder])


def counts(data: object) -> dict[str, int]:
    return {name: int((data.labels == k).sum()) for k, name in enumerate(data.class_names)}  # type: ignore[attr-defined]


# FER2013


def test_fer2013_reads_the_zip_without_unpacking_it(tmp_path: Path) -> None:
    archive = fakes.fer2013_zip(tmp_path / "fer2013.zip")
    data = Fer2013(archive).load()
    assert data.images.shape == (56, 48, 48)
    assert data.class_names == CLASSES
    assert counts(data) == dict.fromkeys(CLASSES, 8)
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


def test_several_copies_are_named(tmp_path: Path) -> None:
    archive = fakes.fer2013_zip(tmp_path / "fer2013.zip")
    with pytest.raises(
        UserError, match=r"holds fer2013 data 2 times: set dataset.root to one of .*\.zip, .*-unpacked$"
    ):
        Fer2013(tmp_path).locate()
    assert Fer2013(archive).locate() == archive


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
        (csv_row(pixels="1 2 300"), r"pixel 300 is more than 255"),
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


def test_a_truncated_zip_is_one_sentence(tmp_path: Path) -> None:
    archive = fakes.fer2013_zip(tmp_path / "a" / "fer2013.zip")
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"fer2013.zip is not a complete zip archive .*: copy or download it again"):
        Fer2013(archive).load()
    with pytest.raises(UserError, match=r"is not a complete zip archive"):
        Fer2013(fakes.zipped(tmp_path / "none", tmp_path / "b" / "x.zip").parent.parent / "a" / "fer2013.zip").load()


def test_damage_inside_a_zip_is_named(tmp_path: Path) -> None:
    archive = fakes.fer2013_zip(tmp_path / "fer2013.zip")
    with zipfile.ZipFile(archive) as file:
        info = file.getinfo("train/happy/Training_1024.png")
    data = bytearray(archive.read_bytes())
    data[info.header_offset + 200] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"cannot read the image train/happy/Training_1024.png: damaged"):
        Fer2013(archive).load()


@pytest.mark.parametrize(
    "name", ["/train/angry/1.png", "../train/angry/1.png", "train/angry/../../../1.png", "C:/a.png"]
)
def test_a_zip_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = fakes.fer2013_zip(tmp_path / "fer2013.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(zipfile.ZipInfo(name), encoded(picture(0)))
    with pytest.raises(UserError, match=r"fer2013.zip holds the name .*, which points outside of the archive"):
        Fer2013(archive).load()


def test_an_unknown_class_folder_is_named(tmp_path: Path) -> None:
    root = fakes.fer2013_folder(tmp_path)
    write(root / "train" / "hungry" / "1.png", encoded(picture(0)))
    with pytest.raises(UserError, match=r"has the folder train/hungry, which is no class: use angry, disgust"):
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


# CK+


def test_ckplus_takes_peaks_and_the_first_frame_of_every_sequence(tmp_path: Path) -> None:
    root = fakes.ckplus(tmp_path)
    data = CkPlus(tmp_path.parent / tmp_path.name).load()
    assert counts(data) == dict.fromkeys(CLASSES, 2) | {"neutral": 17}
    assert data.images.shape == (29, 48, 48)
    assert set(data.subjects.tolist()) == {"S005", "S006", "S007", "S008"}
    first = "cohn-kanade-images/S005/001/S005_001_00000008.png"
    last = "cohn-kanade-images/S005/001/S005_001_00000012.png"
    by_id = {name: data.class_names[label] for name, label in zip(data.ids.tolist(), data.labels, strict=True)}
    assert (by_id[first], by_id[last]) == ("neutral", "angry")
    assert all(name.split("/")[1] == subject for name, subject in zip(data.ids, data.subjects, strict=True))
    inside = CkPlus(fakes.zipped(root, tmp_path.parent / "ck.zip", "CK+/")).load()
    assert inside.ids.tolist() == data.ids.tolist()
    assert np.array_equal(inside.images, data.images)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"contempt": True}, dict.fromkeys(CLASSES, 2) | {"neutral": 17, "contempt": 2}),
        ({"neutral": False}, {name: 2 for name in CLASSES if name != "neutral"}),
        ({"peak_frames": 3}, dict.fromkeys(CLASSES, 6) | {"neutral": 17}),
    ],
)
def test_ckplus_options(tmp_path: Path, options: dict[str, object], expected: dict[str, int]) -> None:
    fakes.ckplus(tmp_path)
    data = CkPlus(tmp_path, **options).load()  # type: ignore[arg-type]
    assert counts(data) == expected
    assert list(data.class_names) == [name for name in (*CLASSES, "contempt") if name in expected]
    assert CkPlus(tmp_path, **options).fingerprint() != CkPlus(tmp_path).fingerprint()  # type: ignore[arg-type]


def test_ckplus_frames_are_ordered_by_number(tmp_path: Path) -> None:
    root = fakes.ckplus(tmp_path, labels=["happy", "sad"], unlabelled=0)
    write(root / "cohn-kanade-images/S005/001/S005_001_100.png", encoded(picture(5)))
    names = CkPlus(root, neutral=False).records().ids.tolist()
    assert names[0].endswith("S005_001_100.png")


def test_ckplus_as_the_study_counts_it(tmp_path: Path) -> None:
    labels = [name for name, number in {**fakes.CK_CODES}.items() for _ in range(number)]
    fakes.ckplus(tmp_path, labels=labels, unlabelled=5, frames=2)
    source = CkPlus(tmp_path)
    found = {what: number for what, number, _ in source.checks(source.records())}
    expected = {what: number for what, _, number in source.checks(source.records())}
    assert (found["sequences"], found["labelled sequences"], found["labelled surprise"]) == (33, 28, 7)
    assert (expected["sequences"], expected["subjects"], expected["labelled sequences"]) == (593, 123, 327)
    assert [expected[f"labelled {name}"] for name in fakes.CK_CODES] == [45, 18, 59, 25, 69, 28, 83]
    assert len(source.records()) == 28 - 2 + 33


def test_ck48_has_three_frames_and_no_neutral(tmp_path: Path) -> None:
    fakes.ck48(tmp_path / "CK+48")
    data = CkPlus(tmp_path).load()
    assert counts(data) == {name: 12 for name in CLASSES if name != "neutral"}
    assert data.ids[0] == "anger/S010_001_00000015.png"
    assert set(data.subjects.tolist()) == {"S010", "S011", "S012", "S013"}
    assert data.sequences[:4].tolist() == ["S010_001", "S010_001", "S010_001", "S011_001"]
    assert np.unique(data.sequences, return_counts=True)[1].tolist() == [3] * 24
    last = CkPlus(tmp_path, peak_frames=1, contempt=True).load()
    assert counts(last) == {name: 4 for name in CLASSES if name != "neutral"} | {"contempt": 4}
    assert all(name.endswith("17.png") for name in last.ids)
    with pytest.raises(UserError, match="is CK\\+48, which has no neutral faces"):
        CkPlus(tmp_path, neutral=True).load()
    zipped = CkPlus(fakes.zipped(tmp_path, tmp_path.parent / "ck48.zip")).load()
    assert zipped.ids.tolist() == data.ids.tolist()


@pytest.mark.parametrize(
    ("text", "message"), [("", "holds ''"), ("happy", "holds 'happy'"), ("8.0", "holds '8.0'"), ("1.5", "0 to 7")]
)
def test_a_wrong_emotion_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    fakes.ckplus(tmp_path)
    write(tmp_path / "Emotion/S005/001/S005_001_00000012_emotion.txt", text)
    with pytest.raises(UserError, match=rf"S005_001_00000012_emotion.txt .*{message}"):
        CkPlus(tmp_path).load()


def test_sequences_that_do_not_fit_their_labels(tmp_path: Path) -> None:
    fakes.ckplus(tmp_path, frames=3)
    with pytest.raises(UserError, match="the sequence S005_001 has only 3 frames, not 3 at the peak and a neutral one"):
        CkPlus(tmp_path, peak_frames=3).load()
    with pytest.raises(UserError, match="peak_frames=0 is impossible"):
        CkPlus(tmp_path, peak_frames=0)
    label = write(tmp_path / "Emotion/S099/001/S099_001_00000012_emotion.txt", "1.0")
    with pytest.raises(UserError, match=r"S099_001_00000012_emotion.txt labels a sequence that has no frames"):
        CkPlus(tmp_path).load()
    label.unlink()
    write(tmp_path / "Emotion/S005/001/S005_001_00000001_emotion.txt", "5.0")
    with pytest.raises(UserError, match="another file calls the sequence S005_001"):
        CkPlus(tmp_path).load()


def test_ckplus_without_labels(tmp_path: Path) -> None:
    fakes.ckplus(tmp_path, labels=[])
    with pytest.raises(UserError, match=r"has cohn-kanade-images but no label in Emotion/"):
        CkPlus(tmp_path).load()


# JAFFE and folders


@pytest.mark.parametrize("suffix", [".tiff", ".jpg", ".png"])
def test_jaffe_reads_the_file_names(tmp_path: Path, suffix: str) -> None:
    fakes.jaffe(tmp_path / "jaffe", suffix=suffix)
    write(tmp_path / "jaffe" / "montage.png", encoded(picture(0)))
    data = Jaffe(tmp_path).load()
    assert counts(data) == dict.fromkeys(CLASSES, 8)
    assert data.ids[0] == f"KA.AN1.1{suffix}"
    assert {name: int((data.subjects == name).sum()) for name in ("KA", "KL", "KM", "KR")} == dict.fromkeys(
        ("KA", "KL", "KM", "KR"), 14
    )
    zipped = Jaffe(fakes.zipped(tmp_path, tmp_path.parent / "jaffe.zip")).load()
    assert zipped.ids.tolist() == data.ids.tolist()


def test_a_folder_of_classes(tmp_path: Path) -> None:
    fakes.folder(tmp_path / "data", ("Surprised", "Anger", "bored", "happiness", "awe"), 3)
    data = Folder(tmp_path).load()
    assert data.class_names == ("angry", "happy", "surprise", "awe", "bored")
    assert counts(data) == dict.fromkeys(data.class_names, 3)
    assert data.usage is None
    assert data.subjects is None
    assert data.ids[0] == "Anger/0.png"
    zipped = Folder(fakes.zipped(tmp_path, tmp_path.parent / "folder.zip")).load()
    assert zipped.ids.tolist() == data.ids.tolist()


@pytest.mark.parametrize(
    ("parts", "usages"),
    [
        (("train", "valid", "test"), {TRAINING: 10, PUBLIC: 10, PRIVATE: 10}),
        (("train", "test"), {TRAINING: 10, "Test": 10}),
        (("train", "validation"), {TRAINING: 10, PUBLIC: 10}),
    ],
)
def test_a_folder_of_parts(tmp_path: Path, parts: tuple[str, ...], usages: dict[str, int]) -> None:
    for part in parts:
        fakes.folder(tmp_path / "data" / part, ("sad", "happy"), 5)
    data = Folder(tmp_path).load()
    assert {name: data.usage.tolist().count(name) for name in set(data.usage.tolist())} == usages
    assert data.class_names == ("happy", "sad")
    assert data.ids[0].startswith(min(parts) + "/happy/")


def test_an_empty_class_folder_is_a_class_and_changes_the_fingerprint(tmp_path: Path) -> None:
    fakes.folder(tmp_path, ("sad", "happy"), 5)
    before = Folder(tmp_path).fingerprint()
    (tmp_path / "fear").mkdir()
    assert Folder(tmp_path).fingerprint() != before
    assert counts(Folder(tmp_path).load()) == {"fear": 0, "happy": 5, "sad": 5}


# All of them


@EMPTY_ROOTS
def test_a_missing_or_wrong_root_is_one_sentence(tmp_path: Path, source: type) -> None:
    with pytest.raises(UserError, match=rf"dataset={source.name} needs dataset.root=PATH, where PATH holds"):
        source(None).fingerprint()
    with pytest.raises(UserError, match=r"dataset.root=.*/nowhere does not exist: it must hold"):
        source(tmp_path / "nowhere").fingerprint()
    write(tmp_path / "wrong" / "music" / "song.mp3", "la")
    with pytest.raises(UserError, match=rf"dataset.root=.*/wrong holds no {source.name} data: it must hold"):
        source(tmp_path / "wrong").load()


def test_the_search_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.jaffe(tmp_path / "1" / "2" / "3" / "4")
    with pytest.raises(UserError, match="holds no jaffe data"):
        Jaffe(tmp_path).locate()
    assert Jaffe(tmp_path / "1").locate() == tmp_path / "1/2/3/4"
    monkeypatch.setattr(files, "SEARCH_LIMIT", 2)
    with pytest.raises(UserError, match="holds too many folders"):
        Jaffe(tmp_path / "1").locate()


@pytest.mark.parametrize("data", [b"", b"no image", encoded(picture(0))[:-300], encoded(picture(0), ".jpg")[:-300]])
def test_an_unreadable_image_is_named(tmp_path: Path, data: bytes) -> None:
    root = fakes.folder(tmp_path, ("happy", "sad"), 200)
    write(root / "sad" / "137.png", data)
    with pytest.raises(UserError, match=r"cannot read the image sad/137.png: .* \(`fersweep data folder` lists every"):
        Folder(root).load()


def test_two_copies_in_one_place_are_refused(tmp_path: Path) -> None:
    fakes.jaffe(tmp_path / "files" / "a")
    fakes.jaffe(tmp_path / "files" / "b")
    with pytest.raises(UserError, match=r"holds KA.AN1.1.tiff several times"):
        Jaffe(fakes.zipped(tmp_path / "files", tmp_path / "jaffe.zip")).load()


def test_a_fingerprint_knows_the_decoded_form_but_not_the_place(tmp_path: Path) -> None:
    first = fakes.fer2013_zip(tmp_path / "a" / "fer2013.zip")
    second = tmp_path / "other name.zip"
    second.write_bytes(first.read_bytes())
    assert Fer2013(first).fingerprint() == Fer2013(second).fingerprint()
    assert len({Fer2013(first, size, channels).fingerprint() for size in (48, 64) for channels in (1, 3)}) == 4
    before = Fer2013(first).fingerprint()
    with zipfile.ZipFile(first, "a") as file:
        file.writestr("train/happy/Training_x.png", encoded(picture(1)))
    assert Fer2013(first).fingerprint() != before


# Decoding


def test_colour_becomes_grey_as_opencv_weighs_it(tmp_path: Path) -> None:
    colour = picture(3, channels=3)
    decoded = images.decode(encoded(colour))
    assert np.array_equal(decoded, colour)
    grey = images.to_channels(decoded, 1)
    assert np.array_equal(grey, cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY))
    weighed = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - weighed).max() <= 0.51
    assert np.array_equal(images.to_channels(grey, 3), np.repeat(grey[..., None], 3, axis=2))
    folder = fakes.folder(tmp_path, ("happy", "sad"), 1)
    write(folder / "sad" / "0.png", encoded(colour))
    data = Folder(folder, channels=3).load()
    assert np.array_equal(data.images[1], colour)
    assert np.array_equal(data.images[0], np.repeat(picture(0)[..., None], 3, axis=2))


def test_large_images_shrink_by_area_and_small_ones_grow() -> None:
    large = picture(1, (96, 144))
    small = images.resize(large, 48)
    assert np.abs(small - large.reshape(48, 2, 48, 3).mean((1, 3))).max() <= 0.51
    assert images.resize(small, 96).shape == (96, 96)
    assert images.resize(small, 48) is small


def test_unusual_pixels(tmp_path: Path) -> None:
    def through(image: Image.Image, name: str = "x.png", **options: object) -> np.ndarray:
        image.save(tmp_path / name, **options)  # type: ignore[arg-type]
        return images.decode((tmp_path / name).read_bytes())

    grey = picture(2)
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(through(Image.fromarray(deep)), grey)
    assert np.array_equal(through(Image.fromarray(deep), "x.tiff"), grey)
    colours = Image.fromarray(picture(2, channels=3)).quantize(16)
    assert np.array_equal(through(colours), np.asarray(colours.convert("RGB")))
    bits = Image.fromarray(grey).convert("1")
    assert set(np.unique(through(bits))) <= {0, 255}
    clear = np.dstack([picture(2, channels=3), np.zeros((48, 48), np.uint8)])
    clear[:24, :, 3] = 255
    decoded = through(Image.fromarray(clear))
    assert np.array_equal(decoded[:24], clear[:24, :, :3])
    assert (decoded[24:] == 255).all()
    both = through(Image.merge("LA", [Image.fromarray(grey), Image.new("L", (48, 48), 255)]))
    assert np.array_equal(both, grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    assert through(Image.fromarray(picture(2, (20, 40))), "x.png", exif=turned).shape == (40, 20)
    with pytest.raises(images.UnreadableImageError, match="floating-point"):
        through(Image.fromarray(grey.astype(np.float32)), "f.tiff")
