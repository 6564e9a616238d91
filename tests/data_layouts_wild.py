"""The wrappings of RAF-DB, AffectNet, ExpW and KDEF; see `data_layouts`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import fakes
import fakes_wild
from data_layouts import PLAIN, read, refused, source
from fakes import write

from fersweep.data.sources.affectnet import AffectNet
from fersweep.data.sources.expw import ExpW
from fersweep.data.sources.kdef import CODES, Kdef
from fersweep.data.sources.rafdb import RafDb

PLAIN["rafdb"] = (RafDb, fakes_wild.rafdb)

# RAF-DB

read("rafdb", "`RAF-DB.zip`")(lambda root: fakes.zipped(source("rafdb", root), root / "RAF-DB.zip", "RAF-DB/"))


@read("rafdb", "`basic/EmoLabel/` and `basic/Image/aligned.zip`")
def rafdb_inner_zips(root: Path) -> None:
    basic = source("rafdb", root) / "basic"
    shutil.copytree(basic / "EmoLabel", root / "basic" / "EmoLabel")
    fakes.zipped(basic / "Image" / "aligned", root / "basic" / "Image" / "aligned.zip", "aligned/")


def kaggle(root: Path, folder: Callable[[int], str] = str) -> None:
    aligned = source("rafdb", root) / "basic" / "Image" / "aligned"
    for name, code in fakes_wild.raf_names():
        place = root / "DATASET" / name.partition("_")[0] / folder(code)
        write(place / f"{name}_aligned.jpg", (aligned / f"{name}_aligned.jpg").read_bytes())


@read("rafdb", "`DATASET/train/1/`, …, with `train_labels.csv`, `test_labels.csv`")
def rafdb_kaggle(root: Path) -> None:
    kaggle(root)
    for part in ("train", "test"):
        rows = [f"{name}_aligned.jpg,{code}" for name, code in fakes_wild.raf_names() if name.startswith(part)]
        write(root / f"{part}_labels.csv", "\n".join(["image,label", *rows]) + "\n")


read("rafdb", "these folders alone")(kaggle)


@read("rafdb", "`train/happy/train_00001_aligned.jpg`, names for numbers")
def rafdb_by_name(root: Path) -> None:
    names = {code: name for name, code in fakes_wild.RAF_CODES.items()}
    kaggle(root, lambda code: names[code].title())


@refused("rafdb", "the list without pictures", "it has labels alone: put Image/aligned/ or aligned.zip into it")
def rafdb_list_alone(root: Path) -> None:
    shutil.copytree(source("rafdb", root) / "basic" / "EmoLabel", root / "EmoLabel")


@refused("rafdb", "the pictures without the list", "EmoLabel/list_patition_label.txt and Image/aligned/")
def rafdb_pictures_alone(root: Path) -> None:
    shutil.copytree(source("rafdb", root) / "basic" / "Image", root / "Image")


# KDEF

PLAIN["kdef"] = (Kdef, fakes_wild.kdef)
read("kdef", "`KDEF_and_AKDEF.zip`")(
    lambda root: fakes.zipped(source("kdef", root), root / "KDEF_and_AKDEF.zip", "KDEF_and_AKDEF/")
)


def kdef_moved(root: Path, place: Callable[[Path], str]) -> None:
    for path in sorted(source("kdef", root).rglob("*.JPG")):
        write(root / place(path), path.read_bytes())


read("kdef", "`AF01ANS.JPG`, … in one folder")(lambda root: kdef_moved(root, lambda path: path.name))
read("kdef", "`angry/AF01ANS.JPG`, folders of classes")(
    lambda root: kdef_moved(root, lambda path: f"{CODES[path.name[4:6]]}/{path.name}")
)
refused("kdef", "other names, as `angry/1.jpg`", "dataset=folder reads images in folders of classes")(
    lambda root: kdef_moved(root, lambda path: f"{CODES[path.name[4:6]]}/{ord(path.name[2])}{path.stem[7:]}.jpg")
)


# AffectNet

PLAIN["affectnet"] = (AffectNet, fakes_wild.affectnet_files)
read("affectnet", "`AffectNet.zip`")(
    lambda root: fakes.zipped(source("affectnet", root), root / "AffectNet.zip", "AffectNet/")
)


@refused("affectnet", "`train/0/`, folders of numbers", "dataset=folder reads images in folders of classes")
def affectnet_by_number(root: Path) -> None:
    for part in ("train", "val"):
        fakes.folder(root / part, ("0", "1"), 2)


@refused("affectnet", "images without annotations", "it holds 32 images, such as ")
def affectnet_without_annotations(root: Path) -> None:
    for part in ("train_set", "val_set"):
        shutil.copytree(source("affectnet", root) / part / "images", root / part / "images")


PLAIN["affectnet_tables"] = (AffectNet, fakes_wild.affectnet_tables)
read("affectnet_tables", "`Manually_Annotated_file_lists/` beside `Manually_Annotated_Images/`")(
    lambda root: affectnet_apart(root)
)


def affectnet_apart(root: Path) -> None:
    plainly = source("affectnet_tables", root)
    shutil.copytree(plainly / "Manually_Annotated_Images", root / "Manually_Annotated_Images")
    for table in plainly.glob("*.csv"):
        write(root / "Manually_Annotated_file_lists" / table.name, table.read_bytes())


# ExpW

PLAIN["expw"] = (ExpW, fakes_wild.expw)
read("expw", "`ExpW.zip`")(lambda root: fakes.zipped(source("expw", root), root / "ExpW.zip", "ExpW/"))


@read("expw", "`label.lst` beside `origin/`")
def expw_flat(root: Path) -> None:
    plainly = source("expw", root)
    shutil.copytree(plainly / "image" / "origin", root / "origin")
    write(root / "label.lst", (plainly / "label" / "label.lst").read_bytes())


@refused("expw", "`label.lst` beside `origin.7z.001`, …", "none of its pictures: put image/origin/, unpacked, beside")
def expw_packed(root: Path) -> None:
    write(root / "image" / "origin.7z.001", "7z")
    write(root / "label" / "label.lst", (source("expw", root) / "label" / "label.lst").read_bytes())
