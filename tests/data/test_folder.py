"""Class folders: names of parts and classes, folders that are neither, and archives of them."""

from collections import Counter
from pathlib import Path

import fakes
import pytest
from fakes import encoded, picture, write

from fersweep.data.samples import PRIVATE, PUBLIC, TEST, TRAINING
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.layout import part_of
from fersweep.errors import UserError

EMOTIONS = ("happy", "sad")


def tree(root: Path, *folders: str, images: int = 2) -> Path:
    """Folders with a few images each."""
    return fakes.folder(root, folders, images)


def usages(root: Path, **options: object) -> dict[str, int]:
    usage = Folder(root, **options).records().usage
    return {} if usage is None else dict(Counter(usage.tolist()))


PARTS = {
    TRAINING: "train Training TRAIN train_set trainset train-images FER2013Train fer2013_train training_data",
    PUBLIC: "val valid Validation dev PublicTest public_test FER2013Valid validation_set val_images Dev-Set",
    PRIVATE: "test Testing eval evaluation PrivateTest private_test FER2013Test test_faces testset",
    None: "holdout unlabeled angry contest train_old trainer 2013 data images set fold1 latest",
}


def test_usual_names_of_parts() -> None:
    assert {name: part_of(name) for names in PARTS.values() for name in names.split()} == {
        name: usage for usage, names in PARTS.items() for name in names.split()
    }


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("Training", "PublicTest", "PrivateTest"), {TRAINING: 14, PUBLIC: 14, PRIVATE: 14}),
        (("FER2013Train", "FER2013Valid", "FER2013Test"), {TRAINING: 14, PUBLIC: 14, PRIVATE: 14}),
        (("train_set", "val_set"), {TRAINING: 14, PUBLIC: 14}),
        (("train", "eval"), {TRAINING: 14, TEST: 14}),
        (("train", "dev", "test"), {TRAINING: 14, PUBLIC: 14, PRIVATE: 14}),
    ],
)
def test_all_parts_are_read(tmp_path: Path, parts: tuple[str, ...], expected: dict[str, int], zipped: bool) -> None:
    root = tree(tmp_path / "data", *(f"{part}/{k}" for part in parts for k in range(7)))
    root = fakes.zipped(root, tmp_path / "data.zip", "some/where/") if zipped else root
    assert usages(root) == expected
    assert Folder(root).records().class_names == tuple("0123456")


def test_new_names_of_parts_change_the_fingerprint_so_that_no_old_cache_is_used(tmp_path: Path) -> None:
    source = Folder(tree(tmp_path, *(f"{part}/{name}" for part in ("train", "dev") for name in EMOTIONS)))
    assert source.options(source.tree())["parts"] == {"train": TRAINING, "dev": PUBLIC}
    (tmp_path / "dev").rename(tmp_path / "val")
    assert "parts" not in source.options(source.tree())


NOT_CLASSES = {
    "Image/aligned Image/original": r"Image has images in aligned, original, which are no names of emotions: .*"
    r"'dataset\.source\.classes=\[aligned,original\]'$",
    "AF01 AF02 BM01": r"has images in AF01, AF02, BM01, which are no names of emotions",
    "S005 S010 001 002": r"has images in 001, 002, S005, S010, .*classes=\[\"001\",\"002\",S005,S010\]'$",
    "train_set/images train_set/annotations": r"train_set has images in annotations, images, which are no names",
    "FER2013Train FER2013Valid FER2013Test": r"which are names of parts, not of classes: .* into such folders$",
    "demo models": r"has images in demo, models, which are no names of emotions: dataset=folder needs at least two",
    ".": r"has images but no class folders: .* so sort the images into such folders$",
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("folders", NOT_CLASSES)
def test_folders_that_are_no_classes_are_named(tmp_path: Path, folders: str, zipped: bool) -> None:
    root = tree(tmp_path / "data", *folders.split())
    source = Folder(fakes.zipped(root, tmp_path / "data.zip") if zipped else root)
    with pytest.raises(UserError, match=r"has images" if zipped else NOT_CLASSES[folders]):
        source.fingerprint()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_dataset_below_other_folders_with_images_is_found(tmp_path: Path, zipped: bool) -> None:
    tree(tmp_path / "x", "demo", "models", "data/faces/train/happy", "data/faces/train/sad", "data/faces/test/sad")
    root = fakes.zipped(tmp_path / "x", tmp_path / "x.zip") if zipped else tmp_path / "x"
    assert usages(root) == {TRAINING: 4, TEST: 2}
    assert Folder(root).records().ids[0] == "test/sad/0.png"


@pytest.mark.parametrize("zipped", [False, True])
def test_people_with_class_folders_are_not_taken_for_copies(tmp_path: Path, zipped: bool) -> None:
    root = tree(tmp_path / "x", *(f"{person}/{name}" for person in ("AF01", "AF02") for name in EMOTIONS))
    source = Folder(fakes.zipped(root, tmp_path / "x.zip") if zipped else root)
    with pytest.raises(UserError, match=r"class folders in 2 places, .*AF01, .*AF02: .* people .* one folder per cl"):
        source.fingerprint()


def test_other_names_are_classes_when_listed(tmp_path: Path) -> None:
    tree(tmp_path, "Anger", "sad", "bored", "not sure", "empty")
    for image in (tmp_path / "empty").iterdir():
        image.unlink()
    listing = r"images in bored, not sure beside .*'dataset\.source\.classes=\[Anger,bored,\"not sure\",sad\]'"
    for verb in ("fingerprint", "load"):
        with pytest.raises(UserError, match=listing):
            getattr(Folder(tmp_path), verb)()
    assert Folder(tmp_path, classes=["sad", "Anger", "BORED"]).load().class_names == ("angry", "sad", "bored")
    with pytest.raises(UserError, match=r"classes lists glad, and .* its folders are Anger, bored, not sure, sad"):
        Folder(tmp_path, classes=["sad", "Anger", "glad"]).load()
    for wrong in ("sad", [], ["sad"], ["sad", "sadness"]):
        with pytest.raises(UserError, match=r"does not list two or more classes: write \[happy,sad,bored\]$"):
            Folder(tmp_path, classes=wrong)


def test_a_complete_list_of_classes_leaves_the_fingerprint(tmp_path: Path) -> None:
    tree(tmp_path, "happy", "sad", "fear")
    plain = Folder(tmp_path).fingerprint()
    assert Folder(tmp_path, classes=["fear", "happiness", "sadness"]).fingerprint() == plain
    assert Folder(tmp_path, classes=["fear", "sad"]).fingerprint() != plain


def test_a_part_without_class_folders_does_not_hide_the_classes(tmp_path: Path) -> None:
    tree(tmp_path, "happy", "sad", "test")
    with pytest.raises(UserError, match=r"has images in test beside its class folders.*classes=\[happy,sad\]'"):
        Folder(tmp_path).load()
    assert len(Folder(tmp_path, classes=["happy", "sad"]).load()) == 4


def test_images_deep_in_a_class_folder_of_an_archive_are_read(tmp_path: Path) -> None:
    for name in ("happy/a/1.png", "happy/b/1.png", "sad/2.png"):
        write(tmp_path / "x" / name, encoded(picture(len(name))))
    assert len(Folder(tmp_path / "x").load()) == 3
    assert len(Folder(fakes.zipped(tmp_path / "x", tmp_path / "x.zip")).load()) == 3
