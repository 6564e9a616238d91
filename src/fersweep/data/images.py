"""Decoding: from the records of a source, files or CSV rows, to one uint8 array of equally sized images."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from fersweep.data.files import Tree
from fersweep.data.samples import COLUMNS_OF_IMAGES, OBJECTIVES, Indices, Samples
from fersweep.errors import UserError
from fersweep.text import first_line

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, in its pixels."""
T = TypeVar("T")

_CHUNK = 128  # images per task of a decoding thread
_REFUSED = {"EPS"}  # formats that Pillow hands to another program
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class UnreadableImageError(ValueError):
    """An image that cannot be decoded; the message gives the reason, not the name."""


@dataclass(frozen=True)
class Records:
    """A source's images before decoding: labels and a function that reads the pixels.

    Attributes:
        ids, labels, class_names, subjects, usage, sequences, targets, objective: as in `Samples`.
        read: returns the pixels of the i-th image at its original size, uint8, ``(H, W)`` grey or ``(H, W, 3)`` RGB;
            raises `UnreadableImageError`; thread-safe.
        faults: ``(id, reason)`` of items too broken to have a label or pixels, such as rows of a CSV file; they are
            not among the records.
        names: the names of the images' files in their tree; ``None`` if they are not one file each.
    """

    ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    read: Callable[[int], Pixels]
    subjects: npt.NDArray[np.str_] | None = None
    usage: npt.NDArray[np.str_] | None = None
    faults: tuple[tuple[str, str], ...] = ()
    sequences: npt.NDArray[np.str_] | None = None
    names: tuple[str, ...] | None = None
    targets: npt.NDArray[np.float32] | None = None
    objective: str = OBJECTIVES[0]

    def __post_init__(self) -> None:
        names, counts = np.unique(self.ids, return_counts=True)
        if (counts > 1).any():
            raise UserError(f"the dataset holds {names[counts > 1][0]} several times: keep one copy of the data")

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, places: Indices) -> Records:
        """Return the records at ``places``, int64 ``(M,)``, in that order."""
        columns = {name: getattr(self, name) for name in COLUMNS_OF_IMAGES}
        some: dict[str, Any] = {name: each[places] for name, each in columns.items() if each is not None}
        names = None if self.names is None else tuple(self.names[place] for place in places)
        return replace(self, read=lambda index: self.read(int(places[index])), names=names, **some)

    def pixels(self, index: int, dataset: str) -> Pixels:
        """Return what `read` does.

        Raises:
            UserError: the image is broken; the message names it.
        """
        try:
            return self.read(index)
        except UnreadableImageError as error:
            raise UserError(f"cannot read the image {self.ids[index]}: {error} ({_advice(dataset)})") from error


def decode(data: bytes, limit: int | None = None) -> Pixels:
    """Decode the bytes of an image file to uint8, ``(H, W)`` for a grey one and ``(H, W, 3)`` RGB for others.

    Pillow decodes, because it refuses a truncated file, which OpenCV would fill up with grey. 16 bits become 8 by
    dividing by 257, or as 12 or 8 bits if no pixel needs more; palettes are looked up; transparent parts become white;
    the EXIF orientation is applied; the first frame of several is taken. PostScript is refused, because Pillow hands it
    to Ghostscript.

    Raises:
        UnreadableImageError: the bytes are not an image, not a complete one, or one of more than ``limit`` pixels.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError
            image.load()
            return _to_uint8(image)
    except UnidentifiedImageError as error:
        heif = data[4:8] == b"ftyp" and data[8:12] in _HEIF
        reason = "a HEIC photo: save it as JPEG or PNG" if heif else "not an image, or of an unknown format"
        raise UnreadableImageError(reason) from error
    except Image.DecompressionBombError as error:
        most = (limit or 2 * (Image.MAX_IMAGE_PIXELS or 0)) / 1e6
        raise UnreadableImageError(f"it has more than {most:.0f} megapixels: make it smaller") from error
    except UnreadableImageError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UnreadableImageError(first_line(error)) from error
    except Exception as error:  # Pillow's plugins raise anything on damaged bytes: IndexError, struct.error, …
        raise UnreadableImageError(f"damaged or too large ({type(error).__name__}: {first_line(error)})") from error


def _formats() -> tuple[str, ...]:
    """Return the formats that may be decoded: all that Pillow knows, plugins included, without `_REFUSED`."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _REFUSED)


