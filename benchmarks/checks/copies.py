"""Known copies and odd pixels: shares of images that fersweep data recognises, on changed copies.

Without --fer2013, of drawn faces alone. --write makes the digests that the package has; they are sorted, and stored as
differences, which compress well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data import copies, pixels
from fersweep.data.images import Records
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.synthetic import Synthetic

Images = npt.NDArray[np.uint8]
Change = Callable[[Images], Images]
NOISE = 1.74  # root mean square between the archive and fer2013.csv, in grey levels


def resized(image: Images, side: int, method: int = cv2.INTER_AREA) -> Images:
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), np.uint8)


def enlarged(image: Images, method: int) -> Images:
    return resized(resized(image, 24), 48, method)


def compressed(image: Images, *qualities: int) -> Images:
    for quality in qualities:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return image


def jpeg(*qualities: int) -> Change:
    return lambda image: compressed(image, *qualities)


def through(side: int) -> Change:
    return lambda image: resized(resized(image, side, cv2.INTER_CUBIC), 48)


def brighter(image: Images, levels: float, contrast: float = 1.0) -> Images:
    return np.clip((image - 128.0) * contrast + 128 + levels, 0, 255).astype(np.uint8)


def noisy(image: Images) -> Images:
    drawn = np.random.default_rng(image.ravel()[:64]).normal(0, NOISE, image.shape)
    return np.clip((image + drawn).round(), 0, 255).astype(np.uint8)


def flat(image: Images) -> Images:
    return np.asarray(cv2.equalizeHist(image), np.uint8)


def stretched(image: Images) -> Images:
    return np.asarray(cv2.normalize(image, np.empty_like(image), 0, 255, cv2.NORM_MINMAX), np.uint8)


COPIES: dict[str, Change] = {
    "noise": noisy,
    **{f"JPEG {quality}": jpeg(quality) for quality in (95, 90, 75, 50, 30)},
    **{f"{side} pixels": through(side) for side in (96, 224)},
    "equalised": flat,
    "stretched": stretched,
    "3 levels brighter": lambda image: brighter(image, 3),
}
ODDITIES: dict[str, Change] = {
    "unchanged": lambda image: image,
    "equalised": flat,
    "equalised, JPEG 75": lambda image: compressed(flat(image), 75),
    "70 levels brighter": lambda image: brighter(image, 70),
    "contrast 1.6": lambda image: brighter(image, 0, 1.6),
    "a sixteenth of the range": lambda image: image // 16,
    "from 24, bilinear": lambda image: enlarged(image, cv2.INTER_LINEAR),
    "from 24, bicubic": lambda image: enlarged(image, cv2.INTER_CUBIC),
    "from 24, Lanczos": lambda image: enlarged(image, cv2.INTER_LANCZOS4),
    "from 24, repeated": lambda image: enlarged(image, cv2.INTER_NEAREST),
    "from 24, JPEG 95": lambda image: compressed(enlarged(image, cv2.INTER_CUBIC), 95),
    "from 36, bicubic": lambda image: resized(resized(image, 36), 48, cv2.INTER_CUBIC),
    "48 to 64, bicubic": lambda image: resized(image, 64, cv2.INTER_CUBIC),
    "border": lambda image: np.pad(resized(image, 36), 6),
    "border, JPEG 90": lambda image: compressed(np.pad(resized(image, 36), 6, constant_values=255), 90),
    **{f"JPEG {quality}": jpeg(quality) for quality in (75, 50, 30, 15)},
    "JPEG 50, 70, 95": jpeg(50, 70, 95),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fer2013", metavar="PATH", help="the Kaggle archive")
    parser.add_argument("--write", action="store_true", help="write the package's digests from it")


def run(asked: argparse.Namespace) -> int:
    """Write the digests if requested, and print both tables."""
    if asked.fer2013:
        images = np.asarray(Fer2013(asked.fer2013, image_size=48, channels=1).load().images)
        if asked.write:
            write(images)
        known(images)
        odd("FER2013, all", images, {"unchanged": ODDITIES["unchanged"]}, len(images))
        odd("FER2013", images[::36])
    odd("drawn faces", Synthetic(48, size=21 if asked.smoke else 210).load().images)
    return 0


def write(images: Images, target: Path = copies.TABLES) -> None:
    """Write the digests of ``images`` ``(N, 48, 48)``."""
    identical = np.unique(copies.digests(images))
    close = np.unique(copies.block_digests(images[copies.textured(images)]))
    zero = np.uint32(0)
    np.savez_compressed(target, identical=np.diff(identical, prepend=zero), close=np.diff(close, prepend=zero))
    print(f"{target}: {len(images):,} images, {len(identical):,} identical digests, {len(close):,} close ones")


def known(images: Images) -> None:
    """Print the shares of changed images that are the archive's."""
    some = {name: np.stack([change(image) for image in images[::7]]) for name, change in COPIES.items()}
    for name, changed in {"itself": images, **some, "upside down": np.ascontiguousarray(images[:, ::-1])}.items():
        begun = time.perf_counter()
        found = copies.compare("fer2013", changed, ["48x48"] * len(changed))
        assert found is not None
        shares = (f"{key} {found[key] / len(changed):.2%} ({found[key]:,})" for key in ("identical", "close"))
        print(f"{name:20} n = {len(changed):,}: {', '.join(shares)}, {time.perf_counter() - begun:.1f} s")


def odd(name: str, images: Images, changes: dict[str, Change] = ODDITIES, sample: int = pixels.SAMPLE) -> None:
    """Print the share of each measure, of every change."""
    for change, apply in changes.items():
        changed = [apply(image) for image in images]
        records = Records(
            np.array([f"{index:06d}" for index in range(len(images))]),
            np.zeros(len(images), np.int64),
            ("face",),
            changed.__getitem__,
        )
        begun = time.perf_counter()
        found = pixels.examine(records, sample)
        taken = time.perf_counter() - begun
        shares = ", ".join(f"{key} {share:.2%}" for key, share in found["shares"].items())
        blocks = "" if found["blockiness"] is None else f", blocks {found['blockiness']:.2f}"
        print(f"{name}, {change:20} n = {found['examined']:,}: {shares}{blocks}, {taken:.1f} s")
