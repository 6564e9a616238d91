"""The wrappings of FER2013 and of class folders; see `data_layouts`."""

from __future__ import annotations

import shutil
from pathlib import Path

import fakes
from data_layouts import FOLDERS, moved, read, refused, source, tarred
from fakes import FER_CODES, write

from fersweep.data.sources.fer2013 import Fer2013

# FER2013


def fer2013_table(root: Path, path: Path, header: str = "emotion,pixels,Usage", separator: str = ",") -> Path:
    """Write the plain layout's images as a table."""
    data = Fer2013(source("fer2013", root)).load()
    lines = [header.replace(",", separator)]
    for image, label, usage in zip(data.images, data.labels, data.usage, strict=True):
        code, pixels = FER_CODES[data.class_names[label]], " ".join(map(str, image.ravel()))
        cells = {"emotion": str(code), "pixels": pixels, "usage": str(usage)}
        lines.append(separator.join(cells[name.strip().lower()] for name in header.split(",")))
    return write(path, "\n".join(lines) + "\n")


read("fer2013", "`archive.zip`, with folders around them or not")(
    lambda root: fakes.zipped(source("fer2013", root), root / "archive.zip", "a/fer2013/")
)
read("fer2013", "`fer2013.tar.gz`, of images")(
    lambda root: tarred(source("fer2013", root), root / "fer2013.tar.gz", "fer2013")
)
read("fer2013", "`a/fer2013/train/angry/`, folders around them")(
    lambda root: shutil.copytree(source("fer2013", root), root / "a" / "fer2013")
)
read("fer2013", "`fer2013.csv`", same_ids=False)(lambda root: fer2013_table(root, root / "fer2013.csv"))
read("fer2013", "`fer2013.csv` with `;` or tabs", same_ids=False)(
    lambda root: fer2013_table(root, root / "fer2013.csv", separator=";")
)
read("fer2013", "`icml_face_data.csv`", same_ids=False)(
    lambda root: fer2013_table(root, root / "icml_face_data.csv", "emotion, Usage, pixels")
)
read("fer2013", "`fer2013.csv.zip`", same_ids=False)(
    lambda root: fakes.zipped(fer2013_table(root, root.parent / "t" / "fer2013.csv").parent, root / "fer2013.csv.zip")
)
read("fer2013", "`fer2013.tar.gz`, of the table, also beside it", same_ids=False)(
    lambda root: tarred(
        fer2013_table(root, root.parent / "t" / "fer2013.csv").parent, root / "fer2013.tar.gz", "fer2013"
    )
)


@read("fer2013", "`Training/`, `PublicTest/` and `PrivateTest/`", same_ids=False)
def fer2013_by_usage(root: Path) -> Path:
    return moved("fer2013", root, lambda path: f"{path.name.partition('_')[0]}/{path.parent.name.title()}/{path.name}")


@read("fer2013", "`Training.zip`, `PublicTest.zip` and `PrivateTest.zip`", same_ids=False)
def fer2013_zips_by_usage(root: Path) -> None:
    for folder in fer2013_by_usage(root.parent / "sorted").iterdir():
        fakes.zipped(folder, root / f"{folder.name}.zip", f"{folder.name}/")


@read("fer2013", "`train.zip` and `test.zip`, which hold `train/` and `test/`")
def fer2013_split_zips(root: Path) -> None:
    for folder in source("fer2013", root).iterdir():
        fakes.zipped(folder, root / f"{folder.name}.zip", f"{folder.name}/")


@refused("fer2013", "`train.zip` beside `test/`", "train.zip holds train/ of FER2013 without test/, and ")
def fer2013_half_unpacked(root: Path) -> None:
    parts = source("fer2013", root)
    fakes.zipped(parts / "train", root / "train.zip", "train/")
    shutil.copytree(parts / "test", root / "test")


@refused("fer2013", "`train/` alone", "holds train/ of FER2013 without test/: put train/ and test/, unpacked, into one")
def fer2013_training_alone(root: Path) -> None:
    shutil.copytree(source("fer2013", root) / "train", root / "train")


