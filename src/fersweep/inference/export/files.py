"""From a checkpoint to files: which form each is to have, whether it can be written, and what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fersweep.errors import UserError
from fersweep.inference.export import card, onnx_file, program, weights
from fersweep.inference.export.graph import Difference
from fersweep.inference.trained import Trained
from fersweep.text import did_you_mean

FORMS: dict[str, Callable[[Trained, Path], Difference | None]] = {
    ".onnx": onnx_file.write,
    ".pt2": program.write,
    ".safetensors": weights.write,
    ".md": card.write,
}
"""Suffix → what writes such a file."""

FOLDER = ("model.onnx", "model.pt2", "model.safetensors", "README.md")
"""What a folder gets."""


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        path: of the file.
        difference: from PyTorch; ``None`` for a card.
    """

    path: Path
    difference: Difference | None

    @property
    def megabytes(self) -> float:
        """Its size, in 10⁶ bytes."""
        return self.path.stat().st_size / 1e6


def places(outputs: Sequence[Path]) -> list[Path]:
    """The files that are asked for, in the order they are asked for; folders that are missing are made.

    Args:
        outputs: files whose suffix is one of `FORMS`, or folders, which get all of `FOLDER`.

    Raises:
        UserError: for another suffix, or where nothing can be written.
    """
    asked: list[Path] = []
    for output in outputs:
        if output.is_dir() or not output.suffix:
            asked += [output / name for name in FOLDER]
        elif output.suffix in FORMS:
            asked.append(output)
        else:
            raise UserError(
                f"{output} has no form that is known{did_you_mean(output.suffix, FORMS)}: "
                f"let it end in {', '.join(FORMS)}, or name a folder."
            )
    for folder in {path.parent for path in asked}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UserError(f"{folder} cannot be written to ({error.strerror}): choose another place.") from error
    for path in asked:
        if path.suffix == ".md":
            card.refuse_foreign(path)  # before anything is written
    return list(dict.fromkeys(asked))


def write(trained: Trained, path: Path) -> Written:
    """Write one file, in the form its suffix names, checked against the network.

    Raises:
        UserError: as the form's own; there is no space, or ``path`` cannot be replaced.
    """
    try:
        return Written(path, FORMS[path.suffix](trained, path))
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror or error}): choose another place.") from error
