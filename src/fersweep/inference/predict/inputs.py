"""What is looked at, one frame after another: pictures, folders and globs of them, video files, cameras."""

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

from fersweep.data.files import is_image
from fersweep.data.images import UnreadableImageError
from fersweep.errors import UserError
from fersweep.faces import Pixels, pictures
from fersweep.files import given, unicode

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # or it prints lines of its own; read when first needed

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif")
"""Suffixes of files that are read as videos; what a file holds is found when it is opened."""

LIVE = 10.0
"""Frames a second of a camera's annotated video, whatever the number that could be looked at."""

PIXELS, FRAMES = 32_000_000, 32
"""Most pixels and frames that are held and looked at together."""


@dataclass(frozen=True)
class Frame:
    """One picture, or one frame of a video.

    Attributes:
        file: the path as it was given or found; ``camera N`` of a camera.
        image: uint8, ``(H, W)`` or ``(H, W, 3)`` RGB; ``None`` where it could not be read.
        number: of the frame, from 0; ``None`` of a picture.
        seconds: from the beginning of the video; ``None`` of a picture.
        error: why it could not be read.
    """

    file: str
    image: Pixels | None
    number: int | None = None
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Pictures:
    """Picture files; ``names`` are their places in the output: below the folder that was given."""

    files: tuple[Path, ...]
    names: tuple[str, ...]

    def frames(self) -> Iterator[Frame]:
        """Read the files in a few threads, a little ahead."""
        threads = min(4, os.cpu_count() or 1)  # and as many pictures, which may be large, in memory
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(self.files), threads):
                yield from pool.map(_read, self.files[start : start + threads])


@dataclass(frozen=True)
class Video:
    """A video file or a camera.

    Attributes:
        source: the file, or the camera's number.
        every: look at every so many frames.
        most: frames to look at; ``None``: all.
    """

    source: Path | int
    every: int = 1
    most: int | None = None

    @property
    def name(self) -> str:
        """As in the output's ``file`` column."""
        return str(self.source) if isinstance(self.source, Path) else f"camera {self.source}"

    def open(self) -> Any:
        """Return OpenCV's capture.

        Raises:
            UserError: for what cannot be opened, or has no frame.
        """
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        if isinstance(self.source, Path):
            if self.source.stat().st_size == 0:
                raise UserError(f"{self.source} is empty (0 bytes): not a video.")
            capture = cv2.VideoCapture(unicode(self.source), cv2.CAP_FFMPEG)
            if not capture.isOpened():
                raise UserError(
                    f"{self.source} cannot be read as a video: it is none, it is damaged, or its codec is missing "
                    "(convert it to H.264 in an .mp4 file)."
                )
            return capture
        capture = cv2.VideoCapture(self.source)
        if not capture.isOpened():
            raise UserError(f"There is no camera {self.source}, or another program has it: name another number.")
        return capture

    def rate(self) -> float:
        """Frames a second that are looked at, 25 where a file does not say; `LIVE` of a camera."""
        if isinstance(self.source, int):
            return LIVE
        capture = self.open()
        try:
            rate = float(capture.get(cv2.CAP_PROP_FPS))
        finally:
            capture.release()
        return (rate if 1 <= rate <= 1000 else 25.0) / self.every

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order; a last one without an image where the file ends before its time."""
        capture = self.open()
        live, begun, number, shown = isinstance(self.source, int), time.monotonic(), -1, 0
        expected, rate = (int(capture.get(each)) for each in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        try:
            while self.most is None or shown < self.most:
                if not capture.grab():
                    break
                seconds = time.monotonic() - begun if live else max(capture.get(cv2.CAP_PROP_POS_MSEC), 0) / 1000
                number += 1
                if number % self.every:
                    continue
                good, image = capture.retrieve()
                if not good:
                    break
                shown += 1
                yield Frame(self.name, np.ascontiguousarray(image[..., ::-1]), number, round(seconds, 3))
            else:
                return
        finally:
            capture.release()
        if not shown:
            yield Frame(self.name, None, error="no frame can be decoded")
        elif live:
            yield Frame(self.name, None, number + 1, error="the camera gives no more frames")
        elif expected - (number + 1) > max(1, min(rate, expected / 4)):  # sound may last longer, and be what is counted
            yield Frame(self.name, None, number + 1, error=f"ends after {number + 1} of some {expected} frames")


def resolve(inputs: Sequence[str], every: int, most: int | None) -> list[Pictures | Video]:
    """What is named on the command line: files, folders, globs, ``camera N``; all pictures are one entry.

    Raises:
        UserError: for a name that is nothing, a folder without pictures, a camera that is no number.
    """
    if inputs[0] == "camera":
        if len(inputs) > 2 or not all(each.isdecimal() for each in inputs[1:]):
            raise UserError(f"{' '.join(inputs)!r} is no camera: write camera N, N being 0, 1, …")
        return [Video(int(inputs[1]) if len(inputs) > 1 else 0, every, most)]
    found: list[tuple[Path, str]] = []
    videos: list[Pictures | Video] = []
    for name in inputs:
        for path in _paths(name):
            if path.is_dir():
                files = pictures.find(path)
                if not files:
                    raise UserError(f"{path} holds no picture.")
                found += [(file, str(file.relative_to(path))) for file in files]
            elif path.suffix.lower() in VIDEOS:
                videos.append(Video(path, every, most))
            else:
                found.append((path, path.name))
    found = list(dict(found).items())
    return [*([Pictures(*zip(*found, strict=True))] if found else []), *videos]


def chunks(frames: Iterator[Frame], live: bool) -> Iterator[list[Frame]]:
    """Frames that are looked at together: few enough for memory, and of a camera one at a time."""
    chunk: list[Frame] = []
    for frame in frames:
        chunk.append(frame)
        pixels = sum(each.image.shape[0] * each.image.shape[1] for each in chunk if each.image is not None)
        if live or len(chunk) == FRAMES or pixels > PIXELS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _paths(name: str) -> list[Path]:
    path = given(Path(name))
    if path.exists():
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(name) else []  # noqa: PTH207 (of any root)
    chosen = [each for each in map(Path, matches) if _fits(each)]
    if not chosen:
        what = "No picture or video matches" if glob.has_magic(name) else "There is no"
        raise UserError(f"{what} {name}: name a picture, a folder, a video, or camera N.")
    return chosen


def _fits(path: Path) -> bool:
    return path.is_dir() or is_image(path.name) or path.suffix.lower() in VIDEOS


def _read(path: Path) -> Frame:
    try:
        return Frame(str(path), pictures.read(path))
    except UnreadableImageError as error:
        return Frame(str(path), None, error=str(error))