@refused(
    "fer2013", "`train.zip` and `test.zip`, which hold `angry/`, …", "unpack each archive into a folder of its own"
)
def fer2013_bare_zips(root: Path) -> None:
    for folder in source("fer2013", root).iterdir():
        fakes.zipped(folder, root / f"{folder.name}.zip")


@refused("fer2013", "`train/0/`, numbers for classes", "dataset=folder reads images in folders of classes")
def fer2013_digits(root: Path) -> Path:
    return moved("fer2013", root, lambda path: f"{path.parts[0]}/{FER_CODES[path.parent.name]}/{path.name}")


@refused("fer2013", "a table of another name", "is read if dataset.root names the file itself")
def fer2013_other_table(root: Path) -> None:
    fer2013_table(root, root / "faces.csv")


@refused("fer2013", "`fer2013.rar` or `.7z`", "it holds 1 .rar file, such as fer2013.rar: unpack fer2013.rar")
def fer2013_rar(root: Path) -> None:
    write(root / "fer2013.rar", "Rar!")


# Class folders


@read("folder", "`Anger/`, `Happiness/`, `SAD/`", same_ids=False)
def folder_other_names(root: Path) -> Path:
    names = dict(zip(FOLDERS, ("Anger", "Happiness", "SAD"), strict=True))
    return moved("folder", root, lambda path: f"{names[path.parts[0]]}/{path.name}")


@read("folder", "`angry/session1/1.png`, folders below", same_ids=False)
def folder_deep(root: Path) -> Path:
    return moved("folder", root, lambda path: f"{path.parts[0]}/session1/{path.name}")


@read("parts", "`train_set/angry/`, `Validation/angry/`, `eval/angry/`", same_ids=False)
def parts_other_names(root: Path) -> Path:
    names = {"train": "train_set", "val": "Validation", "test": "eval"}
    return moved("parts", root, lambda path: f"{names[path.parts[0]]}/{'/'.join(path.parts[1:])}")


read("parts", "`faces.zip` or `faces.tar.gz` of parts")(
    lambda root: fakes.zipped(source("parts", root), root / "faces.zip", "a/b/")
)
read("parts", "`a/b/train/angry/`, folders around it")(
    lambda root: shutil.copytree(source("parts", root), root / "a" / "b")
)


@refused(
    "parts", "`train.zip`, `val.zip` and `test.zip`", "if they are parts of one dataset, put them into one folder, as "
)
def parts_zips(root: Path) -> None:
    for folder in source("parts", root).iterdir():
        fakes.zipped(folder, root / f"{folder.name}.zip", f"{folder.name}/")


@refused(
    "parts", "`train/images/angry/`", "if they are parts of one dataset, put them into one folder, as train/<class>/"
)
def parts_with_images_between(root: Path) -> Path:
    return moved("parts", root, lambda path: f"{path.parts[0]}/images/{path.parts[1]}/{path.name}")


@refused("folder", "`angry.zip`, `happy.zip`, …", "angry.zip has images of one class only, angry: unpack")
def folder_zips_of_classes(root: Path) -> None:
    for folder in source("folder", root).iterdir():
        fakes.zipped(folder, root / f"{folder.name}.zip", f"{folder.name}/")


@refused("folder", "images without folders", "has images but no class folders")
def folder_flat(root: Path) -> Path:
    return moved("folder", root, lambda path: "_".join(path.parts))


@refused("folder", "`0_angry/`, other names", 'set \'dataset.source.classes=["0_angry","1_happy","2_sad"]\'')
def folder_numbered(root: Path) -> Path:
    return moved("folder", root, lambda path: f"{FOLDERS.index(path.parts[0])}_{path}")


@refused("folder", "videos", "it holds 2 .mp4 files, such as angry/a.mp4: save their frames as images")
def folder_of_videos(root: Path) -> None:
    for name in FOLDERS[:2]:
        write(root / name / "a.mp4", "no image")


@refused("folder", "photos as `.heic`", "save them as PNG or JPEG")
def folder_of_photos(root: Path) -> None:
    for name in FOLDERS[:2]:
        write(root / name / "a.heic", "no image")


@refused("folder", "an empty folder", "it is empty, or holds empty folders only")
def folder_empty(root: Path) -> None:
    (root / "angry").mkdir(parents=True)
