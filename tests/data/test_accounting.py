"""The account of a dataset's files: everything that is not read has a reason, and missing images an exit code."""

import json
from collections.abc import Callable
from pathlib import Path

import fakes
import fakes_wild
import pytest
from fakes import encoded, picture, write

from fersweep import build
from fersweep.cli import main as cli
from fersweep.config.compose import compose_config
from fersweep.data.accounting import LeftOut
from fersweep.data.audit import audit
from fersweep.data.sources.affectnet import AffectNet
from fersweep.data.sources.base import ImageFiles
from fersweep.data.sources.ckplus import CkPlus
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.jaffe import Jaffe
from fersweep.data.sources.rafdb import RafDb

PARTED = tuple(f"{part}/{name}" for part in ("train", "test") for name in ("happy", "sad"))
NO_PART = "not a usual name of a part, as train, val or test"
SAVE = "pictures: save them as PNG or JPEG"


def left(source: ImageFiles) -> list[tuple[str, str, bool]]:
    return [(each.what, each.why, each.missing) for each in source.left_out()]


def test_every_file_that_is_not_read_has_a_reason(tmp_path: Path) -> None:
    root = fakes.folder(tmp_path / "data", PARTED, 2)
    for name in ("README", "Thumbs.db", ".DS_Store", "train/labels.csv", "train/happy/notes.txt", "._1.png"):
        write(root / name, "text")
    assert left(Folder(root)) == []
    fakes.folder(root, ("holdout/angry", "holdout/{x}", "test"), 3)
    for name in ("a.mp4", "b.mp4", "train/happy/1.HEIC", "train/happy/2.heic", "0"):
        write(root / name, "no image")
    write(root / "train/sad/face", encoded(picture(1)))
    write(root / "cover.png", encoded(picture(2)))
    expected = [
        ("6 images in holdout/", NO_PART, True),
        ("3 images in test/", "in none of its class folders", True),
        ("2 .heic files", SAVE, True),
        ("1 image beside the folders of parts", "", True),
        ("2 .mp4 files", "", False),
    ]
    assert left(Folder(root)) == [*expected, ("2 files without a suffix", "", False)]
    (root / "0").unlink()
    assert ("1 file without a suffix", SAVE, True) in left(Folder(root))
    zipped = Folder(fakes.zipped(root, tmp_path / "x.zip", "top/"))
    assert sorted(left(zipped)) == sorted(left(Folder(root)))
    (root / "train" / "sad" / "9.png").symlink_to(tmp_path / "lost.png")
    assert ("1 link to files that do not exist", "", True) in left(Folder(root))


def test_classes_that_are_not_listed_are_left_out_but_not_missing(tmp_path: Path) -> None:
    root = fakes.folder(tmp_path, (*PARTED, "train/bored", "test/bored"), 2)
    assert left(Folder(root, classes=["happy", "sad"])) == [
        ("2 images in test/bored/", "not in dataset.source.classes", False),
        ("2 images in train/bored/", "not in dataset.source.classes", False),
    ]


SOURCES: dict[str, tuple[Callable[[Path], Path], type[ImageFiles]]] = {
    "fer2013": (fakes.fer2013_folder, Fer2013),
    "csv": (lambda root: fakes.fer2013_csv(root / "fer2013.csv").parent, Fer2013),
    "ckplus": (fakes.ckplus, CkPlus),
    "jaffe": (fakes.jaffe, Jaffe),
    "folder": (lambda root: fakes.folder(root, PARTED), Folder),
    "rafdb": (lambda root: fakes_wild.rafdb(root) / "basic", RafDb),
    "affectnet": (fakes_wild.affectnet_files, AffectNet),
}


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "csv"])
def test_no_source_leaves_out_images_in_silence(tmp_path: Path, name: str) -> None:
    make, source = SOURCES[name]
    root = make(tmp_path / "data")
    assert [each for each in source(root).left_out() if each.missing] == []
    write(root / "extra" / "more" / "x.png", encoded(picture(7)))
    (found,) = (each for each in source(root).left_out() if each.missing)
    assert (found.what, found.files, found.example) == ("1 image in extra/", 1, "extra/more/x.png")
    report = audit(source(root))
    assert LeftOut(**report["left_out"][0]) == found
    assert any(problem.startswith("Not read: 1 image in extra/") for problem in report["problems"])


def test_a_table_is_read_whole(tmp_path: Path) -> None:
    make, source = SOURCES["csv"]
    assert source(make(tmp_path)).left_out() == []


def test_frames_that_are_not_chosen_are_not_missing(tmp_path: Path) -> None:
    found = CkPlus(fakes.ckplus(tmp_path)).left_out()
    assert [(each.missing, each.what.endswith("of its sequences")) for each in found] == [(False, True)]


def test_missing_images_give_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fakes.folder(tmp_path / "data", PARTED, 2)
    write(root / "film.mp4", "no image")
    arguments = ["data", "folder", "--root", str(root)]
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == [
        {"what": "1 .mp4 file", "why": "", "files": 1, "example": "film.mp4", "missing": False}
    ]
    fakes.folder(root, ("holdout",), 3)
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert "3 images in holdout/" in printed.out
    assert printed.err == "incomplete: 3 images not read\n"
    line, missing = build.left_out(compose_config(["dataset=folder", "split=official", f"dataset.root={root}"]))
    assert missing
    assert line == f"not read: 3 images in holdout/ ({NO_PART}), 1 .mp4 file; `fersweep data folder` names them"
    assert build.left_out(compose_config([])) == ("", False)


def test_a_line_names_the_first_kinds(tmp_path: Path) -> None:
    root = fakes.folder(tmp_path, (*PARTED, *(f"other{k}" for k in range(9))), 1)
    line, _ = build.left_out(compose_config(["dataset=folder", "split=official", f"dataset.root={root}"]))
    assert line.count("1 image in other") == 5
    assert "and 4 more kinds; `fersweep data folder`" in line


@pytest.mark.parametrize("zipped", [False, True])
def test_images_beside_those_in_several_places_are_counted(tmp_path: Path, zipped: bool) -> None:
    images = sorted(fakes.jaffe(tmp_path / "all").glob("*.tiff"))
    for index, image in enumerate(images):
        write(tmp_path / "x" / str(index % 2) / image.name, image.read_bytes())
    write(tmp_path / "x" / "1" / "sub" / "montage.png", encoded(picture(0)))
    if zipped:
        for place in "01":
            fakes.zipped(tmp_path / "x" / place, tmp_path / "z" / f"{place}.zip")
    source = Jaffe(tmp_path / ("z" if zipped else "x"))
    assert len(source.records()) == len(images)
    assert [(each.example, each.missing) for each in source.left_out()] == [
        ("1.zip/sub/montage.png" if zipped else "1/sub/montage.png", True)
    ]
