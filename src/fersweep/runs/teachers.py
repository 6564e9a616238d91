"""Checkpoints that ``recipe.teacher`` names, found and identified without reading what they hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fersweep.errors import UserError
from fersweep.files import given


def find(path: Path) -> list[Path]:
    """Return the checkpoints of a teacher, sorted: a file, a finished run's best, or those of all runs of a folder.

    Raises:
        UserError: there is none, or one belongs to a run that is not finished.
    """
    path = given(path)
    if path.suffix == ".safetensors":
        raise UserError(
            f"recipe.teacher={path} is an exported network, which does not say on which images it was trained, and so "
            "not that this run's test images are new to it: name the run or the .ckpt file that it was exported from."
        )
    if path.is_file():
        return [path]
    own = path / "checkpoints" / "best.ckpt"
    if (path / "checkpoints").is_dir() or (path / "config.yaml").is_file():
        found = [own] if own.is_file() else []
    else:
        found = sorted(path.glob("**/checkpoints/best.ckpt"))
    unfinished = [each.parent.parent for each in found if not (each.parent.parent / "result.json").is_file()]
    if unfinished or (not found and (path / "config.yaml").is_file()):
        run = unfinished[0] if unfinished else path
        raise UserError(f"recipe.teacher={path}: the run {run} is not finished: finish it, or name another teacher.")
    if not found:
        raise UserError(f"recipe.teacher={path} has no trained network: name a .ckpt file, a run or a folder of runs.")
    return found


def digest(checkpoint: Path) -> str:
    """Return the SHA-256 of a checkpoint, by which a run's identity knows its teachers."""
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
