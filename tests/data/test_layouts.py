"""Every wrapping in which people have JAFFE, CK+, CK+48 and FER2013.

Each is read as the plain folder is, or refused with advice that works.
"""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import fakes
import numpy as np
import pytest
from fakes import encoded, picture, write

from fersweep.cli.main import main
from fersweep.data import cache
from fersweep.data.sources.base import ImageFiles
from fersweep.data.sources.ckplus import CkPlus
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.jaffe import Jaffe
from fersweep.errors import UserError
from fersweep.faces import pictures

CODES = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
PLAIN: dict[str, tuple[type[ImageFiles], Callable[[Path], Path]]] = {
    "jaffe": (Jaffe, fakes.jaffe),
    "ckplus": (CkPlus, lambda root: fakes.ckplus(root, unlabelled=1, frames=2)),
    "ck48": (CkPlus, lambda root: fakes.ck48(root, per_class=2)),
    "fer2013": (Fer2013, lambda root: fakes.fer2013_folder(root, 2, 1, 1)),
}
"""Source and plain layout of each dataset."""


def plain(name: str, root: Path) -> Path:
    PLAIN[name][1](root)
    return root


def sorted_into(root: Path, place: Callable[[Path], str]) -> None:
    """Move every file into the folder that ``place`` names, relative to ``root``."""
    for path in [path for path in root.rglob("*") if path.is_file() and path.suffix in (".tiff", ".png")]:
        target = root / place(path) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def jaffe_by_class(root: Path) -> None:
    sorted_into(plain("jaffe", root), lambda path: CODES[path.name[3:5]])


def jaffe_by_person(root: Path) -> None:
    sorted_into(plain("jaffe", root), lambda path: path.name[:2])


def jaffe_by_part_and_class(root: Path) -> None:
    part = {"KA": "test"}
    sorted_into(plain("jaffe", root), lambda path: f"{part.get(path.name[:2], 'train')}/{CODES[path.name[3:5]]}")


def jaffe_zip(root: Path) -> None:
    fakes.zipped(plain("jaffe", root.parent / "source"), root / "jaffedbase.zip", "jaffe/")


def jaffe_zip_by_class(root: Path) -> None:
    jaffe_by_class(root.parent / "source")
    fakes.zipped(root.parent / "source", root / "jaffe.zip")


def jaffe_zips_of_people(root: Path) -> None:
    jaffe_by_person(root.parent / "source")
    for folder in (root.parent / "source").iterdir():
        if folder.is_dir():
            fakes.zipped(folder, root / f"{folder.name}.zip")


def halves(root: Path) -> tuple[Path, Path]:
    source = plain("ckplus", root / "source")
    return source / "cohn-kanade-images", source / "Emotion"


def ckplus_two_zips(root: Path) -> None:
    frames, labels = halves(root.parent)
    fakes.zipped(frames, root / "extended-cohn-kanade-images.zip", "cohn-kanade-images/")
    fakes.zipped(labels, root / "Emotion_labels.zip", "Emotion/")


def ckplus_unpacked_apart(root: Path) -> None:
    frames, labels = halves(root.parent)
    shutil.copytree(frames, root / "extended-cohn-kanade-images" / "cohn-kanade-images")
    shutil.copytree(labels, root / "Emotion_labels" / "Emotion")


def ckplus_one_unpacked(root: Path) -> None:
    frames, labels = halves(root.parent)
    shutil.copytree(frames, root / "cohn-kanade-images")
    fakes.zipped(labels, root / "Emotion_labels.zip", "Emotion/")


def ckplus_unpacked_beside_its_zips(root: Path) -> None:
    ckplus_two_zips(root)
    plain("ckplus", root / "CK+")


def ckplus_one_zip(root: Path) -> None:
    fakes.zipped(plain("ckplus", root.parent / "source"), root / "CK+.zip", "CK+/")


