"""FER+ drawn small, in each of its forms."""

from __future__ import annotations

from pathlib import Path

import fakes
from fakes import FER_CODES, encoded, picture, write

from fersweep.data.samples import PRIVATE, PUBLIC, TRAINING
from fersweep.data.sources import ferplus_join
from fersweep.data.sources.ferplus_votes import COLUMNS

HEADER = "Usage,Image name," + ",".join(COLUMNS)


def votes(**of: int) -> str:
    """The votes on one image; the rest of the ten is for neutral."""
    names = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
    given = {names.get(name, name): count for name, count in of.items()}
    given["neutral"] = given.get("neutral", 0) + 10 - sum(given.values())
    return ",".join(str(given.get(column, 0)) for column in COLUMNS)


KINDS = {
    "clear": lambda label: votes(**{label: 8}),
    "split": lambda label: votes(**{label: 5, "neutral" if label != "neutral" else "sad": 4, "fear": 1}),
    "even": lambda label: votes(**{label: 4, "happy" if label != "happy" else "sad": 4, "unknown": 2}),
    "no face": lambda _: votes(NF=10),
    "contempt": lambda _: votes(contempt=7, angry=3),
}
"""Votes on an image that FER2013 calls ``label``."""


def drawn(root: Path, form: str) -> Path:
    """140 images, 70 of Training and 35 of the other parts, with every kind of votes on every class in each part."""
    usages = [(TRAINING, TRAINING, PUBLIC, PRIVATE)[row // 7 % 4] for row in range(140)]
    codes = {code: label for label, code in FER_CODES.items()}
    kinds = list(KINDS)
    cells, named = [], 0
    for row, usage in enumerate(usages):
        text = KINDS[kinds[row % 5]](codes[row % 7])
        nameless = kinds[row % 5] == "no face"
        cells.append((usage, "" if nameless else f"fer{named:07d}.png", text))
        named += not nameless
    if form == "csv":
        fakes.fer2013_csv(root / "fer2013.csv", rows=140)
    elif form == "kaggle":
        stored = {}
        for row, usage in enumerate(usages):
            part = "train" if usage == TRAINING else "test"
            name = f"{part}/{codes[row % 7]}/{usage}_{900 + row}.png"
            write(root / name, encoded(picture(row)))
            stored[ferplus_join.kaggle_key(name)] = row
        table = ferplus_join.kaggle_rows()
        table.update(stored)
    else:
        folder = {TRAINING: "FER2013Train", PUBLIC: "FER2013Valid", PRIVATE: "FER2013Test"}
        lines: dict[str, list[str]] = {name: [] for name in folder.values()}
        for row, (usage, name, text) in enumerate(cells):
            if name:
                write(root / folder[usage] / name, encoded(picture(row)))
                lines[folder[usage]].append(f'{name},"(0, 0, 48, 48)",{text}')
        for place, rows in lines.items():
            write(root / place / "label.csv", "\n".join(rows) + "\n")
        return root
    write(root / "fer2013new.csv", "\n".join([HEADER, *map(",".join, cells)]) + "\n")
    return root
