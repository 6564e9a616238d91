"""Small fake copies of the data sets of photographs from the web: their layouts, with few drawn images."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fakes import encoded, picture, write

from fersweep.data.files import Tree
from fersweep.data.images import decode

RAF_CODES = {"surprise": 1, "fear": 2, "disgust": 3, "happy": 4, "sad": 5, "angry": 6, "neutral": 7}


def raf_names(per_class: int = 2) -> Iterator[tuple[str, int]]:
    """``train_00001``, ``test_0001``, … and their codes; as many of each class in both parts."""
    for part, digits in (("train", 5), ("test", 4)):
        for number in range(7 * per_class):
            yield f"{part}_{number + 1:0{digits}d}", number % 7 + 1


def rafdb(root: Path, per_class: int = 2, kinds: tuple[str, ...] = ("aligned", "original")) -> Path:
    """``basic/`` as handed out: list, aligned and original pictures, and the boxes of the faces in these."""
    basic = root / "basic"
    lines = []
    for seed, (name, code) in enumerate(raf_names(per_class)):
        lines.append(f"{name}.jpg {code}")
        if "aligned" in kinds:
            write(basic / "Image" / "aligned" / f"{name}_aligned.jpg", encoded(picture(seed, (100, 100), 3), ".jpg"))
        if "original" in kinds:
            write(basic / "Image" / "original" / f"{name}.jpg", encoded(picture(seed, (120, 150), 3), ".jpg"))
            write(basic / "Annotation" / "boundingbox" / f"{name}_boundingbox.txt", "30.0 20.0 90.0 80.0 \n")
    write(basic / "EmoLabel" / "list_patition_label.txt", "\n".join(lines) + "\n")
    return root


KDEF_CODES = ("AF", "AN", "DI", "HA", "NE", "SA", "SU")


def kdef(
    root: Path, people: tuple[str, ...] = ("F01", "F02", "M01", "M02"), angles: tuple[str, ...] = ("S", "HL")
) -> Path:
    """``KDEF/AF01/AF01ANS.JPG``, …: a folder for each session (one of them) of each person."""
    seed = 0
    for person in people:
        for code in KDEF_CODES:
            for angle in angles:
                name = f"A{person}{code}{angle}.JPG"
                write(root / "KDEF" / f"A{person}" / name, encoded(picture(seed, (76, 56), 3), ".jpg"))
                seed += 1
    return root


AFFECT_CODES = {"neutral": 0, "happy": 1, "sad": 2, "surprise": 3, "fear": 4, "disgust": 5, "angry": 6, "contempt": 7}


def affectnet_files(root: Path, per_class: int = 2) -> Path:
    """``train_set/`` and ``val_set/`` with images and annotations, which numpy stores as text."""
    for part in ("train", "val"):
        for number in range(8 * per_class):
            place = root / f"{part}_set"
            write(place / "images" / f"{number}.jpg", encoded(picture(number, (56, 56), 3), ".jpg"))
            for kind, value in (("exp", str(number % 8)), ("val", "-0.1"), ("aro", "0.3")):
                annotation(place / "annotations" / f"{number}_{kind}.npy", value)
    return root


def annotation(path: Path, value: object) -> Path:
    data = io.BytesIO()
    np.save(data, np.array(value))
    return write(path, data.getvalue())


def affectnet_tables(root: Path, per_code: int = 2, header: bool = True) -> Path:
    """``training.csv`` and ``validation.csv`` with all eleven codes, and the pictures, of which no face has no box."""
    names = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    for part, offset in (("training", 0), ("validation", 100)):
        lines = [names] * header
        for number in range(11 * per_code):
            code, name = number % 11, f"{number % 3 + 1}/{offset + number:06x}.jpg"
            box = "NULL,NULL,NULL,NULL,NULL" if code == 10 else "10,5,40,30,1.5;2.5;3;4"
            lines.append(f"{name},{box},{code},-0.1,0.3")
            pixels = picture(offset + number, (60, 80), 3)
            write(root / "Manually_Annotated_Images" / name, encoded(pixels, ".jpg"))
        write(root / f"{part}.csv", "\n".join(lines) + "\n")
    return root


EXPW_CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def expw(root: Path, pictures: int = 14) -> Path:
    """``label/label.lst`` and ``image/origin/``: two faces in each picture, the second with a low confidence."""
    lines = []
    for number in range(pictures):
        name = f"{EXPW_CODES[number % 7]}_actor_{number}.jpg"
        write(root / "image" / "origin" / name, encoded(picture(number, (80, 120), 3), ".jpg"))
        lines.append(f"{name} 0 10 20 60 50 54.5 {number % 7}")
        lines.append(f"{name} 1 5 70 115 45 12.25 {(number + 1) % 7}")
    write(root / "label" / "label.lst", "\n".join(lines) + "\n")
    return root


def decoded(tree: Tree, name: str) -> np.ndarray:
    """The picture ``name`` of a tree."""
    return decode(tree.read(name))