def in_parts(root: Path) -> Path:
    sorted_into(
        plain("ck48", root), lambda path: f"{'test' if path.name.startswith('S010') else 'train'}/{path.parent.name}"
    )
    for folder in [folder for folder in root.iterdir() if folder.name not in ("train", "test")]:
        folder.rmdir()
    return root


def ck48_in_parts(root: Path) -> None:
    in_parts(root / "CK+48")


def ck48_zip_of_parts(root: Path) -> None:
    fakes.zipped(in_parts(root.parent / "source"), root / "ck48.zip")


def fer2013_tar(root: Path) -> None:
    source = plain("fer2013", root.parent / "source")
    root.mkdir()
    with tarfile.open(root / "fer2013.tar.gz", "w:gz") as file:
        file.add(source, "fer2013")


def fer2013_zip(root: Path) -> None:
    fakes.zipped(plain("fer2013", root.parent / "source"), root / "archive.zip", "archive/")


def fer2013_by_usage(root: Path) -> None:
    source = plain("fer2013", root.parent / "source")
    for path in source.rglob("*.png"):
        target = root / path.name.partition("_")[0] / path.parent.name.title() / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def fer2013_zip_by_usage(root: Path) -> None:
    fer2013_by_usage(root.parent / "sorted")
    fakes.zipped(root.parent / "sorted", root / "fer2013.zip", "FER2013/")


READ: list[tuple[str, Callable[[Path], None]]] = [
    *(("jaffe", make) for make in (jaffe_by_class, jaffe_by_person, jaffe_by_part_and_class)),
    *(("jaffe", make) for make in (jaffe_zip, jaffe_zip_by_class, jaffe_zips_of_people)),
    *(("ckplus", make) for make in (ckplus_two_zips, ckplus_unpacked_apart, ckplus_one_unpacked, ckplus_one_zip)),
    ("ckplus", ckplus_unpacked_beside_its_zips),
    *(("ck48", make) for make in (ck48_in_parts, ck48_zip_of_parts)),
    *(("fer2013", make) for make in (fer2013_tar, fer2013_zip)),
]


