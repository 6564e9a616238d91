"""AffectNet: annotations as files and as tables, the codes that are no expressions, boxes, and what is missing."""

from pathlib import Path

import fakes
import fakes_wild
import numpy as np
import pytest
from fakes import encoded, picture, write

from fersweep.data.samples import CLASSES, CONTEMPT, TEST, TRAINING
from fersweep.data.sources.affectnet import COUNTS, AffectNet
from fersweep.errors import UserError


@pytest.mark.parametrize("contempt", [False, True])
def test_annotation_files_are_read(tmp_path: Path, contempt: bool) -> None:
    source = AffectNet(fakes_wild.affectnet_files(tmp_path), contempt=contempt)
    data = source.load()
    classes = (*CLASSES, CONTEMPT) if contempt else CLASSES
    assert fakes.class_counts(data) == dict.fromkeys(classes, 4)
    assert (data.ids[0], data.class_names[data.labels[0]], data.usage[0]) == (
        "train_set/images/0.jpg",
        "neutral",
        TRAINING,
    )
    assert {usage: (data.usage == usage).sum() for usage in (TRAINING, TEST)} == dict.fromkeys(
        (TRAINING, TEST), 2 * len(classes)
    )
    left = [(str(each), each.missing) for each in source.left_out() if "image" in each.what]
    assert left == [("4 images annotated as contempt (by dataset.source.contempt)", False)] * (not contempt)


@pytest.mark.parametrize("value", [3, 3.0, "3", np.str_("3.0")])
def test_a_number_may_be_stored_as_text_or_number(tmp_path: Path, value: object) -> None:
    root = fakes_wild.affectnet_files(tmp_path)
    fakes_wild.annotation(root / "train_set/annotations/0_exp.npy", value)
    data = AffectNet(root).load()
    assert CLASSES[data.labels[0]] == "surprise"


@pytest.mark.parametrize("value", ["sad", 11, -1, [1, 2], np.array({}, dtype=object)])
def test_a_damaged_annotation_is_named(tmp_path: Path, value: object) -> None:
    root = fakes_wild.affectnet_files(tmp_path)
    fakes_wild.annotation(root / "val_set/annotations/1_exp.npy", value)
    with pytest.raises(UserError, match=r"val_set/annotations/1_exp.npy holds no number of 0 to 10: copy it again$"):
        AffectNet(root).load()


@pytest.mark.parametrize("header", [True, False])
def test_tables_are_read_and_pictures_cut_to_their_boxes(tmp_path: Path, header: bool) -> None:
    root = fakes_wild.affectnet_tables(tmp_path, header=header)
    source = AffectNet(root)
    records = source.records()
    assert fakes.class_counts(source.load()) == dict.fromkeys(CLASSES, 4)
    assert sorted(set(records.usage.tolist())) == [TEST, TRAINING]
    assert records.ids[0] == "1/000000.jpg"
    whole = AffectNet(root, crop=False).records()
    assert (whole.read(0).shape, records.read(0).shape) == ((60, 80, 3), (30, 40, 3))
    assert np.array_equal(records.read(0), whole.read(0)[5:35, 10:50])
    assert AffectNet(root, crop=False).fingerprint() != source.fingerprint()
    assert [(str(each), each.missing) for each in source.left_out()] == [
        ("4 images annotated as contempt (by dataset.source.contempt)", False),
        ("4 images annotated as no face (no expression)", False),
        ("4 images annotated as none (no expression)", False),
        ("4 images annotated as uncertain (no expression)", False),
    ]


