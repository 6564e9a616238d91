"""The card as JSON: a file of weights, its digest, its origin, and test results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fersweep.config.schema import NAMED, title_of, to_dict
from fersweep.errors import UserError
from fersweep.files import digest, write_json
from fersweep.inference.export import about, card
from fersweep.inference.trained import Trained
from fersweep.training.commit import commit
from fersweep.training.weights_file import MODEL

RESULTS = (
    *("metrics", "accuracy_interval", "majority_baseline", "per_class", "calibration", "twins", "confusion_matrix"),
    *("shared_subjects", "train_n", "val_n", "data_digest", "best_epoch", "epochs"),
)
"""Keys of ``result.json`` that the card repeats, where the run has them."""


def write(trained: Trained, path: Path) -> None:
    """Write the card of the file `MODEL` beside ``path``; see `files.write`."""
    model = path.with_name(MODEL)
    if not model.is_file():
        raise UserError(f"{path} needs {model} beside it: export a folder.")
    write_json(path, facts(trained, model))


def facts(trained: Trained, model: Path) -> dict[str, Any]:
    """Return the content of the card; errors are those of `about.result`."""
    found, cfg = about.result(trained), to_dict(trained.cfg)
    known = about.metadata(trained)
    return {
        "file": model.name,
        "sha256": digest(model),
        "bytes": model.stat().st_size,
        **{key: known[key] for key in ("title", "run", "fersweep_version", "faces")},
        "parameters": card.parameters(trained),
        "classes": list(trained.class_names),
        "image_size": trained.image_size,
        "input_size": trained.input_size,
        "channels": trained.channels,
        "temperature": trained.temperature,
        "choices": {group: title_of(cfg, group) for group in NAMED},
        "seed": trained.cfg.seed,
        "labels_from": trained.cfg.dataset.labels_from,
        "terms": about.terms(trained),
        "command": about.command_of(trained),
        "commit": {"trained": about.trained_at(found), "exported": commit()},
        "not_for": list(card.NOT_FOR),
        "result": found and {key: found[key] for key in RESULTS if key in found},
    }
