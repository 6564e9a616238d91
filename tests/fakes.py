"""Small fake copies of the real data sets, in each layout people have them in."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Samples

FER_CODES = {"angry": 0, "disgust": 1, "fear": 2, "happy": 3, "sad": 4, "surprise": 5, "neutral": 6}
CK_CODES = {"angry": 1, "contempt": 2, "disgust": 3, "fear": 4, "happy": 5, "sad": 6, "surprise": 7}
CK48_FOLDERS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
JAFFE_CODES = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")


def picture(seed: int, size: tuple[int, int] = (48, 48), channels: int = 1) -> np.ndarray:
    """Smooth random uint8 pixels ``(height, width)`` or ``(height, width, 3)``, different for every seed."""
    shape = (6, 6) if channels == 1 else (6, 6, 3)
    coarse = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR))


def encoded(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """The bytes of an image file; colour is given as RGB."""
    image = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


def write(path: Path, data: bytes | str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def zipped(folder: Path, archive: Path, prefix: str = "") -> Path:
    """Pack everything in ``folder`` into ``archive``, below ``prefix``."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


def fer2013_folder(root: Path, train: int = 4, public: int = 2, private: int = 2, named: bool = True) -> Path:
    """``train/<class>/Training_*.png`` and ``test/<class>/{PublicTest,PrivateTest}_*.png``; counts are per class.

    ``named=False`` gives the older names ``im0.png``, which do not tell the usage.
    """
    seed = 0
    for label in CLASSES:
        for part, usages in (("train", [TRAINING] * train), ("test", [PUBLIC] * public + [PRIVATE] * private)):
            for number, usage in enumerate(usages):
                name = f"{usage}_{1000 + seed}" if named else f"im{number}"
                write(root / part / label / f"{name}.png", encoded(picture(seed)))
                seed += 1
    return root


def fer2013_zip(archive: Path, prefix: str = "", **counts: int) -> Path:
    """As `fer2013_folder`, packed."""
    return zipped(fer2013_folder(archive.parent / f"{archive.stem}-unpacked", **counts), archive, prefix)


