"""Inputs of ``fersweep predict`` as frames: pictures, folders and globs of them, video files, cameras."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fersweep.data import contents
from fersweep.data.files import IMAGE_SUFFIXES
from fersweep.data.images import UnreadableImageError
from fersweep.errors import UserError
from fersweep.faces import Pixels, pictures
from fersweep.files import given, unicode

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent; OpenCV reads it on first use

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif")
"""Suffixes of files that are opened as videos."""

LIVE = 10.0
"""Frames per second in a camera's annotated video."""

PIXELS, FRAMES = 32_000_000, 32
"""Largest number of pixels and frames in one batch."""


@dataclass(frozen=True)
class Frame:
    """One picture, or one frame of a video.

    Attributes:
        file: the path as given or found, or ``camera N``.
        image: uint8, ``(H, W)`` or ``(H, W, 3)`` RGB; ``None`` if unreadable.
        number: index in the video; ``None`` for a picture.
        seconds: time in the video; ``None`` for a picture.
        error: reason why it is unreadable.
    """

    file: str
    image: Pixels | None
    number: int | None = None
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Pictures:
    """Picture files, and their names in the output: paths below the folders that were given."""

    files: tuple[Path, ...]
    names: tuple[str, ...]

    def frames(self) -> Iterator[Frame]:
        """Read the files in a few threads, a few ahead, because pictures may be large."""
        threads = min(4, os.cpu_count() or 1)
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(self.files), threads):
                yield from pool.map(_read, self.files[start : start + threads])


@dataclass(frozen=True)
class Video:
    """A video file or a camera.

    Attributes:
        source: the file, or the camera's number.
        every: use every n-th frame.
        limit: largest number of frames to use; ``None``: all.
    """

    source: Path | int
    every: int = 1
    limit: int | None = None

    @property
    def live(self) -> bool:
        """True for a camera."""
        return isinstance(self.source, int)

    @property
    def name(self) -> str:
        """Text for the output's ``file`` column."""
        return f"camera {self.source}" if self.live else str(self.source)

    def open(self) -> Any:
        """Return OpenCV's capture; raise UserError if it cannot be opened."""
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        if isinstance(self.source, int):
            capture = cv2.VideoCapture(self.source)
            reason = f"There is no camera {self.source}, or another program uses it: choose another number."
        else:
            if self.source.stat().st_size == 0:
                raise UserError(f"{self.source} is empty (0 bytes), not a video.")
            capture = cv2.VideoCapture(unicode(self.source), cv2.CAP_FFMPEG)
            reason = (
                f"{self.source} cannot be read as a video: it is not one, it is damaged, or its codec is missing "
                "(convert it to H.264 in an .mp4 file)."
            )
        if not capture.isOpened():
            raise UserError(reason)
        return capture

    def rate(self) -> float:
        """Return the frames used per second: 25 if a file does not say, `LIVE` for a camera."""
        if self.live:
            return LIVE
        capture = self.open()
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
        return (rate if 1 <= rate <= 1000 else 25.0) / self.every

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order, and one without an image if the video ends early."""
        capture = self.open()
        start, number, used = time.monotonic(), -1, 0
        expected, rate = (int(capture.get(each)) for each in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        try:
            while self.limit is None or used < self.limit:
                if not capture.grab():
                    break
                seconds = time.monotonic() - start if self.live else max(capture.get(cv2.CAP_PROP_POS_MSEC), 0) / 1000
                number += 1
                if number % self.every:
                    continue
                good, image = capture.retrieve()
                if not good:
                    break
                used += 1
                yield Frame(self.name, np.ascontiguousarray(image[..., ::-1]), number, round(seconds, 3))
            else:
                return
        finally:
            capture.release()
        if not used:
            yield Frame(self.name, None, error="no frame can be decoded")
        elif self.live:
            yield Frame(self.name, None, number + 1, error="the camera has stopped")
        elif expected - (number + 1) > max(1, min(rate, expected / 4)):  # a longer sound track may count as frames
            yield Frame(self.name, None, number + 1, error=f"ends after {number + 1} of about {expected} frames")


def resolve(inputs: Sequence[str], every: int, limit: int | None) -> list[Pictures | Video]:
    """Resolve files, folders, globs or ``camera N``; all pictures become one entry.

    Raises:
        UserError: a name matches nothing, a folder has no pictures, or a camera is not a number.
    """
    if inputs[0] == "camera":
        if len(inputs) > 2 or not all(each.isdecimal() for each in inputs[1:]):
            raise UserError(f"{' '.join(inputs)!r} is not a camera: write camera N, with N = 0, 1, …")
        return [Video(int(inputs[1]) if len(inputs) > 1 else 0, every, limit)]
    found: dict[Path, str] = {}
    videos: list[Pictures | Video] = []
    for path in (path for name in inputs for path in _paths(name)):
        if path.is_dir():
            files = {file: str(file.relative_to(path)) for file in pictures.find(path)}
            if not files:
                held = contents.describe(path, "", IMAGE_SUFFIXES, videos="name each video itself")
                raise UserError(f"There is no picture in {path}: {held}.")
            found |= files
        elif path.suffix.lower() in VIDEOS:
            videos.append(Video(path, every, limit))
        else:
            found[path] = path.name
    return [*([Pictures(tuple(found), tuple(found.values()))] if found else []), *videos]


def batches(frames: Iterator[Frame], live: bool) -> Iterator[list[Frame]]:
    """Group frames into batches that fit into memory; a camera's frames come one at a time."""
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        pixels = sum(each.image.shape[0] * each.image.shape[1] for each in batch if each.image is not None)
        if live or len(batch) == FRAMES or pixels > PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _paths(name: str) -> list[Path]:
    path = given(Path(name))
    if path.exists():
        return [path]
    pattern = glob.has_magic(name)
    matches = map(Path, sorted(glob.glob(str(path), recursive=True))) if pattern else []  # noqa: PTH207 (any root)
    chosen = [
        each for each in matches if each.is_dir() or pictures.is_picture(each.name) or each.suffix.lower() in VIDEOS
    ]
    if not chosen:
        what = "No picture or video matches" if pattern else "There is no"
        raise UserError(f"{what} {name}: name a picture, a folder, a video, or camera N.")
    return chosen


def _read(path: Path) -> Frame:
    try:
        return Frame(str(path), pictures.read(path))
    except UnreadableImageError as error:
        return Frame(str(path), None, error=str(error))
