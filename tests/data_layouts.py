"""The wrappings in which people have FER2013, CK+, CK+48, JAFFE and class folders, drawn small.

Each is named by its row in docs/how-to/data.md.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import fakes
from fakes import write
from PIL import Image

from fersweep.data.sources.base import ImageFiles
from fersweep.data.sources.ckplus import CkPlus
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.jaffe import Jaffe

Make = Callable[[Path], object]
CODES = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
FOLDERS = ("angry", "happy", "sad")
PARTED = tuple(f"{part}/{name}" for part in ("train", "val", "test") for name in FOLDERS)
PLAIN: dict[str, tuple[type[ImageFiles], Make]] = {
    "jaffe": (Jaffe, fakes.jaffe),
    "ckplus": (CkPlus, lambda root: fakes.ckplus(root, unlabelled=1, frames=2)),
    "ck48": (CkPlus, lambda root: fakes.ck48(root, per_class=2)),
    "fer2013": (Fer2013, lambda root: fakes.fer2013_folder(root, 2, 1, 1)),
    "folder": (Folder, lambda root: fakes.folder(root, FOLDERS, 3)),
    "parts": (Folder, lambda root: fakes.folder(root, PARTED, 2)),
}
"""Source and plain layout of each dataset."""
READ: dict[tuple[str, str], Make] = {}
"""Makers of the layouts that are read, by dataset (a key of `PLAIN`) and row of the documentation."""
OTHER_IDS: set[tuple[str, str]] = set()
REFUSED: dict[tuple[str, str], tuple[Make, str]] = {}
"""Makers of the layouts that are refused, with a part of the message."""


def plain(name: str, root: Path) -> Path:
    PLAIN[name][1](root)
    return root


def source(name: str, root: Path) -> Path:
    """The plain layout, beside ``root``."""
    return plain(name, root.parent / "source")


def read(name: str, row: str, *, same_ids: bool = True) -> Callable[[Make], Make]:
    """Register a maker of ``root`` under a row of the documentation; where files have other names, ids differ."""

    def register(make: Make) -> Make:
        READ[name, row] = make
        if not same_ids:
            OTHER_IDS.add((name, row))
        return make

    return register


def refused(name: str, row: str, message: str) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        REFUSED[name, row] = make, message
        return make

    return register


def moved(name: str, root: Path, place: Callable[[Path], str]) -> Path:
    """Copy every image of the plain layout to the name that ``place`` gives, relative to ``root``."""
    plain_root = source(name, root)
    for path in sorted(each for each in plain_root.rglob("*") if each.suffix in (".tiff", ".png")):
        write(root / place(path.relative_to(plain_root)), path.read_bytes())
    return root


def tarred(folder: Path, archive: Path, prefix: str) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, prefix)
    return archive


for each, prefix in (("jaffe", "jaffedbase"), ("ckplus", "CK+"), ("ck48", "CK+48"), ("folder", "faces")):
    read(each, f"`{prefix}.zip`")(
        lambda root, each=each, prefix=prefix: fakes.zipped(source(each, root), root / f"{prefix}.zip", f"{prefix}/")
    )
    read(each, f"`{prefix}.tar.gz`")(
        lambda root, each=each, prefix=prefix: tarred(source(each, root), root / f"{prefix}.tar.gz", prefix)
    )
    read(each, f"`a/{prefix}/`, a folder around it")(
        lambda root, each=each, prefix=prefix: shutil.copytree(source(each, root), root / "a" / prefix)
    )


# JAFFE


@read("jaffe", "`angry/KA.AN1.39.tiff`, folders of classes")
def jaffe_by_class(root: Path) -> Path:
    return moved("jaffe", root, lambda path: f"{CODES[path.name[3:5]]}/{path.name}")


@read("jaffe", "`KA/KA.AN1.39.tiff`, folders of people")
def jaffe_by_person(root: Path) -> Path:
    return moved("jaffe", root, lambda path: f"{path.name[:2]}/{path.name}")


@read("jaffe", "`train/angry/KA.AN1.39.tiff`, also with `test/`")
def jaffe_by_part_and_class(root: Path) -> Path:
    part = {"KA": "test"}
    return moved("jaffe", root, lambda path: f"{part.get(path.name[:2], 'train')}/{CODES[path.name[3:5]]}/{path.name}")


@read("jaffe", "`KA.zip`, `KL.zip`, …, archives of people")
def jaffe_zips_of_people(root: Path) -> None:
    for folder in jaffe_by_person(root.parent / "sorted").iterdir():
        fakes.zipped(folder, root / f"{folder.name}.zip")


@read("jaffe", "`KA.AN1.39.png`, converted", same_ids=False)
def jaffe_converted(root: Path) -> None:
    root.mkdir()
    for path in source("jaffe", root).glob("*.tiff"):
        Image.open(path).save(root / f"{path.stem}.png")


@refused("jaffe", "`KA_AN1_39.tiff`, renamed", "it holds 56 images, such as KA_AN1_1.tiff")
def jaffe_renamed(root: Path) -> Path:
    return moved("jaffe", root, lambda path: path.stem.replace(".", "_") + ".tiff")


@refused("jaffe", "`angry/39.tiff`, without the people", "dataset=folder reads images in folders of classes")
def jaffe_without_people(root: Path) -> Path:
    return moved("jaffe", root, lambda path: f"{CODES[path.name[3:5]]}/{path.name.split('.')[2]}.tiff")


# CK+


def ckplus_halves(root: Path) -> tuple[Path, Path]:
    halves = source("ckplus", root)
    return halves / "cohn-kanade-images", halves / "Emotion"


@read("ckplus", "`extended-cohn-kanade-images.zip` and `Emotion_labels.zip`")
def ckplus_two_zips(root: Path) -> None:
    frames, labels = ckplus_halves(root)
    fakes.zipped(frames, root / "extended-cohn-kanade-images.zip", "cohn-kanade-images/")
    fakes.zipped(labels, root / "Emotion_labels.zip", "Emotion/")


@read("ckplus", "these and `FACS_labels.zip`, `Landmarks.zip`")
def ckplus_all_zips(root: Path) -> None:
    ckplus_two_zips(root)
    for name, suffix in (("FACS", "facs"), ("Landmarks", "landmarks")):
        folder = root.parent / suffix
        write(folder / name / "S005" / "001" / f"S005_001_00000009_{suffix}.txt", "1 2")
        fakes.zipped(folder, root / f"{name}_labels.zip" if suffix == "facs" else root / f"{name}.zip")


@read("ckplus", "`extended-cohn-kanade-images/` and `Emotion_labels/`, each unpacked")
def ckplus_unpacked_apart(root: Path) -> None:
    frames, labels = ckplus_halves(root)
    shutil.copytree(frames, root / "extended-cohn-kanade-images" / "cohn-kanade-images")
    shutil.copytree(labels, root / "Emotion_labels" / "Emotion")


@read("ckplus", "`cohn-kanade-images/` and `Emotion_labels.zip`")
def ckplus_one_unpacked(root: Path) -> None:
    frames, labels = ckplus_halves(root)
    shutil.copytree(frames, root / "cohn-kanade-images")
    fakes.zipped(labels, root / "Emotion_labels.zip", "Emotion/")


@read("ckplus", "unpacked, beside its archives")
def ckplus_unpacked_beside_its_zips(root: Path) -> None:
    ckplus_two_zips(root)
    plain("ckplus", root / "CK+")


@refused("ckplus", "images without labels, or labels without images", "no label in Emotion/: put Emotion_labels.zip")
def ckplus_without_labels(root: Path) -> None:
    shutil.copytree(ckplus_halves(root)[0], root / "cohn-kanade-images")


@read("ck48", "`train/anger/S010_004_00000017.png`, also with `val/`, `test/`")
def ck48_in_parts(root: Path) -> Path:
    part = {"S010": "test"}
    return moved("ck48", root, lambda path: f"{part.get(path.name[:4], 'train')}/{path}")


@read("ck48", "`train.zip` and `test.zip`")
def ck48_zips_of_parts(root: Path) -> None:
    for folder in ck48_in_parts(root.parent / "sorted").iterdir():
        fakes.zipped(folder, root / f"{folder.name}.zip", f"{folder.name}/")


@read("ck48", "`S010/anger/S010_004_00000017.png`, folders of people")
def ck48_by_person(root: Path) -> Path:
    return moved("ck48", root, lambda path: f"{path.name[:4]}/{path}")


PLAIN["ckextended"] = (CkPlus, lambda root: fakes.ckextended(root / "ckextended.csv"))
read("ckextended", "`ckextended.csv`, also zipped, where there is nothing else")(
    lambda root: fakes.zipped(source("ckextended", root), root / "archive.zip", "CK+/")
)


@refused(
    "ck48", "`S010_004_00000017.png` without folders of classes", "it holds 42 images, such as S010_001_00000015.png"
)
def ck48_flat(root: Path) -> Path:
    return moved("ck48", root, lambda path: path.name)
