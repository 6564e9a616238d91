"""``faces.csv``: one row per face found or picture skipped."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fersweep.errors import UserError
from fersweep.faces import LANDMARKS, Face
from fersweep.files import atomic_path
from fersweep.text import cells, counted, from_cell, printable

FILE_NAME = "faces.csv"
NO_FACE = "no face found"

BOX = ("left", "top", "right", "bottom", "confidence")
POINTS = tuple(f"{landmark}_{axis}" for landmark in LANDMARKS for axis in "xy")
COLUMNS = ("file", "face", *BOX, *POINTS, "skipped")


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        file: the picture, relative to the input folder.
        face: the file of the face, relative to the table; empty if the picture was skipped.
        numbers: `BOX` and `POINTS`, in pixels of the picture, as text; empty if missing.
        skipped: the reason for a picture without a face: `NO_FACE`, or the error that prevented reading it.
    """

    file: str
    face: str = ""
    numbers: tuple[str, ...] = ("",) * (len(BOX) + len(POINTS))
    skipped: str = ""

    @classmethod
    def of(cls, file: str, name: str, face: Face) -> Row:
        """Return the row of a face that was written to the file ``name``."""
        points = [""] * len(POINTS) if face.landmarks is None else [f"{value:.2f}" for value in face.landmarks.ravel()]
        box = [f"{value:.2f}" for value in face.box]
        return cls(file, name, (*box, f"{face.confidence:.4f}", *points))

    @property
    def unreadable(self) -> bool:
        """True if the picture could not be read."""
        return self.skipped not in ("", NO_FACE)


def read(folder: Path) -> dict[str, list[Row]]:
    """Return the rows of the table in ``folder`` by picture; none without a table.

    Raises:
        UserError: it cannot be read, or is not such a table.
    """
    path = folder / FILE_NAME
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, csv.Error) as error:
        raise UserError(f"Cannot read {path} ({error}): remove it to start again.") from error
    if not lines or tuple(lines[0]) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
        raise UserError(f"{path} is not a table of faces: remove it to start again.")
    rows: dict[str, list[Row]] = {}
    for name, face, *numbers, skipped in lines[1:]:
        picture = from_cell(name)
        rows.setdefault(picture, []).append(Row(picture, from_cell(face), tuple(numbers), from_cell(skipped)))
    return rows


def write(folder: Path, rows: Mapping[str, Iterable[Row]]) -> None:
    """Write the table to ``folder``, sorted by picture, atomically.

    Raises:
        UserError: it cannot be written.
    """
    path = folder / FILE_NAME
    try:
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")  # names may hold any line end
            writer.writerow(COLUMNS)
            for name in sorted(rows):
                writer.writerows(cells((row.file, row.face, *row.numbers, row.skipped)) for row in rows[name])
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error


def summary(rows: Mapping[str, list[Row]]) -> str:
    """Return the numbers of pictures and faces, and the first five pictures that could not be read."""
    lines = [row for each in rows.values() for row in each]
    unreadable = [row for row in lines if row.unreadable]
    counts = (
        counted(len(rows), "picture"),
        counted(sum(row.face != "" for row in lines), "face"),
        f"{sum(row.skipped == NO_FACE for row in lines):,} without a face",
        f"{len(unreadable):,} unreadable",
    )
    listed = [f"  {printable(row.file)}: {printable(row.skipped)}" for row in unreadable[:5]]
    more = [f"  and {len(unreadable) - 5:,} more"] if len(unreadable) > 5 else []
    return "\n".join([", ".join(counts), *listed, *more])
