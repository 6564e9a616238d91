"""KDEF: labels, people and angles by name, and the counts of a complete copy."""

import zipfile
from itertools import product
from pathlib import Path

import fakes
import fakes_wild
import pytest
from fakes import encoded, picture, write

from fersweep.data import splits
from fersweep.data.samples import CLASSES
from fersweep.data.sources.kdef import ANGLES, CODES, Kdef
from fersweep.errors import UserError


def test_names_hold_labels_people_and_angles(tmp_path: Path) -> None:
    root = fakes_wild.kdef(tmp_path)
    data = Kdef(root).load()
    assert fakes.class_counts(data) == dict.fromkeys(CLASSES, 4)
    assert (data.ids[0], CLASSES[data.labels[0]], data.subjects[0]) == ("AF01AFS.JPG", "fear", "F01")
    assert sorted(set(data.subjects.tolist())) == ["F01", "F02", "M01", "M02"]
    split = splits.subjects(data)
    assert not set(data.subjects[split.train]) & set(data.subjects[split.test])
    both = Kdef(root, angles=["hl", "S"])
    assert len(both.load()) == 56
    assert Kdef(root, angles=["S", "HL"]).fingerprint() == both.fingerprint() != Kdef(root).fingerprint()


def test_other_angles_and_averaged_faces_are_not_missing(tmp_path: Path) -> None:
    archive = fakes.zipped(fakes_wild.kdef(tmp_path / "d"), tmp_path / "KDEF_and_AKDEF.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("AKDEF/FAFHL.JPG", encoded(picture(1)))
        file.writestr("holiday.jpg", encoded(picture(2)))
    assert [(str(left), left.missing) for left in Kdef(archive).left_out()] == [
        ("1 image in no folder", True),
        ("28 images of other angles (by dataset.source.angles)", False),
        ("1 image of AKDEF (averages of all women or men, who are no subjects)", False),
    ]


@pytest.mark.parametrize(
    ("angles", "message"),
    [
        (["S", "H"], r"angles lists H: choose S \(straight\), HL and HR"),
        ("S", r"angles=S is no list: write it like \[S,HL,HR\]"),
        ([], r"angles=\[\] is no list"),
    ],
)
def test_angles_that_do_not_exist(angles: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Kdef("x", angles=angles)


def test_angles_of_which_there_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has no picture of dataset.source.angles=\[FL, FR\]: choose others, or add them"
    ):
        Kdef(fakes_wild.kdef(tmp_path), angles=["FR", "FL"]).load()


def test_the_counts_are_those_of_the_authors(tmp_path: Path) -> None:
    """kdef.se: 70 people, seven expressions, each photographed twice from five angles; two names are incomplete."""
    people = [f"{sex}{number:02d}" for sex in "FM" for number in range(1, 36)]
    names = {"".join(each) for each in product("AB", people, CODES, ANGLES)}
    assert len(names) == 4_900
    names = names - {"AF31SAHL", "AM31SUHR"} | {"AF31V", "AM31H"}
    with zipfile.ZipFile(tmp_path / "KDEF.zip", "w") as file:
        for name in sorted(names):
            file.writestr(f"KDEF/{name[:4]}/{name}.JPG", "")
    for angles, images in ((None, 980), (ANGLES, 4_900)):
        source = Kdef(tmp_path, angles=angles)
        records = source.records()
        assert all(found == expected for _, found, expected in source.checks(records))
        assert (len(records), source.checks(records)[1][1]) == (images, 70)


def test_a_file_in_two_folders_is_named(tmp_path: Path) -> None:
    root = fakes_wild.kdef(tmp_path)
    write(root / "KDEF" / "BF01" / "AF01AFS.JPG", encoded(picture(1)))
    with pytest.raises(UserError, match=r"holds AF01AFS twice, in .*/AF01 and in .*/BF01: keep one of them"):
        Kdef(root).load()
