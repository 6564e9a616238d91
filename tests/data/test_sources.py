"""JAFFE and class folders; search, archives, fingerprints and error messages of all sources."""

import re
import zipfile
from pathlib import Path

import fakes
import pytest
from fakes import encoded, picture, write

from fersweep.data import files, images
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING
from fersweep.data.sources.affectnet import AffectNet
from fersweep.data.sources.base import ImageFile, ImageFiles, as_records
from fersweep.data.sources.ckplus import CkPlus
from fersweep.data.sources.expw import ExpW
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.jaffe import Jaffe
from fersweep.data.sources.kdef import Kdef
from fersweep.data.sources.rafdb import RafDb
from fersweep.errors import UserError


@pytest.mark.parametrize("suffix", [".tiff", ".jpg", ".png"])
def test_jaffe_reads_the_file_names(tmp_path: Path, suffix: str) -> None:
    fakes.jaffe(tmp_path / "jaffe", suffix=suffix)
    write(tmp_path / "jaffe" / "montage.png", encoded(picture(0)))
    data = Jaffe(tmp_path).load()
    assert fakes.class_counts(data) == dict.fromkeys(CLASSES, 8)
    assert data.ids[0] == f"KA.AN1.1{suffix}"
    assert {name: int((data.subjects == name).sum()) for name in ("KA", "KL", "KM", "KR")} == dict.fromkeys(
        ("KA", "KL", "KM", "KR"), 14
    )
    zipped = Jaffe(fakes.zipped(tmp_path, tmp_path.parent / "jaffe.zip")).load()
    assert zipped.ids.tolist() == data.ids.tolist()


def test_a_folder_of_classes(tmp_path: Path) -> None:
    fakes.folder(tmp_path / "data", ("Surprised", "Anger", "bored", "happiness", "awe"), 3)
    chosen = ["surprised", "Anger", "Bored", "happiness", "awe"]
    data = Folder(tmp_path, classes=chosen).load()
    assert data.class_names == ("angry", "happy", "surprise", "awe", "bored")
    assert fakes.class_counts(data) == dict.fromkeys(data.class_names, 3)
    assert data.usage is None
    assert data.subjects is None
    assert data.ids[0] == "Anger/0.png"
    zipped = Folder(fakes.zipped(tmp_path, tmp_path.parent / "folder.zip"), classes=chosen).load()
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
    assert fakes.class_counts(Folder(tmp_path).load()) == {"fear": 0, "happy": 5, "sad": 5}


EMPTY_ROOTS = pytest.mark.parametrize("source", [Fer2013, CkPlus, Jaffe, Folder, RafDb, AffectNet, ExpW, Kdef])


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


def test_several_copies_are_named(tmp_path: Path) -> None:
    archive = fakes.fer2013_zip(tmp_path / "fer2013.zip")
    with pytest.raises(
        UserError, match=r"holds fer2013 data 2 times: set dataset.root to one of .*\.zip, .*-unpacked$"
    ):
        Fer2013(tmp_path).locate()
    assert Fer2013(archive).locate() == archive


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


class Own(ImageFiles):
    """All images of a folder, of one class, as a plugin might read them."""

    name = "own"

    def records(self) -> images.Records:
        tree = self.tree()
        return as_records(tree, ("a",), (ImageFile(name, name, 0) for name in reversed(tree.images())))


def test_by_default_a_source_is_its_root(tmp_path: Path) -> None:
    write(tmp_path / "other.zip", "not read")
    for index, name in enumerate(("2.png", "deep/1.png")):
        write(tmp_path / name, encoded(picture(index)))
    data = Own(tmp_path, image_size=24).load()
    assert data.ids.tolist() == ["2.png", "deep/1.png"]
    assert (data.images.shape, data.usage, data.subjects, data.sequences) == ((2, 24, 24), None, None, None)
    assert Own(tmp_path, channels=3).fingerprint() != Own(tmp_path).fingerprint()
    with pytest.raises(UserError, match=r"^dataset=own needs dataset.root=PATH, where PATH holds its folder"):
        Own().load()
    with pytest.raises(UserError, match=r"^dataset.root=.*/nowhere does not exist"):
        Own(tmp_path / "nowhere").load()


FINGERPRINTS = (
    (Fer2013, "45f098e4ca9061c4", "train/happy/Training_1.jpg test/sad/PublicTest_2.jpg notes.txt"),
    (Fer2013, "34c9ae017ef52456", "fer2013.csv"),
    (
        CkPlus,
        "119a2c927a3a7403",
        "CK+/cohn-kanade-images/S005/001/S005_001_00000011.png "
        "CK+/Emotion/S005/001/S005_001_00000011_emotion.txt README",
    ),
    (CkPlus, "f37931e1c1d75ef1", "anger/S010_001_00000015.png fear/S010_002_00000015.png"),
    (Jaffe, "87deea352df45de9", "jaffe/KA.AN1.39.tiff jaffe/README jaffe/montage.png"),
    (Folder, "85fa4622cbf482e1", "x/happy/1.png x/sad/2.png x/sad/notes.txt"),
    (Folder, "a343b5e0132e3781", "train/happy/1.png train/sad/1.png test/sad/2.png"),
)
"""Source, fingerprint in version 0.1.0, and files of an archive, whose contents are their names."""


@pytest.mark.parametrize(("source", "expected", "names"), FINGERPRINTS)
def test_fingerprints_stay_those_of_caches_on_disk(tmp_path: Path, source: type, expected: str, names: str) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        for name in names.split():
            file.writestr(name, name)
    assert source(tmp_path / "data.zip").fingerprint()[:16] == expected


def test_the_error_says_what_there_is_instead(tmp_path: Path) -> None:
    fakes.zipped(fakes.folder(tmp_path / "f", per_class=1), tmp_path / "x.zip")
    for index, name in enumerate(("a.npz", "b.npz", "notes.txt", "film.avi", "x\ny.doc", ".hidden")):
        write(tmp_path / "mixed" / str(index) / name, "text")
    for root, found in {
        "x.zip": "it holds 3 images, such as Anger/0.png: dataset=folder reads images in folders of classes",
        "f/sad/0.png": "this file is none of them",
        "mixed": "it holds 2 .npz files, 1 .txt file, 1 .avi file and 1 more kind, such as 0/a.npz: dataset=jaffe is "
        "read from files of images, not from tables",
    }.items():
        with pytest.raises(UserError, match=f"or a zip; {re.escape(found)}$"):
            Jaffe(tmp_path / root).locate()
