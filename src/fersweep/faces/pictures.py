"""Finding picture files below a folder, and reading them."""

from __future__ import annotations

import os
from pathlib import Path

from fersweep.data import images
from fersweep.data.files import FOREIGN_SUFFIXES, is_image
from fersweep.faces import Pixels

LARGEST = 100_000_000  # greatest number of pixels of a picture
LARGEST_FILE = 2**30  # greatest number of bytes of its file: 100 megapixels of 16 bits are fewer


def read(path: Path) -> Pixels:
    """Read and decode one picture (`fersweep.data.images.decode`); thread-safe.

    Within `fersweep.data.images.quiet`, Pillow does not warn of large ones.

    Raises:
        UnreadableImageError: it is missing, a folder, empty, not an image, truncated, or has more than 100 megapixels.
    """
    try:
        if path.exists() and not path.is_file():
            kind = "a folder that cannot be read" if path.is_dir() else "not a regular file"
            raise images.UnreadableImageError(kind)
        if path.stat().st_size > LARGEST_FILE:
            raise images.UnreadableImageError(f"the file is larger than {LARGEST_FILE // 2**20:,} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise images.UnreadableImageError(error.strerror or str(error)) from error
    return images.decode(data, LARGEST)


def find(path: Path) -> list[Path]:
    """Return the image files below a folder, sorted, or ``path`` itself if it is a file.

    Hidden files and folders are left out. Links to folders are followed, but each folder is visited once. A folder that
    cannot be read is listed itself, so that `read` reports it; so are pictures that Pillow cannot decode (HEIC).
    """
    if not path.is_dir():
        return [path]
    seen: set[str] = set()
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        found.append(Path(error.filename))

    for folder, below, names in os.walk(path, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [Path(folder, name) for name in names if is_picture(name) and not name.startswith(".")]
    return sorted(found)


def is_picture(name: str) -> bool:
    """Return whether ``name`` has the suffix of a picture, which `read` may refuse with a reason (HEIC)."""
    return is_image(name) or name.lower().endswith(FOREIGN_SUFFIXES)
