"""RAF-DB: the lists, the kinds of pictures, what is missing, and the counts of the literature."""

import zipfile
from dataclasses import replace
from pathlib import Path

import fakes
import fakes_wild
import numpy as np
import pytest
from fakes import encoded, picture, write

from fersweep.data import files, splits
from fersweep.data.samples import CLASSES, TEST, TRAINING
from fersweep.data.sources.rafdb import CODES, COUNTS, RafDb
from fersweep.errors import UserError

LIST = "basic/EmoLabel/list_patition_label.txt"


def test_the_list_names_classes_and_the_names_say_the_part(tmp_path: Path) -> None:
    data = RafDb(fakes_wild.rafdb(tmp_path)).load()
    assert fakes.class_counts(data) == dict.fromkeys(CLASSES, 4)
    assert (data.ids[0], data.ids[-1], data.subjects, data.sequences) == (
        "test_0001_aligned.jpg",
        "train_00014_aligned.jpg",
        None,
        None,
    )
    assert [CLASSES[label] for label in data.labels[-7:]] == list(CODES)
    assert set(zip(data.usage.tolist(), [name[:4] for name in data.ids], strict=True)) == {
        (TRAINING, "trai"),
        (TEST, "test"),
    }


def test_original_pictures_are_read_whole_or_cut_to_their_box(tmp_path: Path) -> None:
    root = fakes_wild.rafdb(tmp_path)
    original, boxed = (RafDb(root, pictures=kind).records() for kind in ("original", "boxed"))
    whole = original.read(3)
    assert (whole.shape, boxed.read(3).shape) == ((120, 150, 3), (60, 60, 3))
    assert np.array_equal(boxed.read(3), whole[20:80, 30:90])
    assert len({RafDb(root, pictures=kind).fingerprint() for kind in ("aligned", "original", "boxed")}) == 3
    (left,) = RafDb(root, pictures="boxed").left_out()
    assert (str(left), left.files, left.missing) == (
        "28 images of the other kind (by dataset.source.pictures)",
        28,
        False,
    )
    before = RafDb(root, pictures="boxed").fingerprint()
    box = root / "basic/Annotation/boundingbox/train_00003_boundingbox.txt"
    write(box, "200 20 260 80 5")
    assert RafDb(root, pictures="boxed").fingerprint() != before
    with pytest.raises(
        UserError, match=r"train_00003_boundingbox.txt holds '200 20 260 80 5', and must hold left, top"
    ):
        RafDb(root, pictures="boxed").load()
    write(box, "200 20 260 80")
    with pytest.raises(
        UserError, match=r"image train_00003.jpg: its box 200, 20, 260, 80 .* is no part of its 150x120 pix"
    ):
        RafDb(root, pictures="boxed").load()
    box.unlink()
    with pytest.raises(UserError, match=r"has no train_00003_boundingbox.txt: put Annotation/boundingbox/ into it, or"):
        RafDb(root, pictures="boxed").load()


def test_a_kind_that_is_not_there_is_refused_with_the_one_that_is(tmp_path: Path) -> None:
    aligned = fakes_wild.rafdb(tmp_path / "a", kinds=("aligned",))
    with pytest.raises(
        UserError, match=r"28 aligned pictures: set dataset.source.pictures=aligned, or put Image/original"
    ):
        RafDb(aligned, pictures="boxed").load()
    original = fakes_wild.rafdb(tmp_path / "b", kinds=("original",))
    with pytest.raises(
        UserError, match=r"28 original pictures: set dataset.source.pictures=original, or put Image/alig"
    ):
        RafDb(original).load()
    with pytest.raises(UserError, match=r"pictures=alinged does not exist \(did you mean aligned\?\): choose aligned,"):
        RafDb(aligned, pictures="alinged")


