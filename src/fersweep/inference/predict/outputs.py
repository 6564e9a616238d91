"""Files that ``fersweep predict`` writes: tables as JSON lines and CSV, annotated pictures and videos."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from fersweep.errors import UserError
from fersweep.faces import Face, Pixels
from fersweep.faces.table import NO_FACE
from fersweep.files import atomic_path, unicode, writing
from fersweep.inference.predict.inputs import Frame
from fersweep.text import cells

BOX = ("left", "top", "right", "bottom")
COLUMNS = ("file", "frame", "seconds", "face", *BOX, "face_confidence", "label", "probability", "error")
"""Columns of the CSV table, followed by one probability per class; that of a class ``face`` is ``face (class)``.

``face`` identifies a person in a video; ``face_confidence`` is the detector's (1 without detection), ``probability``
that of the label.
"""


@dataclass(frozen=True)
class Detections:
    """The faces of one frame.

    Attributes:
        frame: as read.
        faces: ``n`` of them.
        ids: of the faces: a count from 1 within a picture, a track in a video.
        probabilities: float32 ``(n, K)``.
    """

    frame: Frame
    faces: Sequence[Face]
    ids: Sequence[int]
    probabilities: npt.NDArray[np.float32]


class Table:
    """Writes detections to ``.jsonl`` and ``.csv`` files, one object or row per face.

    A frame without a face, or an unreadable one, has one row with an ``error``. The files appear when the block ends,
    also with an error, unless nothing was written before it.

    Raises:
        UserError: a file cannot be written.
    """

    def __init__(self, files: Sequence[Path], class_names: Sequence[str]) -> None:
        self.files, self.class_names = files, class_names
        self._stack = ExitStack()
        self._jsonl: list[IO[str]] = []
        self._csv: list[Any] = []
        self._empty = True

    def __enter__(self) -> Table:
        with ExitStack() as stack:
            for file in self.files:
                make_folder(file.parent)
                with writing(file):
                    temporary = stack.enter_context(atomic_path(file))
                    opened = temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="")
                stack.callback(opened.close)
                if file.suffix == ".csv":
                    self._csv.append(csv.writer(opened))
                    names = (f"{name} (class)" if name in COLUMNS else name for name in self.class_names)
                    self._csv[-1].writerow(cells([*COLUMNS, *names]))
                else:
                    self._jsonl.append(opened)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        with writing(*self.files):
            self._stack.__exit__(*(error if self._empty else (None, None, None)))

    def write(self, detections: Detections) -> None:
        """Add one frame."""
        frame = detections.frame
        about = {"file": frame.file, "frame": frame.number, "seconds": frame.seconds}
        with writing(*self.files):
            if not detections.faces:
                self._add({**about, "error": frame.error or NO_FACE}, (), ())
            for face, number, row in zip(detections.faces, detections.ids, detections.probabilities, strict=True):
                confidence, probability = round(float(face.confidence), 4), round(float(row.max()), 6)
                label = self.class_names[int(row.argmax())]
                answer = {"face": number, "face_confidence": confidence, "label": label, "probability": probability}
                self._add(about | answer, face.box, row)
        self._empty = False

    def _add(self, known: dict[str, Any], box: Sequence[float], probabilities: Sequence[float] | Any) -> None:
        known = {key: value for key, value in known.items() if value is not None}
        box = [round(float(each), 2) for each in box]
        probabilities = [round(float(each), 6) for each in probabilities]
        for writer in self._csv:
            values = known | dict(zip(BOX, box, strict=False))
            writer.writerow(cells([*(values.get(name, "") for name in COLUMNS), *probabilities]))
        if box:
            known |= {"box": box, "probabilities": dict(zip(self.class_names, probabilities, strict=True))}
        for file in self._jsonl:
            file.write(json.dumps(known) + "\n")


class Film:
    """Writes an annotated video frame by frame; the file appears when the block ends, also with an error.

    Args:
        file: ``.mp4``.
        rate: frames per second.

    Raises:
        UserError: OpenCV cannot write it.
    """

    def __init__(self, file: Path, rate: float) -> None:
        self.file, self.rate, self.frames = file, rate, 0
        self._stack = ExitStack()
        self._temporary = file
        self._writer: Any = None
        self._size = (0, 0)

    def __enter__(self) -> Film:
        unicode(self.file)
        make_folder(self.file.parent)
        return self

    def write(self, image: Pixels) -> None:
        """Add an RGB frame, resized to the first one's size, which the codec wants even."""
        if self._writer is None:
            self._temporary = self._stack.enter_context(atomic_path(self.file))
            height, width = image.shape[:2]
            self._size = (max(2, width - width % 2), max(2, height - height % 2))
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, code, self.rate, self._size)
            if not self._writer.isOpened():
                raise UserError(f"{self.file} cannot be written: OpenCV lacks an MPEG-4 codec, or the disk is full.")
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        self._writer.write(np.ascontiguousarray(image[..., ::-1]))
        self.frames += 1

    def __exit__(self, *error: Any) -> None:
        if self._writer is None:
            return
        self._writer.release()
        incomplete = self.frames > 0 and self._readable_frames() < self.frames
        failure = UserError(f"{self.file} could not be written completely: is the disk full?") if incomplete else None
        with writing(self.file):
            if failure is not None:
                self._stack.__exit__(UserError, failure, None)
                raise failure
            self._stack.__exit__(*((None, None, None) if self.frames else error))

    def _readable_frames(self) -> float:
        """Count the frames in the file; OpenCV does not report failed writes."""
        capture = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        return float(count)


def write_picture(path: Path, image: Pixels) -> None:
    """Write a PNG atomically; raise UserError if it cannot be written."""
    make_folder(path.parent)
    with writing(path), atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, compress_level=1)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; raise UserError if it cannot be made."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
