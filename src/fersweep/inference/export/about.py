"""What an exported file says of itself: labels, input, temperature, which run, and settings without private places."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fersweep.config.schema import choices_of, to_dict
from fersweep.errors import UserError
from fersweep.faces.crop import FACE
from fersweep.inference.trained import Trained
from fersweep.runs.identity import run_hash

FORMAT = 1
"""Version of `metadata`."""


def metadata(trained: Trained) -> dict[str, str]:
    """Key and text, for formats whose metadata are texts; what is not one is JSON."""
    return {
        "producer": "fersweep",
        "fersweep_format": str(FORMAT),
        "fersweep_version": version("fersweep"),
        "title": trained.title,
        "run": run(trained),
        "labels": json.dumps(list(trained.class_names), ensure_ascii=False),
        "image_size": str(trained.image_size),
        "channels": str(trained.channels),
        "temperature": str(trained.temperature),
        "faces": faces(trained),
        "framing": trained.framing,
        "face_crop": json.dumps(asdict(trained.crop)),
    }


def faces(trained: Trained) -> str:
    """How the training images were framed, for whoever has to cut faces alike, in words."""
    dataset, crop = trained.cfg.dataset, trained.crop
    if dataset.faces == "none":
        words = ["faces, cut close, as the dataset has them" if trained.framing == FACE else "whole pictures, not cut"]
    else:
        words = [f"cut out by {dataset.faces}, margin {crop.margin}"]
        words += ["turned upright"] * crop.align + ["within the picture"] * crop.clip
    words += [f"the picture as JPEG of quality {crop.jpeg_image}"] * (crop.jpeg_image is not None)
    words += [f"resized to {crop.size} pixels by area"] * (crop.size is not None)
    words += [f"as JPEG of quality {crop.jpeg_face}"] * (crop.jpeg_face is not None)
    words += [f"to {trained.image_size} by nearest neighbour"] * crop.nearest
    return ", ".join(words)


def as_json(trained: Trained) -> str:
    """`metadata` as one JSON object."""
    return json.dumps(metadata(trained), ensure_ascii=False)


def shareable(trained: Trained) -> dict[str, Any]:
    """The resolved configuration without what names places and accounts of whoever trained it."""
    config = to_dict(trained.cfg)
    config["dataset"]["root"] = config["cache"] = None
    config["outputs"] = "outputs"
    config["logger"] = {"name": config["logger"]["name"]}
    for node in (config, config["dataset"]["face_crop"]):
        node["weights"] = node["weights"] and Path(node["weights"]).name
    return config


def run(trained: Trained) -> str:
    """The hash of the run; ``unknown`` where weights that it began with, or a detector's, are no longer there."""
    if known := result(trained):
        return str(known["run"])
    try:
        return run_hash(to_dict(trained.cfg))
    except OSError:
        return "unknown"


def result(trained: Trained) -> dict[str, Any] | None:
    """The ``result.json`` of the run whose tested weights these are, ``None`` where there is none beside them.

    Raises:
        UserError: where it cannot be read, or is of another run.
    """
    folder = trained.path.parent
    path = folder.parent / "result.json"
    if trained.path.name != "best.ckpt" or folder.name != "checkpoints" or not path.is_file():
        return None
    chosen = choices_of(to_dict(trained.cfg))
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fits = found["seed"] == trained.cfg.seed and all(
            found["choices"][group] == chosen[group] for group in chosen if group not in ("trainer", "logger")
        )
        found["run"], found["metrics"]["test/accuracy"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the result of a run ({error!r}): run it again with force=true.") from error
    if not fits:
        raise UserError(f"{path} is of another run than {trained.path}: copy the checkpoint to a folder of its own.")
    return found