def reader(tree: Tree, names: Sequence[str], boxes: Sequence[Box | None] = ()) -> Callable[[int], Pixels]:
    """Return `Records.read` for the image files ``names`` of ``tree``, cut to their ``boxes`` where they have some."""

    def read(index: int) -> Pixels:
        try:
            image = decode(tree.read(names[index]))
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error)) from error
        box = boxes[index] if boxes else None
        return image if box is None else cut(image, box)

    return read


def cut(image: Pixels, box: Box) -> Pixels:
    """Return the part ``box`` of a picture, in whole pixels, without what lies outside of it.

    Raises:
        UnreadableImageError: all of it lies outside, or it is not of finite numbers.
    """
    if not all(map(math.isfinite, box)):
        raise UnreadableImageError(f"its box {_shown(box)} is not of finite numbers")
    height, width = image.shape[:2]
    left, top = (max(0, round(each)) for each in box[:2])
    right, bottom = min(width, round(box[2])), min(height, round(box[3]))
    if left >= right or top >= bottom:
        raise UnreadableImageError(
            f"its box {_shown(box)} (left, top, right, bottom) is no part of its {width}x{height} pixels"
        )
    return image[top:bottom, left:right]


def _shown(box: Box) -> str:
    return ", ".join(f"{each:g}" for each in box)


def _to_uint8(image: Image.Image) -> Pixels:
    with suppress(Exception):  # damaged EXIF data, of which Pillow's parsers raise anything
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        wide = np.asarray(image, dtype=np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise UnreadableImageError(f"pixels of {wide.min()}…{wide.max()}, not of 8 or 16 bits")
        depth = next(bits for bits in (8, 12, 16) if wide.max() < 2**bits)  # cameras store 12 bits in files of 16
        return np.round(wide * (255 / (2**depth - 1))).astype(np.uint8)
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels, not of 8 or 16 bits")
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        grey = image.mode in ("LA", "La")
        return np.asarray(Image.alpha_composite(white, rgba).convert("L" if grey else "RGB"))
    return np.asarray(image.convert("RGB"))


def to_channels(image: Pixels, channels: int) -> Pixels:
    """Return ``(H, W)`` for one channel, ITU-R 601 luma as OpenCV rounds it, or ``(H, W, 3)`` RGB for three."""
    if channels == 1 and image.ndim == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    if channels == 3 and image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    return image


def resize(image: Pixels, size: int) -> Pixels:
    """Resize to ``size`` × ``size`` pixels, ignoring the aspect ratio: by area if it shrinks, else bilinearly."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    method = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), dtype=np.uint8)


def load(records: Records, image_size: int, channels: int, name: str) -> Samples:
    """Decode every record into `Samples`.

    Args:
        records: the images.
        image_size: pixels per side.
        channels: 1 for grey, 3 for RGB.
        name: the dataset's name, for messages.

    Raises:
        UserError: a record is broken; the message names the first one; or there is none.
    """
    check_some(records, name)
    if records.faults:
        where, why = records.faults[0]
        raise UserError(f"{where}: {why} ({_advice(name)})")
    shape = (len(records), image_size, image_size) + ((3,) if channels == 3 else ())
    images = np.empty(shape, np.uint8)

    def fill(index: int) -> None:
        images[index] = resize(to_channels(records.pixels(index, name), channels), image_size)

    parallel(len(records), fill)
    known = (records.labels, records.ids, records.class_names, records.subjects, records.usage, records.sequences)
    return Samples(images, *known, targets=records.targets, objective=records.objective)


def check_some(records: Records, name: str) -> None:
    """Raise UserError for a dataset of which no image is left, broken ones aside."""
    if not len(records) and not records.faults:
        raise UserError(
            f"no image of {name} is left: all of them are without a class, or left out by dataset.source; "
            "check the labels, and copy the data again if they are empty"
        )


def _advice(dataset: str) -> str:
    return f"`fersweep data {dataset}` lists every unreadable image"


def parallel(count: int, work: Callable[[int], T]) -> list[T]:
    """Return ``work(0)`` … ``work(count - 1)``, computed in several threads; raise the first failure by index."""

    def chunk(start: int) -> list[T]:
        return [work(index) for index in range(start, min(start + _CHUNK, count))]

    with quiet(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [result for results in pool.map(chunk, range(0, count, _CHUNK)) for result in results]


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Pillow's warnings about unusual but readable files (large photos, damaged EXIF data, palettes)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        yield
