"""Words of a command line that name a network, and words that name pictures."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from PIL import Image

from fersweep.data.images import quiet
from fersweep.errors import UserError
from fersweep.faces import pictures
from fersweep.files import given
from fersweep.inference.predict.inputs import VIDEOS
from fersweep.training.weights_file import SUFFIX

NETWORKS = (".ckpt", SUFFIX)
"""Suffixes of files that are networks."""

A_NETWORK = f"the directory of a run, a .ckpt or a {SUFFIX} file"
A_PICTURE = "a picture, a video, a folder of pictures, or camera N"

CAMERA = "camera"

ZIP = b"PK"
"""First bytes of a checkpoint, which is a zip file."""


class Kind(Enum):
    """Meaning of a word of the command line."""

    NETWORK = "a network"
    RUNS = "a folder with runs below it"
    INPUT = "pictures or videos"
    NEITHER = "neither"


def split(words: Sequence[str], checkpoint: Path | None) -> tuple[Path | None, list[str]]:
    """Divide the words of a command line into a network and inputs.

    Args:
        words: a network or a folder of runs may come first; the others are inputs.
        checkpoint: the network named by ``--checkpoint``; all words are then inputs.

    Returns:
        The network, ``None`` if none is named, and the inputs.

    Raises:
        UserError: the first word is neither a network nor an input, or a network stands among the inputs.
    """
    inputs = list(words)
    if checkpoint is None and inputs and inputs[0] != CAMERA:
        first = kind(inputs[0])
        if first is Kind.NEITHER:
            raise UserError(_neither(inputs[0]))
        if first in (Kind.NETWORK, Kind.RUNS):
            checkpoint = given(Path(inputs.pop(0)))
    for word in inputs if inputs[:1] != [CAMERA] else []:
        if _is_network(given(Path(word))):
            named = f"beside {checkpoint}" if checkpoint else "after inputs"
            raise UserError(f"{word} is a network, {named}: name one network, first or with --checkpoint.")
    return checkpoint, inputs


def kind(word: str) -> Kind:
    """Return what a word names: by its suffix or, without a known one, by what lies there."""
    path = given(Path(word))
    if _is_network(path):
        return Kind.NETWORK
    if path.is_dir():
        if any(path.glob("**/checkpoints/*.ckpt")):
            return Kind.RUNS
        return Kind.INPUT if pictures.find(path) else Kind.NEITHER
    if pictures.is_picture(path.name) or path.suffix.lower() in VIDEOS or (not path.exists() and glob.has_magic(word)):
        return Kind.INPUT
    return _kind_of_content(path) if path.is_file() else Kind.INPUT if path.exists() else Kind.NEITHER


def _is_network(path: Path) -> bool:
    """Return whether ``path`` is the directory of a run, finished or not, or has the suffix of a network's file."""
    if path.is_dir():
        return any(path.glob("checkpoints/*.ckpt")) or (path / "status.json").is_file()
    return path.suffix.lower() in NETWORKS


def _kind_of_content(path: Path) -> Kind:
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) == ZIP:
                return Kind.NETWORK
        with quiet(), Image.open(path):
            return Kind.INPUT
    except (OSError, Image.DecompressionBombError):  # unreadable, or of no format that Pillow knows
        return Kind.NEITHER


def _neither(word: str) -> str:
    """Return the error for a first word that names nothing that can be used."""
    if given(Path(word)).exists():
        return f"{word} is neither a network ({A_NETWORK}) nor {A_PICTURE}."
    return f"There is no {word}: name {A_PICTURE}, and before it, if you want another one, a network ({A_NETWORK})."
