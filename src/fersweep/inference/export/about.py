"""Metadata of exported files: labels, input, temperature, run, and settings without private paths."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fersweep.config.options import option_file, options
from fersweep.config.schema import choices_of, to_dict
from fersweep.errors import UserError
from fersweep.faces.crop import FACE
from fersweep.inference.trained import Trained
from fersweep.report import again
from fersweep.runs.collect import result_of
from fersweep.runs.identity import run_hash
from fersweep.training.weights_file import FORMAT

ASIDE = (
    *("outputs", "cache", "sweep", "force", "logger", "trainer.progress_bar"),
    *("dataset.labels_from", "dataset.terms", "dataset.splits"),
)
"""Settings that a command need not repeat: places, what is shown, texts for cards, what the dataset allows."""


def metadata(trained: Trained) -> dict[str, str]:
    """Return the metadata as texts; lists and dicts are JSON."""
    crop = {} if trained.input_size == trained.image_size else {"crop": str(trained.input_size)}
    return {
        "producer": "fersweep",
        "fersweep_format": str(FORMAT),
        "fersweep_version": version("fersweep"),
        "title": trained.title,
        "run": run(trained),
        "labels": json.dumps(list(trained.class_names), ensure_ascii=False),
        "image_size": str(trained.image_size),
        **crop,
        "channels": str(trained.channels),
        "temperature": str(trained.temperature),
        "faces": faces(trained),
        "framing": trained.framing,
        "face_crop": json.dumps(asdict(trained.crop)),
        "tested": json.dumps(dict(trained.tested)),
    }


def faces(trained: Trained) -> str:
    """Describe in words how the training images were cropped."""
    dataset, crop = trained.cfg.dataset, trained.crop
    if dataset.faces == "none":
        words = ["faces as in the dataset" if trained.framing == FACE else "whole pictures, not cropped"]
    else:
        words = [f"cropped by {dataset.faces}, margin {crop.margin}"]
        words += ["turned upright"] * crop.align + ["within the picture"] * crop.clip
    words += [f"the picture as JPEG of quality {crop.jpeg_image}"] * (crop.jpeg_image is not None)
    words += [f"resized to {crop.size} pixels by area"] * (crop.size is not None)
    words += [f"as JPEG of quality {crop.jpeg_face}"] * (crop.jpeg_face is not None)
    words += [f"to {trained.image_size} by nearest neighbour"] * crop.nearest
    return ", ".join(words)


def shareable(trained: Trained) -> dict[str, Any]:
    """Return the resolved configuration without paths and accounts of its author."""
    config = to_dict(trained.cfg)
    config["dataset"]["root"] = config["cache"] = None
    if "votes" in config["dataset"]["source"]:
        config["dataset"]["source"]["votes"] = None
    config["outputs"] = "outputs"
    config["logger"] = {"name": config["logger"]["name"]}
    for node in (config, config["dataset"]["face_crop"]):
        node["weights"] = node["weights"] and Path(node["weights"]).name
    config["recipe"]["teacher"] = config["recipe"]["teacher"] and Path(config["recipe"]["teacher"]).name
    return config


def terms(trained: Trained) -> str | None:
    """Return the dataset's terms of use in words; those of its option today if the run's configuration lacks them."""
    dataset = trained.cfg.dataset
    if dataset.terms is None and dataset.name in options("dataset"):
        return option_file("dataset", dataset.name).get("terms")
    return str(dataset.terms) if dataset.terms else None


def command_of(trained: Trained) -> str | None:
    """Return the command that trains the network again, without places; ``None`` if options no longer exist."""
    try:
        kept = again.overrides(shareable(trained), without=ASIDE)
    except UserError:
        return None
    root = ["dataset.root=PATH"] if trained.cfg.dataset.of_people else []
    return " ".join(["uv run train.py", *kept, *root])


def changed(command: str) -> list[str]:
    """Return those of a command's settings that are the network's own: ``backbone.model.width=32``."""
    own = ("backbone.", "attention.", "activation.", "fidelity.")
    return [word for word in shlex.split(command) if word.startswith(own)]


def trained_at(found: Mapping[str, Any] | None) -> str | None:
    """Return the commit in a ``result.json``; runs of earlier versions, and of an installed package, have none."""
    commit: str | None = (found or {}).get("environment", {}).get("commit")
    return commit


def run(trained: Trained) -> str:
    """Return the hash of the run; ``unknown`` if files that it depends on no longer exist."""
    if trained.run is not None:
        return trained.run
    if known := result(trained):
        return str(known["run"])
    try:
        return run_hash(to_dict(trained.cfg))
    except (OSError, UserError):
        return "unknown"


def result(trained: Trained) -> dict[str, Any] | None:
    """Return the ``result.json`` of a run's best checkpoint; ``None`` for other checkpoints.

    Raises:
        UserError: it cannot be read, or belongs to another run.
    """
    folder = trained.path.parent
    if trained.path.name != "best.ckpt" or folder.name != "checkpoints":
        return None
    path, found = folder.parent / "result.json", result_of(folder.parent)
    if found is None:
        return None
    if "run" not in found or "test/accuracy" not in found["metrics"]:
        raise UserError(f"{path} has no test result: repeat the run with force=true.")
    chosen = choices_of(to_dict(trained.cfg))
    groups = [group for group in chosen if group not in ("trainer", "logger")]
    if found["seed"] != trained.cfg.seed or any(found["choices"].get(group) != chosen[group] for group in groups):
        raise UserError(f"{path} belongs to another run than {trained.path}: copy the checkpoint to a separate folder.")
    return found