def test_lists_and_pictures_in_folders_of_their_own(tmp_path: Path) -> None:
    plain = AffectNet(fakes_wild.affectnet_tables(tmp_path / "a")).load()
    root = tmp_path / "b"
    for name in ("training.csv", "validation.csv"):
        write(root / "Manually_Annotated_file_lists" / name, (tmp_path / "a" / name).read_bytes())
    (root / "Manually_Annotated").mkdir()
    (tmp_path / "a" / "Manually_Annotated_Images").rename(root / "Manually_Annotated" / "Manually_Annotated_Images")
    data = AffectNet(root).load()
    assert data.ids.tolist() == plain.ids.tolist()
    assert np.array_equal(data.images, plain.images)
    with pytest.raises(UserError, match=r"has annotations of AffectNet but none of their pictures: put images/ beside"):
        AffectNet(root / "Manually_Annotated_file_lists").load()


def test_missing_pictures_are_named_but_not_those_of_no_expression(tmp_path: Path) -> None:
    root = fakes_wild.affectnet_tables(tmp_path)
    for name in ("2/000001.jpg", "3/000008.jpg"):
        (root / "Manually_Annotated_Images" / name).unlink()
    write(root / "Automatically_Annotated_Images" / "1" / "a.jpg", encoded(picture(1)))
    source = AffectNet(root)
    assert source.records().faults == (("2/000001.jpg", "it is annotated, but its picture is missing"),)
    assert ("1 image that people did not annotate", False) in [(each.what, each.missing) for each in source.left_out()]
    files = fakes_wild.affectnet_files(tmp_path / "files")
    (files / "val_set/images/3.jpg").unlink()
    write(files / "val_set/images/99.jpg", encoded(picture(1)))
    assert AffectNet(files).records().faults[0][0] == "val_set/images/3"
    assert ("1 image without an annotation", True) in [
        (each.what, each.missing) for each in AffectNet(files).left_out()
    ]


def test_settings_and_rows_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has faces that are cropped already: leave dataset.source.crop out$"):
        AffectNet(fakes_wild.affectnet_files(tmp_path / "a"), crop=True).load()
    root = fakes_wild.affectnet_tables(tmp_path / "b")
    with (root / "validation.csv").open("a") as file:
        file.write("1/abc.jpg,1,2,3,4,5;6,11,0,0\n")
    with pytest.raises(
        UserError, match=r"validation.csv line 24 is no row of AffectNet: it needs subdirectory_filepath"
    ):
        AffectNet(root).load()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "1/000000.jpg,5,5,40,30,,0,0,0",
            r"validation.csv line 24 repeats 1/000000.jpg of line 2 of training.csv: rem",
        ),
        (
            "1/abc.jpg,nan,5,40,30,,0,0,0",
            r"validation.csv line 24 has a box that is not of finite numbers: correct it$",
        ),
        ("1/abc.jpg,5,5,inf,30,,0,0,0", r"validation.csv line 24 has a box that is not of finite numbers: correct it$"),
        ("x" * 131_070, r"validation.csv line 24 is no row of AffectNet"),
    ],
)
def test_rows_that_repeat_a_picture_or_have_no_box_are_named(tmp_path: Path, line: str, message: str) -> None:
    root = fakes_wild.affectnet_tables(tmp_path)
    write(root / "Manually_Annotated_Images/1/abc.jpg", encoded(picture(1)))
    with (root / "validation.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=message):
        AffectNet(root).records()


def test_the_counts_are_those_of_the_paper(tmp_path: Path) -> None:
    """Mollahosseini et al., 2017: 287,651 training images of eight classes, 283,901 of seven."""
    assert (sum(COUNTS), sum(COUNTS[:7])) == (287_651, 283_901)
    seven = AffectNet(root := fakes_wild.affectnet_files(tmp_path))
    expected = {what: number for what, _, number in seven.checks(seven.records())}
    assert (expected["Training images"], expected["Training happy"], expected["Test images"]) == (
        283_901,
        134_415,
        3_500,
    )
    source = AffectNet(root, contempt=True)
    assert source.checks(source.records())[-1] == ("Test images", 16, 3_999)
    tables = AffectNet(fakes_wild.affectnet_tables(tmp_path / "tables"), contempt=True)
    assert tables.checks(tables.records())[-1] == ("Test images", 16, 4_000)