def fer2013_csv(path: Path, rows: int = 28, header: str = "emotion,pixels,Usage", extra: Iterable[str] = ()) -> Path:
    """``fer2013.csv``: row ``i`` has emotion ``i % 7`` and the pixels of ``picture(i)``; ``extra`` lines follow.

    With the columns in another order in ``header``, the cells are in that order.
    """
    usages = (TRAINING, TRAINING, PUBLIC, PRIVATE)
    columns = [name.strip().lower() for name in header.split(",")]
    lines = [header]
    for row in range(rows):
        cells = {
            "emotion": str(row % 7),
            "pixels": " ".join(map(str, picture(row).ravel().tolist())),
            "usage": usages[row // 7 % 4],
        }
        lines.append(",".join(cells[name] for name in columns))
    return write(path, "\n".join([*lines, *extra]) + "\n")


def ckextended(path: Path, rows: int = 16) -> Path:
    """``ckextended.csv``: row ``i`` has emotion ``i % 8``, the last of which is contempt."""
    cells = [f"{row % 8},{' '.join(map(str, picture(row).ravel().tolist()))},{TRAINING}" for row in range(rows)]
    return write(path, "\n".join(["emotion,pixels,Usage", *cells]) + "\n")


def csv_row(emotion: object = 0, pixels: int | str = 48 * 48, usage: str = TRAINING) -> str:
    """One line of ``fer2013.csv``; ``pixels`` is the text or the number of pixels."""
    return f"{emotion},{pixels if isinstance(pixels, str) else ' '.join(['7'] * pixels)},{usage}"


def ckplus(
    root: Path, labels: Sequence[str] = tuple(CK_CODES) * 2, unlabelled: int = 3, frames: int = 5, people: int = 4
) -> Path:
    """The original CK+ tree: one sequence for each of ``labels``, then ``unlabelled`` ones with an empty label folder.

    Frame sizes vary and the first sequence is in colour, as in the real one. Frame numbers start at 8, so that names
    and numbers would sort differently were they not padded.
    """
    for index, label in enumerate([*labels, *[""] * unlabelled]):
        subject, take = f"S{index % people + 5:03d}", f"{index // people + 1:03d}"
        channels = 3 if index == 0 else 1
        for frame in range(frames):
            pixels = picture(100 * index + frame, (60, 80) if index % 2 else (48, 64), channels)
            name = f"{subject}_{take}_{frame + 8:08d}"
            write(root / "cohn-kanade-images" / subject / take / f"{name}.png", encoded(pixels))
        folder = root / "Emotion" / subject / take
        folder.mkdir(parents=True, exist_ok=True)
        if label:
            write(folder / f"{subject}_{take}_{frames + 7:08d}_emotion.txt", f"   {CK_CODES[label]}.0000000e+00\n")
    write(root / "cohn-kanade-images" / ".DS_Store", b"\0")
    return root


def ck48(root: Path, per_class: int = 4, people: int = 4) -> Path:
    """``CK+48``: the last three frames of ``per_class`` sequences in each class folder."""
    for number, folder in enumerate(CK48_FOLDERS):
        for index in range(per_class):
            for frame in (15, 16, 17):
                name = f"S{index % people + 10:03d}_{number + 1:03d}_{frame:08d}.png"
                write(root / folder / name, encoded(picture(1000 * number + 10 * index + frame)))
    return root


def jaffe(root: Path, people: Sequence[str] = ("KA", "KL", "KM", "KR"), takes: int = 2, suffix: str = ".tiff") -> Path:
    """JAFFE: ``takes`` pictures of every expression of every person, with the files that come beside them."""
    number = 1
    for person in people:
        for code in JAFFE_CODES:
            for take in range(1, takes + 1):
                write(root / f"{person}.{code}{take}.{number}{suffix}", encoded(picture(number, (64, 64)), suffix))
                number += 1
    write(root / "README", "The Japanese Female Facial Expression database")
    write(root / ".DS_Store", b"\0")
    return root


def folder(root: Path, classes: Sequence[str] = ("Anger", "happiness", "sad"), per_class: int = 5) -> Path:
    """``<class>/*.png``; put it below ``<part>`` for the other layout."""
    for number, name in enumerate(classes):
        for index in range(per_class):
            write(root / name / f"{index}.png", encoded(picture(1000 * number + index)))
    return root


def samples(
    counts: Sequence[int],
    class_names: Sequence[str] = CLASSES,
    subjects: Sequence[str] | None = None,
    usage: Sequence[str] | None = None,
    prefix: str = "",
) -> Samples:
    """Samples of the given numbers per class, in the order of the classes, whose images take no memory."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    ids = [f"{prefix}{class_names[label]}/{index:06d}" for index, label in enumerate(labels)]
    return Samples(
        images=np.broadcast_to(np.zeros((), np.uint8), (len(labels), 48, 48)),
        labels=labels,
        ids=np.array(ids),
        class_names=tuple(class_names),
        subjects=None if subjects is None else np.array(subjects),
        usage=None if usage is None else np.array(usage),
    )


def picture_tree(folder: Path) -> Path:
    """Six pictures in a tree, one in grey, one broken, beside other and hidden files."""
    for number, name in enumerate(("a/b/one.jpg", "a/b/one.png", "a/b.c/two.PNG", "three\nlines ü.png")):
        write(folder / name, encoded(picture(number, (20, 30), 3), Path(name).suffix.lower()))
    write(folder / "a" / "grey.png", encoded(picture(9, (20, 30))))
    write(folder / "a" / "broken.png", encoded(picture(9, (200, 300)))[:500])
    write(folder / "notes.txt", "no picture")
    write(folder / ".hidden" / "x.png", encoded(picture(1)))
    write(folder / "a" / ".x.png", encoded(picture(1)))
    return folder


def class_counts(data: Samples) -> dict[str, int]:
    """Number of images by class."""
    return {name: int((data.labels == k).sum()) for k, name in enumerate(data.class_names)}


def video(path: Path, frames: int = 12, size: tuple[int, int] = (64, 48), rate: float = 10.0) -> Path:
    """Write a video whose frames have one brightness each, which grows."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), 20 * number, np.uint8))
    writer.release()
    return path
