"""The network that is tested, with all that its checkpoint and its run tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersweep.config.schema import to_dict
from fersweep.errors import UserError
from fersweep.files import digest, given
from fersweep.inference import trained
from fersweep.runs.collect import read, result_of
from fersweep.runs.identity import run_hash
from fersweep.training import checkpoint, weights_file
from fersweep.training.devices import precision
from fersweep.training.network import laid_out


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        path: as it was named.
        run: the directory of its run, ``None`` for a checkpoint alone.
        trained: the network, its configuration and its classes.
        data_digest: of its training data, ``None`` if unknown.
        precision: Lightning's name.
        microbatches: per batch of its training, which also divide the batches of a test.
        digest: SHA-256 of the file.
        result: ``result.json`` of the run; empty without one.
    """

    path: Path
    run: Path | None
    trained: trained.Trained
    data_digest: str | None
    precision: str
    microbatches: int
    digest: str
    result: Mapping[str, Any]

    @property
    def hash(self) -> str | None:
        """The hash of the run; ``None`` if it cannot be told, as of a run whose teacher is gone."""
        if "run" in self.result:
            return str(self.result["run"])
        if self.trained.run is not None:
            return self.trained.run
        try:
            return run_hash(to_dict(self.trained.cfg))
        except (UserError, OSError, LookupError, TypeError, AttributeError):
            return None


def load(path: Path, device: str) -> Network:
    """Load the network of a finished run, or of a file alone.

    Raises:
        UserError: the run is not finished or was kept without its weights, or the file cannot be used.
    """
    path = given(path)
    run = run_of(path)
    if run is not None:
        refuse_unfinished(run)
    found = trained.load(path, device)
    laid_out(found.network, found.cfg)
    about: Mapping[str, Any] = {}
    if found.path.suffix != weights_file.SUFFIX:
        about = checkpoint.load(found.path)["fersweep"]
    return Network(
        path=path,
        run=run,
        trained=found,
        data_digest=about.get("data_digest"),
        precision=about.get("precision") or precision(found.cfg.trainer.precision, found.device),
        microbatches=int(about.get("parts", 1)),
        digest=digest(found.path),
        result=(result_of(run) if run is not None else None) or {},
    )


def run_of(path: Path) -> Path | None:
    """Return the directory of the run that a directory, or its best checkpoint, belongs to."""
    if path.is_dir():
        return path
    run = path.parent.parent
    named = path.name == "best.ckpt" and path.parent.name == "checkpoints"
    return run if named and (run / "result.json").is_file() else None


def refuse_unfinished(run: Path) -> None:
    """Raise UserError for a directory that is no finished run with its weights."""
    if not run.is_dir() or not any((run / name).exists() for name in ("status.json", "result.json", "checkpoints")):
        raise UserError(f"{run} is not the directory of a run: name one, a folder of runs, or a checkpoint.")
    found = read(run)
    if found.state == "unreadable" and found.error:
        raise UserError(found.error["message"])
    if found.state != "done":
        raise UserError(
            f"the run {run} is {found.state}: finish it first, with the command that started it, or name its "
            "checkpoints/best.ckpt and a folder for the result with -o DIR."
        )
    if not (run / "checkpoints" / "best.ckpt").is_file():
        raise UserError(
            f"{run} was kept without its weights (checkpoints/best.ckpt): name a copy that has them, or train it again."
        )
