"""What is left of a prediction: a table as JSON lines and CSV, annotated pictures and videos, a few lines to read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from fersweep.errors import UserError
from fersweep.faces import Face, Pixels
from fersweep.faces.table import NO_FACE
from fersweep.files import atomic_path, unicode
from fersweep.inference.predict.inputs import Frame

BOX = ("left", "top", "right", "bottom")
COLUMNS = ("file", "frame", "seconds", "face", *BOX, "face_confidence", "label", "probability", "error")
"""Of the CSV table, before one probability column for each class.

``face`` is who it is, in a video; ``face_confidence`` the detector's, 1 of a picture that is taken whole;
``probability`` that of the label.
"""


@dataclass(frozen=True)
class Seen:
    """One frame and what was found in it.

    Attributes:
        frame: as it was read.
        faces: ``n`` of them.
        numbers: who they are: a count within a picture, the same number for one person in a video.
        probabilities: float32 ``(n, K)``.
    """

    frame: Frame
    faces: Sequence[Face]
    numbers: Sequence[int]
    probabilities: npt.NDArray[np.float32]


class Table:
    """Writes what is seen to ``.jsonl`` and ``.csv`` files as it comes; they appear when the block ends.

    One JSON object or row for each face. A frame without a face, or one that could not be read, has one too: its
    ``error`` says so. Where the block ends with an error, what was seen before is kept.

    Raises:
        UserError: where a file cannot be written.
    """

    def __init__(self, files: Sequence[Path], class_names: Sequence[str]) -> None:
        self.files, self.class_names = files, class_names
        self._stack = ExitStack()
        self._lines: list[IO[str]] = []
        self._rows: list[Any] = []
        self._seen = 0

    def __enter__(self) -> Table:
        with ExitStack() as stack:
            for file in self.files:
                with _writing(file):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    temporary = stack.enter_context(atomic_path(file))
                    opened = temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="")
                stack.callback(opened.close)
                if file.suffix == ".csv":
                    self._rows.append(csv.writer(opened))
                    self._rows[-1].writerow([*COLUMNS, *self.class_names])
                else:
                    self._lines.append(opened)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _writing(*self.files):
            if self._seen:
                self._stack.close()
            else:
                self._stack.__exit__(kind, error, trace)

    def write(self, seen: Seen) -> None:
        """Add one frame."""
        frame = seen.frame
        about = {"file": frame.file, "frame": frame.number, "seconds": frame.seconds}
        with _writing(*self.files):
            if not len(seen.faces):
                self._add({**about, "error": frame.error or NO_FACE}, [])
            for face, number, probabilities in zip(seen.faces, seen.numbers, seen.probabilities, strict=True):
                box = [round(float(each), 2) for each in face.box]
                row = {
                    **about,
                    "face": number,
                    **dict(zip(BOX, box, strict=True)),
                    "face_confidence": round(float(face.confidence), 4),
                    "label": self.class_names[int(probabilities.argmax())],
                    "probability": round(float(probabilities.max()), 6),
                }
                self._add(row, [round(float(each), 6) for each in probabilities])
        self._seen += 1

    def _add(self, row: dict[str, Any], chances: list[float]) -> None:
        for writer in self._rows:
            writer.writerow([*("" if row.get(name) is None else row[name] for name in COLUMNS), *chances])
        if self._lines:
            box = [row.pop(side) for side in BOX] if chances else None
            told = {key: value for key, value in row.items() if value is not None}
            if box:
                told |= {"box": box, "probabilities": dict(zip(self.class_names, chances, strict=True))}
            for file in self._lines:
                file.write(json.dumps(told) + "\n")


class Film:
    """Writes an annotated video frame by frame; it appears when the block ends, also where that is with an error.

    Args:
        file: ``.mp4``.
        rate: frames a second.

    Raises:
        UserError: where OpenCV cannot write it.
    """

    def __init__(self, file: Path, rate: float) -> None:
        self.file, self.rate = file, rate
        self.frames = 0
        self._stack = ExitStack()
        self._temporary = file
        self._writer: Any = None
        self._size = (0, 0)

    def __enter__(self) -> Film:
        unicode(self.file)
        make_folder(self.file.parent)
        return self

    def write(self, image: Pixels) -> None:
        """Add a frame, RGB; all have the size of the first, made even as the codec wants it."""
        if self._writer is None:
            self._temporary = self._stack.enter_context(atomic_path(self.file))
            height, width = image.shape[:2]
            self._size = (max(2, width - width % 2), max(2, height - height % 2))
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, code, self.rate, self._size)
            if not self._writer.isOpened():
                raise UserError(f"{self.file} cannot be written: OpenCV has no MPEG-4 codec here, or the disk is full.")
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        self._writer.write(np.ascontiguousarray(image[..., ::-1]))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        with _writing(self.file):
            if not self.frames:
                self._stack.__exit__(kind, error, trace)
            elif self._whole():
                self._stack.close()
            else:
                self._stack.__exit__(UserError, UserError("cut off"), None)
                raise UserError(f"{self.file} could not be written whole: is the disk full?")

    def _whole(self) -> bool:
        """Whether the file has all frames; OpenCV does not say where it could not write."""
        capture = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
        there = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        return bool(there >= self.frames)


@contextmanager
def _writing(*files: Path) -> Iterator[None]:
    """Say in one sentence that files cannot be written."""
    try:
        yield
    except OSError as error:
        where = ", ".join(map(str, files))
        raise UserError(f"{where} cannot be written ({error.strerror or error}): choose another place.") from error


def write_picture(path: Path, image: Pixels) -> None:
    """Write a PNG, whole or not at all.

    Raises:
        UserError: where it cannot be written.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            Image.fromarray(image).save(temporary, compress_level=1)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        UserError: where that is not possible.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
