"""Every wrapping in which people have JAFFE, CK+, CK+48 and FER2013.

Each is read as the plain folder is, or refused with advice that works.
"""

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import data_layouts_wild  # noqa: F401 (its layouts)
import fakes
import numpy as np
import pytest
from conftest import REPOSITORY
from data_layouts import (
    OTHER_IDS,
    PLAIN,
    READ,
    REFUSED,
    Make,
    ckplus_two_zips,
    ckplus_unpacked_apart,
    jaffe_by_class,
    plain,
)
from data_layouts_parts import fer2013_by_usage, fer2013_split_zips
from fakes import encoded, picture, write

from fersweep.cli.main import main
from fersweep.data import cache
from fersweep.data.audit import audit
from fersweep.data.datamodule import FERDataModule
from fersweep.data.samples import Samples
from fersweep.data.sources.base import ImageFiles
from fersweep.data.sources.ckplus import CkPlus
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.jaffe import Jaffe
from fersweep.data.splits import Split
from fersweep.errors import UserError
from fersweep.faces import pictures


def content(data: Samples) -> list[tuple[object, ...]]:
    """What is known of each image, whatever it is called."""
    columns = [data.subjects, data.sequences, data.usage]
    known = [[""] * len(data) if column is None else column.tolist() for column in columns]
    classes = [data.class_names[label] for label in data.labels]
    return sorted(zip([image.tobytes() for image in data.images], classes, *known, strict=True))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Samples]:
    """The plain layout of a dataset, read once."""

    @functools.cache
    def load(name: str) -> Samples:
        return PLAIN[name][0](plain(name, tmp_path_factory.mktemp("plain") / name)).load()

    return load


def made(tmp_path: Path, make: Make) -> Path:
    root = tmp_path / "other" / "data"
    root.parent.mkdir()
    make(root)
    return root


@pytest.mark.parametrize(("name", "row"), READ)
def test_a_layout_is_read_as_the_plain_one_by_every_command(
    tmp_path: Path, expected: Callable[[str], Samples], name: str, row: str
) -> None:
    source, plainly = PLAIN[name][0], expected(name)
    root = made(tmp_path, READ[name, row])
    data = cache.load(source(root), tmp_path / "cache")
    assert content(data) == content(plainly)
    if (name, row) not in OTHER_IDS:
        assert data.ids.tolist() == plainly.ids.tolist()
    assert source(root).fingerprint() == source(root).fingerprint()
    assert len(list((tmp_path / "cache").glob(f"{source.name}-*/images.npy"))) == 1

    every = np.arange(len(data))
    batches = list(
        FERDataModule(data, Split(every, every, every), None, batch_size=16, seed=1, workers=0).test_dataloader()
    )
    assert np.array_equal(np.concatenate([batch.images[:, 0] for batch in batches]), data.images)

    report = audit(source(root))
    assert (report["total"], report["unreadable"]) == (len(plainly), [])
    unread = [left for left in report["left_out"] if left["missing"] or left["example"].endswith((".zip", ".gz"))]
    assert [left for left in unread if "labels" not in left["example"] and "Landmarks" not in left["example"]] == []
    assert Path(report["path"]).is_relative_to(root)

    if not any(path.suffix in (".zip", ".gz", ".csv") for path in root.rglob("*")):
        shown = {path.name for path in pictures.find(root)}
        assert all(shown.intersection(identity.split("/")) for identity in data.ids.tolist())


@pytest.mark.parametrize(("name", "row"), REFUSED)
def test_a_layout_is_refused_with_what_to_do(tmp_path: Path, name: str, row: str) -> None:
    make, message = REFUSED[name, row]
    with pytest.raises(UserError) as error:
        PLAIN[name][0](made(tmp_path, make)).load()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in ("parts", "affectnet_tables", "ckextended")])
def test_the_command_counts_the_first_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], expected: Callable[[str], Samples], name: str
) -> None:
    root = made(tmp_path, next(make for (each, _), make in READ.items() if each == name))
    main(["data", PLAIN[name][0].name, "--root", str(root), "--json"])
    assert json.loads(capsys.readouterr().out)["total"] == len(expected(name))


def test_the_documentation_lists_the_layouts() -> None:
    text = (REPOSITORY / "docs" / "how-to" / "data.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Layouts that are read\n")
    listed = re.findall(r"^\| `(\w+)`[^|]* \| (.+?) \| (.*?) ?\|$", section.partition("\n## ")[0], re.MULTILINE)
    documented = {(name, row, bool(refused)) for name, row, refused in listed}
    called = {"ck48": "ckplus", "parts": "folder", "affectnet_tables": "affectnet", "ckextended": "ckplus"}
    assert documented == {(called.get(name, name), row, False) for name, row in READ} | {
        (called.get(name, name), row, True) for name, row in REFUSED
    }


def two_jaffes_by_class(root: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(jaffe_by_class(root.parent / name), root / name)


def a_zip_beside_class_folders(root: Path) -> None:
    shutil.copytree(jaffe_by_class(root.parent / "sorted"), root / "sorted")
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


def test_a_table_goes_before_folders_of_three_parts(tmp_path: Path) -> None:
    fer2013_by_usage(tmp_path / "a" / "data")
    table = fakes.fer2013_csv(tmp_path / "a" / "data" / "fer2013.csv", rows=7)
    assert Fer2013(tmp_path / "a" / "data").locate() == table  # as before such folders were read


def test_an_archive_of_one_part_is_read_if_it_is_named_or_nothing_lies_beside_it(tmp_path: Path) -> None:
    fer2013_split_zips(tmp_path / "data")
    assert set(Fer2013(tmp_path / "data" / "train.zip").load().usage.tolist()) == {"Training"}
    (tmp_path / "data" / "test.zip").unlink()
    assert set(Fer2013(tmp_path / "data").load().usage.tolist()) == {"Training"}


def test_files_around_joined_places_are_accounted_for(tmp_path: Path) -> None:
    ckplus_two_zips(tmp_path / "data")
    write(tmp_path / "data" / "holdout" / "S999_001_00000001.png", encoded(picture(1)))
    source = CkPlus(tmp_path / "data")
    (missing,) = [left for left in source.left_out() if left.missing]
    assert (missing.files, missing.example) == (1, "holdout/S999_001_00000001.png")
