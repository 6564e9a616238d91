"""Picture files: found below a folder, and read, each with its reason where that cannot be."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from fersweep.data import images
from fersweep.data.files import is_image
from fersweep.faces import Pixels

LARGEST = 100_000_000
"""Pixels of the largest picture that is read."""

_filters = threading.Lock()  # `warnings.catch_warnings` is not safe in threads


def read(path: Path) -> Pixels:
    """Read one picture as `fersweep.data.images.decode` does; safe in threads.

    Raises:
        UnreadableImageError: it is missing, a folder, empty, not an image, truncated, or has more than 100 megapixels.
    """
    try:
        if path.exists() and not path.is_file():
            kind = "a folder that cannot be looked into" if path.is_dir() else "not a regular file"
            raise images.UnreadableImageError(kind)
        data = path.read_bytes()
    except OSError as error:
        raise images.UnreadableImageError(error.strerror or str(error)) from error
    pixels = _pixels(data)
    if pixels > LARGEST:
        raise images.UnreadableImageError(
            f"it has {pixels / 1e6:,.0f} megapixels, and {LARGEST / 1e6:.0f} are the most that is read: make it smaller"
        )
    if pixels <= (Image.MAX_IMAGE_PIXELS or LARGEST):
        return images.decode(data)
    with _quiet():
        return images.decode(data)


def find(path: Path) -> list[Path]:
    """Return the image files below a folder, sorted, or just ``path`` where it is a file.

    Hidden files and folders are left out. Links to folders are followed, but no folder is looked into twice. One that
    cannot be looked into is in the list itself: :func:`read` says so.
    """
    if not path.is_dir():
        return [path]
    seen: set[str] = set()
    found: list[Path] = []

    def closed(error: OSError) -> None:
        found.append(Path(error.filename))

    for folder, below, names in os.walk(path, onerror=closed, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [Path(folder, name) for name in names if is_image(name) and not name.startswith(".")]
    return sorted(found)


def _pixels(data: bytes) -> int:
    """How many pixels an image has, by its head; 0 where that cannot be told."""
    try:
        with _quiet(), Image.open(io.BytesIO(data)) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return 2 * LARGEST
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Pillow's warning that an image is large; one thread at a time."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield
