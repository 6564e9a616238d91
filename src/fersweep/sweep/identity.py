"""A run's name: the same settings give the same directory, on any machine, at any time."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from fersweep.config import choices_of

NOT_IDENTITY = (
    "backbone.lr",
    "backbone.epochs",
    "outputs",
    "cache",
    "sweep",
    "force",
    "logger",
    "dataset.root",
    "dataset.download",
    "dataset.batch_size",
    "trainer.name",
    "trainer.accelerator",
    "trainer.strategy",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.memory_format",
    "trainer.compile",
    "trainer.auto_microbatch",
    "trainer.workers",
    "trainer.progress_bar",
    "trainer.profiler",
)
"""What says where and how fast a run happens, not which experiment it is."""

LATER = {
    "dataset.preprocessing.min_max": False,
    "dataset.preprocessing.equalize": False,
    "dataset.preprocessing.min_variance": 0,
    "dataset.faces": "none",
    "dataset.face_crop.margin": 0,
    "dataset.face_crop.align": False,
    "dataset.face_crop.weights": None,
    "dataset.face_crop.confidence": None,
    "recipe.convolution_l2": 0,
}
"""Settings that were added after runs had been made, and what those did: there, they are no part of the identity."""

LATER_FAMILIES = ("aer_cnn", "msff_cnn", "drf_msam")
"""Families of networks that were added likewise: how they are built is part of the identity of their own runs alone."""


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that makes a run this run."""
    kept = copy.deepcopy(dict(config))
    unset = [name for name, before in LATER.items() if integral(_at(kept, name)) == before]
    for name in (*left_out(dotted(config)), *unset):
        parent, _, last = name.rpartition(".")
        _at(kept, parent).pop(last, None)
    for group in ("preprocessing", "face_crop"):
        if not kept["dataset"].get(group, True):
            del kept["dataset"][group]
    if kept["weights"] is not None:
        kept["weights"] = _content(Path(kept["weights"]))
    crop = kept["dataset"].get("face_crop", {})
    if "weights" in crop:
        crop["weights"] = _content(Path(crop["weights"]))
    whole: dict[str, Any] = integral(kept)
    return whole


def left_out(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a configuration, given as `dotted`, is never part of its identity, with dotted names.

    Beside `NOT_IDENTITY` that is how networks of other, later families are built, and ``backbone.model`` where its
    family's form is another network.
    """
    own = settings.get("backbone.family")
    foreign = [f"fidelity.{family}" for family in LATER_FAMILIES if family != own]
    replaced = ["backbone.model"] if f"fidelity.{own}._target_" in settings else []
    return *NOT_IDENTITY, *foreign, *replaced


def dotted(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A configuration, flat: its settings under dotted names, which begin with ``above``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= dotted(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


def _at(config: Mapping[str, Any], name: str) -> Any:
    """What stands under a dotted name, the whole under an empty one; an empty dict where there is nothing."""
    return reduce(lambda above, key: above.get(key, {}), name.split(".") if name else [], config)


def _content(path: Path) -> str:
    """The digest of a checkpoint (or a run directory's), so that its place and its spelling do not count."""
    path = path.expanduser()
    with (path / "checkpoints" / "best.ckpt" if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def integral(node: Any) -> Any:
    """Write 1.0 as 1 everywhere in a configuration: equal numbers make equal runs."""
    if isinstance(node, dict):
        return {key: integral(value) for key, value in node.items()}
    if isinstance(node, list):
        return [integral(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def run_hash(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits (SHA-256) of `identity`; also the run's id in Weights & Biases."""
    text = json.dumps(identity(config), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def slug(config: Mapping[str, Any]) -> str:
    """The group choices and the seed, joined by dashes: readable, and safe in a path."""
    chosen = {group: name for group, name in choices_of(config).items() if group not in ("trainer", "logger")}
    return "-".join([*chosen.values(), f"s{config['seed']}"])


def run_dir(config: Mapping[str, Any]) -> Path:
    """``outputs/<sweep>/<slug>-<hash>``, relative to the working directory unless ``outputs`` is absolute."""
    return Path(config["outputs"]) / config["sweep"] / f"{slug(config)}-{run_hash(config)}"