@pytest.mark.parametrize("pictures", ["aligned", "boxed"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", rf"{LIST} has no row such as train_00001.jpg 5: copy or download the list again$"),
        (b"\x00\xff\x01", rf"{LIST} has no row such as train_00001.jpg 5"),
        (
            b"train_77777.jpg 5\n",
            r"basic has 28 (aligned|original) pictures, such as .*, but the lists name none: copy",
        ),
    ],
)
def test_a_list_at_fault_is_named_and_not_the_pictures(
    tmp_path: Path, text: bytes, message: str, pictures: str
) -> None:
    root = fakes_wild.rafdb(tmp_path)
    write(root / LIST, text)
    with pytest.raises(UserError, match=message):
        RafDb(root, pictures=pictures).records()


def test_missing_and_unlisted_pictures_are_named(tmp_path: Path) -> None:
    root = fakes_wild.rafdb(tmp_path, kinds=("aligned",))
    write(root / "basic/Image/aligned/train_99999_aligned.jpg", encoded(picture(1)))
    (left,) = RafDb(root).left_out()
    assert (left.what, left.missing) == ("1 image not in the lists", True)
    (root / "basic/Image/aligned/test_0002_aligned.jpg").unlink()
    source = RafDb(root)
    assert source.records().faults == (("test_0002", "it is listed, but its aligned picture is missing"),)
    with pytest.raises(
        UserError, match=r"^test_0002: it is listed, but its aligned picture is missing \(`fersweep data"
    ):
        source.load()


@pytest.mark.parametrize("line", ["train_00001.jpg 8", "face.jpg 3", "train_00001.jpg"])
def test_a_line_that_is_none_of_a_list_is_named(tmp_path: Path, line: str) -> None:
    root = fakes_wild.rafdb(tmp_path, kinds=("aligned",))
    with (root / LIST).open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=rf"{LIST} line 29 is '{line}', and must be a name and a number of 1 to 7"):
        RafDb(root).load()


def test_folders_that_contradict_the_list_are_refused(tmp_path: Path) -> None:
    for name, code in fakes_wild.raf_names():
        part = name.partition("_")[0]
        write(tmp_path / "DATASET" / part / str(code) / f"{name}_aligned.jpg", encoded(picture(code)))
    write(tmp_path / "train_labels.csv", "image,label\ntrain_00001_aligned.jpg,5\n")
    with pytest.raises(
        UserError, match=r"calls train_00001 sad in train_labels.csv and surprise in DATASET/train/1/tra"
    ):
        RafDb(tmp_path).load()


def test_the_counts_are_those_of_the_literature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Li et al., 2017, and the authors' readme: 12,271 images to train on and 3,068 to test; here by name alone."""
    assert {usage: sum(counts) for usage, counts in COUNTS.items()} == {TRAINING: 12_271, TEST: 3_068}
    rows = []
    for usage, part in ((TRAINING, "train"), (TEST, "test")):
        labels = np.repeat(np.arange(7), COUNTS[usage])
        rows += [(f"{part}_{number:05d}", CODES.index(CLASSES[k]) + 1) for number, k in enumerate(labels, 1)]
    with zipfile.ZipFile(tmp_path / "basic.zip", "w") as file:
        file.writestr("EmoLabel/list_patition_label.txt", "\n".join(f"{name}.jpg {code}" for name, code in rows))
    listed = files.open_tree(tmp_path / "basic.zip")
    pictures = {f"Image/aligned/{name}_aligned.jpg": (0, 0) for name, _ in rows}
    monkeypatch.setattr(RafDb, "tree", lambda _: replace(listed, stamps=listed.stamps | pictures))
    source = RafDb(tmp_path)
    records = source.records()
    assert all(found == expected for _, found, expected in source.checks(records))
    assert len(records) == 15_339
    data = fakes.samples(np.bincount(records.labels).tolist(), usage=records.usage[np.argsort(records.labels)].tolist())
    split = splits.train_test(data)
    assert (len(split.train), len(split.val), len(split.test)) == (11_045, 1_226, 3_068)
