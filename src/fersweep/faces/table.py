"""``faces.csv``: one row a face found or picture skipped."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fersweep.errors import UserError
from fersweep.faces import LANDMARKS, Face
from fersweep.files import atomic_path
from fersweep.text import counted, printable

FILE_NAME = "faces.csv"
NO_FACE = "no face found"

BOX = ("left", "top", "right", "bottom", "confidence")
POINTS = tuple(f"{landmark}_{axis}" for landmark in LANDMARKS for axis in "xy")
COLUMNS = ("file", "face", *BOX, *POINTS, "skipped")


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        file: the picture, relative to where pictures were looked for.
        face: the file cut out of it, relative to the table; empty where it was skipped.
        numbers: `BOX` and `POINTS`, in pixels of the picture, as text; empty where there is none.
        skipped: why the picture has no face here: `NO_FACE`, or what kept it from being read; else empty.
    """

    file: str
    face: str = ""
    numbers: tuple[str, ...] = ("",) * (len(BOX) + len(POINTS))
    skipped: str = ""

    @classmethod
    def of(cls, file: str, name: str, face: Face) -> Row:
        """The row of a face that was cut out into the file ``name``."""
        points = [""] * len(POINTS) if face.landmarks is None else [f"{value:.2f}" for value in face.landmarks.ravel()]
        box = [f"{value:.2f}" for value in face.box]
        return cls(file, name, (*box, f"{face.confidence:.4f}", *points))

    @property
    def unreadable(self) -> bool:
        """Whether the picture could not be looked at."""
        return self.skipped not in ("", NO_FACE)


def read(folder: Path) -> dict[str, list[Row]]:
    """The rows of the table in ``folder`` by picture; none where there is no table.

    Raises:
        UserError: it cannot be read, or is not such a table.
    """
    path = folder / FILE_NAME
    rows: dict[str, list[Row]] = {}
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = csv.reader(file, strict=True)
            good = tuple(next(lines, ())) == COLUMNS
            for line in lines:
                good = good and len(line) == len(COLUMNS)
                name, face, *numbers, skipped = line if good else ("", "", "")
                rows.setdefault(name, []).append(Row(name, face, tuple(numbers), skipped))
    except FileNotFoundError:
        return {}
    except (OSError, csv.Error) as error:
        raise UserError(f"Cannot read {path} ({error}): remove it to begin again.") from error
    if not good:
        raise UserError(f"{path} is not a table of faces: remove it to begin again.")
    return rows


def write(folder: Path, rows: Mapping[str, Iterable[Row]]) -> None:
    """Write the table into ``folder``, sorted by picture, atomically.

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
                writer.writerows((row.file, row.face, *row.numbers, row.skipped) for row in rows[name])
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error


def summary(rows: Mapping[str, list[Row]]) -> str:
    """How many pictures and faces there are, and the first five pictures that could not be read."""
    lines = [row for each in rows.values() for row in each]
    unreadable = [row for row in lines if row.unreadable]
    counts = (
        counted(len(rows), "picture"),
        counted(sum(row.face != "" for row in lines), "face"),
        f"{sum(row.skipped == NO_FACE for row in lines):,} without a face",
        f"{len(unreadable):,} unreadable",
    )
    listed = [f"  {printable(row.file)}: {row.skipped}" for row in unreadable[:5]]
    more = [f"  and {len(unreadable) - 5:,} more"] if len(unreadable) > 5 else []
    return "\n".join([", ".join(counts), *listed, *more])
