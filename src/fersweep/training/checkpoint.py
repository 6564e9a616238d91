"""Checkpoints: tensors and plain dicts only, always loaded with ``weights_only=True``."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fersweep.config.schema import title, title_of
from fersweep.errors import UserError
from fersweep.files import atomic_path

FORMAT = 1
"""Version of what `stored` holds."""

SLIM = ("fersweep", "state_dict", "epoch", "global_step", "pytorch-lightning_version")
"""What a best checkpoint holds: enough to test, predict and start another run from."""

TESTED = ("test/accuracy", "test/n", "majority_baseline")
"""What the best checkpoint of a finished run says of its test."""

PREFIX = "model."

DAMAGED = (
    *(OSError, EOFError, RuntimeError, pickle.UnpicklingError, struct.error),
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError, MemoryError),
)
"""What torch's reader raises for bytes that are not, or no longer, a checkpoint."""


def stored(
    config: Mapping[str, Any],
    class_names: tuple[str, ...],
    data_digest: str,
    precision: str,
    parts: int,
    framing: str | None = None,
) -> dict[str, Any]:
    """What a checkpoint says of itself: format, resolved configuration, class names, which data it has seen.

    ``precision`` (Lightning's name) and ``parts`` (micro-batches a step) are those of the arithmetic so far; a run that
    goes on elsewhere goes on with them. ``framing`` is what the dataset's images show, see `fersweep.build.framing`.
    """
    return {
        "format": FORMAT,
        "config": dict(config),
        "class_names": list(class_names),
        "data_digest": data_digest,
        "precision": precision,
        "parts": parts,
        "framing": framing,
    }


def add(path: Path, **about: Any) -> None:
    """Have a checkpoint say more of itself, such as what its test said: plain dicts, lists and scalars."""
    content = load(path)
    content["fersweep"] |= about
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def find(path: Path) -> Path:
    """The checkpoint file of a run directory, or the file itself; ``~`` is expanded."""
    path = path.expanduser()
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}: give a .ckpt file or the directory of a finished run.")
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project onto the CPU.

    Args:
        path: a ``.ckpt`` file, or a run directory (its ``checkpoints/best.ckpt``).

    Raises:
        UserError: where there is none, it is damaged, or another program wrote it.
    """
    path = find(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a damaged or foreign file looks like
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise UserError(f"{path} is not a readable checkpoint: it is damaged or was not written here.") from error
    about = checkpoint.get("fersweep") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "state_dict" not in checkpoint or not {"config", "class_names"} <= set(about):
        raise UserError(f"{path} was not written by fersweep: it does not name its configuration.")
    if about.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {about.get('format')}, this version reads {FORMAT}: use the version it is of."
        )
    return checkpoint


def load_weights(model: nn.Module, path: Path) -> dict[str, Any]:
    """Copy a checkpoint's network weights into ``model``, all of them or none; return what the checkpoint holds.

    Raises:
        UserError: for a checkpoint of another architecture, naming the first parameter that does not fit.
    """
    checkpoint = load(path)
    put(model, checkpoint, find(path))
    return checkpoint


def put(model: nn.Module, checkpoint: Mapping[str, Any], path: Path) -> None:
    """As `load_weights`, of a checkpoint that was read from ``path`` before."""
    state = checkpoint["state_dict"]
    weights = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    own = model.state_dict()
    for key in [*own, *weights]:
        if key not in weights or key not in own or own[key].shape != weights[key].shape:
            there = tuple(weights[key].shape) if key in weights else "absent"
            here = tuple(own[key].shape) if key in own else "absent"
            config = checkpoint["fersweep"]["config"]
            network = f"{title(config)}, {title_of(config, 'fidelity')}"
            raise UserError(
                f"{path} holds another architecture ({network}): {key} is {there} there and {here} here; "
                "choose the same backbone, attention, fidelity, image size and classes, or other weights."
            )
    model.load_state_dict(weights)
