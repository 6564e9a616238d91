"""Decoding: from the records of a source, files or CSV rows, to one uint8 array of equally sized images."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from fersweep.data.files import Tree
from fersweep.data.samples import Samples
from fersweep.errors import UserError

Pixels = npt.NDArray[np.uint8]

_CHUNK = 128
"""Images a thread decodes at a time."""


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of EXIF's orientation."""


class UnreadableImageError(ValueError):
    """One image cannot be decoded; its text says why, not which."""


@dataclass(frozen=True)
class Records:
    """A source's images before decoding: what is known of each, and how to get its pixels.

    Attributes:
        ids, labels, class_names, subjects, usage, sequences: as in `Samples`.
        read: the pixels of the i-th image at its own size, uint8, ``(H, W)`` grey or ``(H, W, 3)`` RGB; raises
            `UnreadableImageError`; safe in threads.
        faults: ``(id, reason)`` of records too broken to have a label or pixels, such as rows of a CSV file; they are
            not among the records.
    """

    ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    read: Callable[[int], Pixels]
    subjects: npt.NDArray[np.str_] | None = None
    usage: npt.NDArray[np.str_] | None = None
    faults: tuple[tuple[str, str], ...] = ()
    sequences: npt.NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        names, counts = np.unique(self.ids, return_counts=True)
        if (counts > 1).any():
            raise UserError(f"the dataset holds {names[counts > 1][0]} several times: keep one copy of the data")

    def __len__(self) -> int:
        return len(self.labels)


def decode(data: bytes) -> Pixels:
    """Decode the bytes of an image file to uint8, ``(H, W)`` where it is grey and ``(H, W, 3)`` RGB elsewhere.

    Pillow decodes, because it refuses a truncated file where OpenCV fills the rest with grey. 16 bits become 8 by
    dividing by 257; palettes are looked up; transparent parts show white; the orientation in a photo's EXIF data is
    applied; the first frame of several is taken.

    Raises:
        UnreadableImageError: the bytes are not an image, or not all of one.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _to_uint8(image)
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image, or of an unknown format") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(str(error)) from error


def reader(tree: Tree, names: Sequence[str]) -> Callable[[int], Pixels]:
    """Return `Records.read` for the image files ``names`` of ``tree``."""

    def read(index: int) -> Pixels:
        try:
            return decode(tree.read(names[index]))
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error)) from error

    return read


def _to_uint8(image: Image.Image) -> Pixels:
    if image.mode == "L":
        return np.asarray(_upright(image))
    if image.mode.startswith("I"):
        wide = np.asarray(image, dtype=np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise UnreadableImageError(f"pixels of {wide.min()}…{wide.max()}, not of 8 or 16 bits")
        return np.round(wide / 257).astype(np.uint8)
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels, not of 8 or 16 bits")
    image = _upright(image)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        grey = image.mode in ("LA", "La")
        return np.asarray(Image.alpha_composite(white, rgba).convert("L" if grey else "RGB"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as the orientation in its EXIF data says; damaged EXIF data say nothing."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, AttributeError, struct.error):
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def to_channels(image: Pixels, channels: int) -> Pixels:
    """Return ``(H, W)`` for one channel, ITU-R 601 luma as OpenCV rounds it, or ``(H, W, 3)`` RGB for three."""
    if channels == 1 and image.ndim == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    if channels == 3 and image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    return image


def resize(image: Pixels, size: int) -> Pixels:
    """Resize to a square of ``size`` pixels a side, without keeping the proportions; area-averaged where it shrinks."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    method = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), dtype=np.uint8)


def load(records: Records, image_size: int, channels: int, name: str) -> Samples:
    """Decode every record into `Samples`.

    Args:
        records: what to decode.
        image_size: pixels a side.
        channels: 1 for grey, 3 for RGB.
        name: the dataset's name, for messages.

    Raises:
        UserError: a record is broken; the message names the first one.
    """
    advice = f"`fersweep data {name}` lists every unreadable image"
    if records.faults:
        where, why = records.faults[0]
        raise UserError(f"{where}: {why} ({advice})")
    shape = (len(records), image_size, image_size) + ((3,) if channels == 3 else ())
    images = np.empty(shape, np.uint8)

    def fill(index: int) -> None:
        try:
            images[index] = resize(to_channels(records.read(index), channels), image_size)
        except UnreadableImageError as error:
            raise UserError(f"cannot read the image {records.ids[index]}: {error} ({advice})") from error

    for_each(len(records), fill)
    return Samples(
        images,
        records.labels,
        records.ids,
        records.class_names,
        subjects=records.subjects,
        usage=records.usage,
        sequences=records.sequences,
    )


def for_each(count: int, work: Callable[[int], None]) -> None:
    """Call ``work(0)`` … ``work(count - 1)`` in a few threads; the first failure, by index, is raised."""

    def chunk(start: int) -> None:
        for index in range(start, min(start + _CHUNK, count)):
            work(index)

    with quiet(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(chunk, start) for start in range(0, count, _CHUNK)]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Pillow's warnings on slightly odd but readable files (large photos, damaged EXIF data, palettes)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        yield
