"""Explanations of pictures: a folder of drawings and arrays per face, and one table."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.data.images import UnreadableImageError, quiet
from fersweep.errors import UserError
from fersweep.faces import Pixels
from fersweep.faces.pictures import find, read
from fersweep.faces.table import NO_FACE
from fersweep.files import Names, atomic_path, refuse_inside, writing
from fersweep.inference.explain import Explanation, explain, pictures
from fersweep.inference.predict import Predictor
from fersweep.text import cells

TABLE = "explanations.csv"
ADVICE = "choose another place with -o OUT"
SCORES = ("deletion", "insertion", "deletion_random", "insertion_random")
COLUMNS = ("file", "face", "folder", "predicted", "probability", *SCORES, "worth", "reason")


def explain_files(predictor: Predictor, inputs: Sequence[Path], out: Path) -> list[dict[str, Any]]:
    """Explain every face in pictures, or folders of them, with a predictor of a single network.

    Write ``NAME/gradcam.png``, ``NAME/attention.png`` (if the network has attention) and ``NAME/arrays.npz`` for each
    face, and `TABLE`, into the folder ``out``.

    Returns:
        Rows of the table, `COLUMNS`: one per face; a picture without one has a row with the ``reason``.

    Raises:
        UserError: there is no picture, or ``out`` cannot be written.
    """
    files = [file for path in inputs for file in find(path)]
    if not files:
        raise UserError(f"There is no picture in {', '.join(map(str, inputs))}: give image files or folders of them.")
    refuse_inside(out, inputs)
    rows: list[dict[str, Any]] = []
    names = Names(TABLE)
    with writing(out, advice=ADVICE):
        out.mkdir(parents=True, exist_ok=True)
        try:
            for file in files:
                rows += _explain_picture(predictor, file, out, names)
        finally:  # also after Ctrl-C
            write_table(out / TABLE, COLUMNS, rows)
    return rows


def _explain_picture(predictor: Predictor, file: Path, out: Path, names: Names) -> list[dict[str, Any]]:
    try:
        with quiet():
            picture = read(file)
    except UnreadableImageError as error:
        return [{"file": file, "reason": str(error)}]
    faces = predictor.cut(picture, predictor.find([picture])[0])
    if not faces:
        return [{"file": file, "reason": NO_FACE}]
    [trained] = predictor.trained
    batch = trained.prepare(faces)
    rows = []
    for number, (image, explanation) in enumerate(zip(batch, explain(trained, batch), strict=True), start=1):
        name = names.unique(safe(file.stem) + (f"-face{number}" if len(faces) > 1 else ""))
        _write_face(out / name, pictures.pixels_of(image), explanation)
        rows.append({"file": file, "face": number, "folder": name, **row_of(explanation)})
    return rows


def _write_face(folder: Path, pixels: Pixels, explanation: Explanation) -> None:
    folder.mkdir(exist_ok=True)
    pictures.gradcam(folder / "gradcam.png", pixels, explanation)
    (folder / "attention.png").unlink(missing_ok=True)  # of another network
    if explanation.gates:
        pictures.attention(folder / "attention.png", pixels, explanation)
    with atomic_path(folder / "arrays.npz") as temporary:
        np.savez_compressed(temporary, allow_pickle=False, image=pixels, **explanation.arrays())


def row_of(explanation: Explanation) -> dict[str, Any]:
    """Return the columns of an explanation: class, probability, scores, and these in words."""
    return {
        "predicted": explanation.label,
        "probability": round(explanation.probability, 4),
        **{name: round(value, 4) for name, value in asdict(explanation.scores).items()},
        "worth": explanation.scores.worth,
    }


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically; missing columns are left empty."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(cells(columns))
        table.writerows(cells(row.get(column, "") for column in columns) for row in rows)


def safe(text: str) -> str:
    """Return a name without characters that some file systems reject."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:50].rstrip(".") or "face"
