"""Checkpoints: tensors and plain containers only, always loaded with ``weights_only=True``."""

from __future__ import annotations

import tempfile
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
"""Version of `stored`."""

SLIM = ("fersweep", "state_dict", "epoch", "global_step", "pytorch-lightning_version")
"""Keys of ``best.ckpt``: enough to test, predict and start another run."""

TESTED = ("test/accuracy", "test/n", "majority_baseline")
"""Test figures in ``best.ckpt`` of a finished run."""

PREFIX = "model."

PROBE = 2**20
"""Bytes that are written where a checkpoint cannot be, to learn the reason."""


def stored(
    config: Mapping[str, Any],
    class_names: tuple[str, ...],
    data_digest: str,
    precision: str,
    microbatches: int,
    framing: str | None = None,
) -> dict[str, Any]:
    """Return the metadata that a checkpoint stores under ``fersweep``; a resumed run keeps precision and microbatches.

    ``precision`` is Lightning's name, ``framing`` that of `fersweep.build.framing`.
    """
    return {
        "format": FORMAT,
        "config": dict(config),
        "class_names": list(class_names),
        "data_digest": data_digest,
        "precision": precision,
        "parts": microbatches,
        "framing": framing,
    }


def add(path: Path, **metadata: Any) -> None:
    """Add metadata, plain dicts, lists and scalars, to a checkpoint file."""
    content = load(path)
    content["fersweep"] |= metadata
    save(content, path)


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint file atomically.

    Raises:
        OSError: it cannot be written, with the number of the system's error, which torch's writer drops.
    """
    failure = ""
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:
            failure = str(error)  # not the error itself, which keeps the incomplete file open
        if failure:
            with tempfile.TemporaryFile(dir=path.parent) as probe:
                probe.write(bytes(PROBE))
                probe.flush()
            raise RuntimeError(failure)


def find(path: Path) -> Path:
    """Return the best checkpoint of a run directory, or the file itself; ``~`` is expanded."""
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
        UserError: it does not exist, is damaged, or was written by another program.
    """
    path = find(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged and foreign files
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch and pickle raise almost anything
        raise UserError(
            f"{path} is not a readable checkpoint: it is damaged or was not written by fersweep."
        ) from error
    about = checkpoint.get("fersweep") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "state_dict" not in checkpoint or not {"config", "class_names"} <= set(about):
        raise UserError(f"{path} was not written by fersweep: it contains no configuration.")
    if about.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {about.get('format')}, this version reads {FORMAT}: use the version that wrote it."
        )
    return checkpoint


def load_last(path: Path) -> dict[str, Any]:
    """Load the checkpoint that a run resumes from; UserError as in `load`, with advice."""
    try:
        return load(path)
    except UserError as error:
        raise UserError(f"{error} Set force=true to start the run afresh.") from error


def load_weights(model: nn.Module, path: Path) -> dict[str, Any]:
    """Load the network weights of a checkpoint into ``model``, all or none; return the checkpoint.

    Raises:
        UserError: for another architecture, with the first parameter that does not fit.
    """
    checkpoint = load(path)
    put(model, checkpoint, find(path))
    return checkpoint


def put(model: nn.Module, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint that was read from ``path``; see `load_weights`."""
    state = checkpoint["state_dict"]
    weights = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    own = model.state_dict()
    for key in [*own, *weights]:
        if key not in weights or key not in own or own[key].shape != weights[key].shape:
            stored, expected = (tuple(state[key].shape) if key in state else "absent" for state in (weights, own))
            config = checkpoint["fersweep"]["config"]
            network = f"{title(config)}, {title_of(config, 'fidelity')}"
            raise UserError(
                f"{path} has another architecture ({network}): {key} is {stored} there and {expected} in this run; "
                "choose the same backbone, attention, fidelity, image size and classes, or other weights."
            )
    model.load_state_dict(weights)
