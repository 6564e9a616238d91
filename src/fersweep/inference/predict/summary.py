"""Summary of ``fersweep predict`` on the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from fersweep.faces.table import NO_FACE
from fersweep.inference.predict.inputs import Frame
from fersweep.inference.predict.outputs import Detections
from fersweep.text import counted, printable

SHOWN = 20
"""Largest number of rows, one per face of a picture or person in a video; the output files have all."""


@dataclass
class _Row:
    """One face, or a picture without one: its frames and the sum of its probabilities ``(K,)`` over them."""

    file: str
    first: int | None
    last: int | None
    face: int | None
    total: npt.NDArray[np.float64]
    count: int = 1


@dataclass
class Summary:
    """Counts of pictures, faces and labels, and the first faces."""

    class_names: tuple[str, ...]
    frames: int = 0
    faces: int = 0
    empty: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    unreadable: list[Frame] = field(default_factory=list)
    rows: dict[tuple[str, int | None], _Row] = field(default_factory=dict)

    def add(self, detections: Detections) -> None:
        """Count one frame."""
        if detections.frame.image is None:
            self.unreadable.append(detections.frame)
            return
        self.frames += 1
        self.faces += len(detections.faces)
        self.empty += not detections.faces
        self.labels.update(self.class_names[int(row.argmax())] for row in detections.probabilities)
        if not detections.faces and detections.frame.number is None:
            self._add_row(detections.frame, None, np.zeros(len(self.class_names)))
        for number, row in zip(detections.ids, detections.probabilities, strict=True):
            self._add_row(detections.frame, number, row.astype(np.float64))

    def _add_row(self, frame: Frame, face: int | None, probabilities: npt.NDArray[np.float64]) -> None:
        known = self.rows.get((frame.file, face))
        if known is not None:
            known.total, known.count, known.last = known.total + probabilities, known.count + 1, frame.number
        elif len(self.rows) < SHOWN:
            self.rows[frame.file, face] = _Row(frame.file, frame.number, frame.number, face, probabilities)

    def print(self, title: str, *notes: str) -> None:
        """Print the first faces, the counts of the network ``title``, ``notes`` and the unreadable files."""
        console = Console(markup=False, highlight=False, soft_wrap=True)
        if self.rows:
            console.print(self._table(), soft_wrap=False)
        faces, pictures = counted(self.faces, "face"), counted(self.frames, "picture")
        labels = "".join(f"; {printable(label)} {times}" for label, times in self.labels.most_common())
        console.print(f"{title}: {faces} in {pictures}, {self.empty} without{labels}")
        for note in notes:
            console.print(note)
        for frame in self.unreadable[:5]:
            console.print(f"unreadable: {printable(frame.file)}: {printable(frame.error or '')}")
        if len(self.unreadable) > 5:
            console.print(f"… and {len(self.unreadable) - 5} more unreadable")

    def _table(self) -> Table:
        """Tabulate the two most probable classes of each row; for people in a video, of their mean."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("file", "frames", "face", "expression", "probability", "next"):
            right = name in ("frames", "face", "probability")
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for row in self.rows.values():
            cells = [printable(row.file), "" if row.first is None else f"{row.first}–{row.last}"]
            if row.face is None:
                table.add_row(*cells, "", NO_FACE)
                continue
            mean = row.total / row.count
            first, second = np.argsort(-mean, kind="stable")[:2]
            best, following = (printable(self.class_names[each]) for each in (first, second))
            table.add_row(*cells, str(row.face), best, f"{mean[first]:.1%}", f"{following} {mean[second]:.1%}")
        return table