@pytest.mark.parametrize(("name", "make"), READ, ids=lambda value: getattr(value, "__name__", value))
def test_a_layout_is_read_as_the_plain_one_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, make: Callable[[Path], None]
) -> None:
    source = PLAIN[name][0]
    expected = source(plain(name, tmp_path / "plain")).load()
    root = tmp_path / "other" / "data"
    root.parent.mkdir()
    make(root)

    data = cache.load(source(root), tmp_path / "cache")
    assert data.ids.tolist() == expected.ids.tolist()
    assert np.array_equal(data.images, expected.images)
    for field, values in expected.columns().items():
        assert np.array_equal(data.columns()[field], values), field
    assert source(root).fingerprint() == source(root).fingerprint()
    assert len(list((tmp_path / "cache").glob(f"{source.name}-*/images.npy"))) == 1

    main(["data", source.name, "--root", str(root), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["total"], report["unreadable"]) == (len(expected), [])
    assert [left for left in report["left_out"] if left["missing"] or left["example"].endswith((".zip", ".gz"))] == []
    assert Path(report["path"]).is_relative_to(root)

    if not any(path.suffix in (".zip", ".gz") for path in root.iterdir()):
        shown = {path.name for path in pictures.find(root)}
        assert {identity.rpartition("/")[2] for identity in expected.ids} <= shown


def two_jaffes_by_class(root: Path) -> None:
    jaffe_by_class(root / "a")
    jaffe_by_class(root / "b")


def a_zip_beside_class_folders(root: Path) -> None:
    jaffe_by_class(root / "sorted")
    fakes.zipped(root / "sorted", root / "jaffe.zip")


def original_and_cropped(root: Path) -> None:
    plain("ckplus", root / "CK+")
    shutil.copytree(root / "CK+" / "cohn-kanade-images" / "S005" / "001", root / "CK+48" / "anger")
    shutil.copytree(root / "CK+" / "cohn-kanade-images" / "S006" / "001", root / "CK+48" / "fear")


@pytest.mark.parametrize(
    ("source", "make", "choices"),
    [
        (Jaffe, two_jaffes_by_class, ("a", "b")),
        (Jaffe, a_zip_beside_class_folders, ("jaffe.zip", "sorted")),
        (CkPlus, original_and_cropped, ("CK+", "CK+48")),
    ],
)
def test_copies_are_refused_and_each_choice_works(
    tmp_path: Path, source: type[ImageFiles], make: Callable[[Path], None], choices: tuple[str, ...]
) -> None:
    make(tmp_path / "d")
    listed = ", ".join(str(tmp_path / "d" / choice) for choice in choices)
    with pytest.raises(UserError, match=f"holds {source.name} data 2 times: set dataset.root to one of ") as refused:
        source(tmp_path / "d").load()
    assert str(refused.value).endswith(listed)
    for choice in choices:
        options = {"peak_frames": 1} if choice == "CK+48" else {}
        assert len(source(tmp_path / "d" / choice, **options).records()) > 1


def test_one_file_in_two_class_folders_is_named(tmp_path: Path) -> None:
    jaffe_by_class(tmp_path)
    shutil.copy(tmp_path / "happy" / "KA.HA1.7.tiff", tmp_path / "sad")
    with pytest.raises(UserError, match=r"holds KA.HA1.7 twice, in .*/happy and in .*/sad: keep one of them$"):
        Jaffe(tmp_path).locate()
    (tmp_path / "sad" / "KA.HA1.7.tiff").unlink()
    assert len(Jaffe(tmp_path).records()) == 56


def test_half_of_ckplus_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    for make in (ckplus_two_zips, ckplus_unpacked_apart):
        root = tmp_path / make.__name__ / "data"
        root.parent.mkdir()
        make(root)
        first, second = (next(root.glob(pattern)) for pattern in ("extended*", "Emotion*"))
        with pytest.raises(UserError, match=r"no label in Emotion/: put Emotion_labels.zip, .* set dataset.root to"):
            CkPlus(first).load()
        with pytest.raises(UserError, match=r"labels of CK\+ but no image: put extended-cohn-kanade-images.zip"):
            CkPlus(second).load()


def test_unrelated_files_join_nothing(tmp_path: Path) -> None:
    plain("jaffe", tmp_path / "jaffe")
    write(tmp_path / "holidays" / "KA.AN.1.png", encoded(picture(1)))
    write(tmp_path / "emotion" / "notes.txt", "sad")
    assert Jaffe(tmp_path).locate() == tmp_path / "jaffe"
    with pytest.raises(UserError, match="holds no ckplus data"):
        CkPlus(tmp_path).locate()


@pytest.mark.parametrize("make", [fer2013_by_usage, fer2013_zip_by_usage])
def test_fer2013_sorted_by_all_three_parts(tmp_path: Path, make: Callable[[Path], None]) -> None:
    expected = Fer2013(plain("fer2013", tmp_path / "plain")).load()
    make(tmp_path / "a" / "data")
    data = Fer2013(tmp_path / "a" / "data").load()
    names = [name.rpartition("/")[2] for name in data.ids.tolist()]
    order = np.argsort(names)
    first = np.argsort([name.rpartition("/")[2] for name in expected.ids.tolist()])
    assert np.array_equal(data.images[order], expected.images[first])
    assert data.usage[order].tolist() == expected.usage[first].tolist()
    assert data.labels[order].tolist() == expected.labels[first].tolist()
    table = fakes.fer2013_csv(tmp_path / "a" / "data" / "fer2013.csv", rows=7)
    assert Fer2013(tmp_path / "a" / "data").locate() == table  # as before such folders were read


def test_files_around_joined_places_are_accounted_for(tmp_path: Path) -> None:
    ckplus_two_zips(tmp_path / "data")
    write(tmp_path / "data" / "holdout" / "S999_001_00000001.png", encoded(picture(1)))
    source = CkPlus(tmp_path / "data")
    (missing,) = [left for left in source.left_out() if left.missing]
    assert (missing.files, missing.example) == (1, "holdout/S999_001_00000001.png")
