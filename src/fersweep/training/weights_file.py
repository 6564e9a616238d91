"""Files of weights: safetensors whose metadata have all settings that rebuild the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from fersweep.errors import UserError
from fersweep.text import first_line
from fersweep.training import checkpoint

SUFFIX = ".safetensors"

MODEL, CARD = "model.safetensors", "card.json"
"""Names of the file and its card in a folder of ``fersweep export --half``."""

FORMAT = 1
"""Version of the metadata that `fersweep.inference.export.about.metadata` writes."""


def is_exported(path: Path) -> bool:
    """Return whether a file of safetensors has the metadata of ``fersweep export``; false if it is not readable."""
    try:
        return "fersweep_format" in metadata(path)
    except (OSError, SafetensorError):
        return False


def metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a file of safetensors."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that ``fersweep export`` wrote, weights in half precision as float32.

    Returns:
        The state of the network by its names in the network, on the CPU, and what a checkpoint stores under
        ``fersweep``: ``config``, ``class_names``, ``temperature``, ``framing``, ``tested`` and ``run`` (its hash).

    Raises:
        UserError: it is missing or damaged, or not from this version.
    """
    try:
        known = metadata(path)
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}).") from error
    if known.get("fersweep_format") != str(FORMAT):
        raise UserError(f"{path} was not written by this version of fersweep: export the checkpoint again.")
    try:
        about = {
            "class_names": json.loads(known["labels"]),
            "config": json.loads(known["config"]),
            "temperature": float(known["temperature"]),
            "framing": known.get("framing"),
            "tested": json.loads(known.get("tested", "{}")),
            "run": known.get("run"),
        }
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: its metadata cannot be read ({first_line(error)}).") from error
    if problem := checkpoint.problem_of(about):
        raise UserError(f"{path} is damaged: its {problem}.")
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}, about
