"""Valid small files to damage: pictures in every format, datasets, archives, tables, a finished run, options."""

from __future__ import annotations

import contextlib
import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from fersweep.config.compose import compose_config
from fersweep.config.schema import to_dict
from fersweep.data.samples import PRIVATE, PUBLIC, TRAINING
from fersweep.run import run_one
from fersweep.runs.identity import run_dir

TINY = (
    *("backbone=aer_cnn", "backbone.model.widths=[8,8,8]", "attention=none", "trainer=cpu", "trainer.precision=32"),
    *("dataset.image_size=32", "recipe.batch_size=16", "recipe.max_epochs=1"),
)
"""A real network that is quick to build and train."""

FORMATS = (
    *(("png", "L"), ("png", "RGB"), ("png", "I;16"), ("png", "P"), ("jpg", "RGB"), ("jpg", "L"), ("tif", "L")),
    *(("tif", "I;16"), ("bmp", "RGB"), ("webp", "RGB"), ("gif", "P"), ("avif", "RGB"), ("jp2", "RGB"), ("pgm", "L")),
    *(("tga", "RGB"), ("ico", "RGB"), ("psd", "L"), ("pcx", "L"), ("dds", "RGB"), ("qoi", "RGB"), ("sgi", "L")),
)
"""Suffixes and modes of the pictures; a format that Pillow cannot write here is left out."""


@dataclass(frozen=True)
class Material:
    """Valid files.

    Attributes:
        pictures: suffix and bytes of encoded pictures.
        folder: a dataset of class folders, packed as ``zip``, and as ``tar``.
        csv: the text of ``fer2013.csv``.
        run: the directory of a finished run, with both checkpoints.
        cache: folder of decoded datasets.
    """

    pictures: tuple[tuple[str, bytes], ...]
    folder: Path
    zip: bytes
    tar: bytes
    csv: str
    run: Path
    cache: Path


def make(place: Path, run: Path | None = None) -> Material:
    """Make everything below ``place``; without a finished ``run``, a network is trained for one epoch, in seconds."""
    place.mkdir(parents=True, exist_ok=True)
    folder = place / "faces"
    for number, name in enumerate(("angry", "happy", "sad")):
        (folder / name).mkdir(parents=True)
        for index in range(6):
            picture(10 * number + index).save(folder / name / f"{index}.png")
    return Material(
        pictures=tuple(_pictures()),
        folder=folder,
        zip=_zipped(folder),
        tar=_tarred(folder),
        csv=_csv(),
        run=run or _finished(place),
        cache=place / "cache",
    )


def picture(seed: int, side: int = 32) -> Image.Image:
    """Return a smooth grey picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR)


def _pictures() -> list[tuple[str, bytes]]:
    made, exif = [], Image.Exif()
    exif.update({ExifTags.Base.Orientation: 6, ExifTags.Base.Make: "a camera"})
    for number, (suffix, mode) in enumerate(FORMATS):
        file, drawn = io.BytesIO(), picture(number)
        drawn = Image.fromarray(np.asarray(drawn).astype(np.uint16) * 16) if mode == "I;16" else drawn.convert(mode)
        with contextlib.suppress(OSError, KeyError, ValueError):
            drawn.save(file, Image.registered_extensions()[f".{suffix}"], **({"exif": exif} if suffix == "jpg" else {}))
            made.append((f".{suffix}", file.getvalue()))
    return made


def _zipped(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, f"faces/{path.relative_to(folder).as_posix()}")
    return out.getvalue()


def _tarred(folder: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        file.add(folder, "faces")
    return out.getvalue()


def _csv() -> str:
    lines = ["emotion,pixels,Usage"]
    for row in range(28):
        pixels = " ".join(map(str, np.asarray(picture(row, 48)).ravel().tolist()))
        lines.append(f"{row % 7},{pixels},{(TRAINING, TRAINING, PUBLIC, PRIVATE)[row // 7]}")
    return "\n".join(lines)


def _finished(place: Path) -> Path:
    data = ("dataset.source.size=70", f"outputs={place / 'outputs'}", f"cache={place / 'cache'}")
    cfg = compose_config([*TINY, *data])
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        run_one(cfg)
    return run_dir(to_dict(cfg))
