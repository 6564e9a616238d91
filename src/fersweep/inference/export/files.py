"""Files of an exported network, one writer per suffix."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from fersweep.errors import UserError
from fersweep.files import writing
from fersweep.inference.export import card, facts, graph, onnx_file, weights
from fersweep.inference.trained import Trained
from fersweep.text import did_you_mean
from fersweep.training.weights_file import CARD, MODEL

FORMS: dict[str, Callable[[Trained, Path], graph.Difference | None]] = {
    ".onnx": onnx_file.write,
    ".pt2": graph.write,
    ".safetensors": weights.write,
    ".md": card.write,
}
"""Suffix → writer."""

HALF_FORMS: dict[str, Callable[[Trained, Path], graph.Difference | None]] = {
    ".safetensors": partial(weights.write, half=True),
    ".md": partial(card.write, half=True),
    ".json": facts.write,
}
"""The same for weights in half precision."""

FOLDER = ("model.onnx", "model.pt2", "model.safetensors", "README.md")
"""Files of a folder."""

HALF_FOLDER = (MODEL, "README.md", CARD)
"""Files of a folder with weights in half precision; the last has the digest of the first."""


def places(outputs: Sequence[Path], half: bool = False) -> list[Path]:
    """Return the files to write for ``outputs``, files or folders, which get all of a folder; make missing folders.

    Raises:
        UserError: a suffix is unknown or has no half precision, or a folder cannot be written to.
    """
    files: list[Path] = []
    for output in outputs:
        if output.is_dir() or not output.suffix:
            files += [output / name for name in (HALF_FOLDER if half else FOLDER)]
        elif half and output.suffix != ".safetensors":
            raise UserError(f"--half is for .safetensors files, not {output}: name such a file, or a folder.")
        elif output.suffix in FORMS:
            files.append(output)
        else:
            raise UserError(
                f"{output} has an unknown suffix{did_you_mean(output.suffix, FORMS)}: "
                f"use {', '.join(FORMS)}, or name a folder."
            )
    for folder in {path.parent for path in files}:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
    for path in files:
        if path.suffix == ".md":
            card.refuse_foreign(path)  # before anything is written
    return list(dict.fromkeys(files))


def write(trained: Trained, path: Path, half: bool = False) -> graph.Difference | None:
    """Write one file in the form of its suffix, checked against the network; cards and records have no `Difference`.

    Raises:
        UserError: the network cannot be exported, the file's answers differ from its, or ``path`` cannot be written.
            ``path`` is unchanged then.
    """
    forms = HALF_FORMS if half else FORMS
    with writing(path):
        return forms[path.suffix](trained, path)
