"""`fersweep explain` of pictures: for every face a folder of pictures and arrays, and one table of all."""

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
from fersweep.files import Names, atomic_path, refuse_inside
from fersweep.inference.explain import Explanation, explain, pictures
from fersweep.inference.predict import Predictor

TABLE = "explanations.csv"
SCORES = ("deletion", "insertion", "deletion_random", "insertion_random")
COLUMNS = ("file", "face", "folder", "predicted", "probability", *SCORES, "worth", "reason")


def explain_files(predictor: Predictor, inputs: Sequence[Path], out: Path) -> list[dict[str, Any]]:
    """Explain every face of pictures.

    Writes ``NAME/gradcam.png``, ``NAME/attention.png`` (where the network has attention) and ``NAME/arrays.npz`` for
    each face, and `TABLE`.

    Args:
        predictor: a single network, and how faces are found and cut for it.
        inputs: pictures, or folders of them.
        out: the folder to write, made where it is missing.

    Returns:
        The rows of the table, `COLUMNS`: one a face, or one with the ``reason`` why a picture has none.

    Raises:
        UserError: there is no picture, or ``out`` cannot be written.
    """
    files = [file for path in inputs for file in find(path)]
    if not files:
        raise UserError(f"There is no picture in {', '.join(map(str, inputs))}: give image files or folders of them.")
    refuse_inside(out, inputs)
    rows: list[dict[str, Any]] = []
    names = Names(TABLE)
    try:
        out.mkdir(parents=True, exist_ok=True)
        try:
            for file in files:
                rows += _picture(predictor, file, out, names)
        finally:  # what was explained until Ctrl-C, too
            write_table(out / TABLE, COLUMNS, rows)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another place with -o OUT.") from error
    return rows


def _picture(predictor: Predictor, file: Path, out: Path, names: Names) -> list[dict[str, Any]]:
    """Explain one picture; return its rows."""
    try:
        with quiet():
            picture = read(file)
    except UnreadableImageError as error:
        return [{"file": file, "reason": str(error)}]
    cut = predictor.cut(picture, predictor.find([picture])[0])
    if not cut:
        return [{"file": file, "reason": NO_FACE}]
    [trained] = predictor.trained
    batch = trained.prepare(cut)
    rows = []
    for number, (image, each) in enumerate(zip(batch, explain(trained, batch), strict=True), start=1):
        name = names.unique(safe(file.stem) + (f"-face{number}" if len(cut) > 1 else ""))
        write_one(out / name, pictures.channels_last(image.numpy()), each)
        rows.append({"file": file, "face": number, "folder": name, **row_of(each)})
    return rows


def write_one(folder: Path, pixels: Pixels, explanation: Explanation) -> None:
    """Write the pictures and arrays of one explanation into ``folder``, made where it is missing."""
    folder.mkdir(exist_ok=True)
    pictures.gradcam(folder / "gradcam.png", pixels, explanation)
    (folder / "attention.png").unlink(missing_ok=True)  # of another network
    if explanation.gates:
        pictures.attention(folder / "attention.png", pixels, explanation)
    with atomic_path(folder / "arrays.npz") as temporary:
        np.savez_compressed(temporary, allow_pickle=False, image=pixels, **explanation.arrays())


def row_of(explanation: Explanation) -> dict[str, Any]:
    """What a table says of an explanation: the class, its probability, the scores, and what these say in words."""
    scores = {name: round(value, 4) for name, value in asdict(explanation.scores).items()}
    return {
        "predicted": explanation.label,
        "probability": round(explanation.probability, 4),
        **scores,
        "worth": explanation.scores.worth,
    }


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically; what a row lacks is left empty."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)


def safe(text: str) -> str:
    """A name without what some systems do not allow in names of files."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:50].rstrip(".") or "face"
