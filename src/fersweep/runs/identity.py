"""A run's identity: the same settings give the same directory, on any machine, at any time.

Options that a run does not use are not part of its identity: of ``fidelity``, for example, only the settings of its
own network count (`fersweep.config.nodes.network`). **A setting at its default does not count**, so that a new setting
leaves the hashes of earlier runs unchanged; the default is that of the schema (`fersweep.config.schema`) or, for the
arguments of a class or function, its own. The default of a new setting reproduces the behaviour before it existed, and
defaults never change. A class or function that computes something else gets another name, or a setting.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING as REQUIRED
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from fersweep.config import targets
from fersweep.config.nodes import network
from fersweep.config.schema import NAMED, Config, choices_of, section
from fersweep.errors import UserError
from fersweep.files import given
from fersweep.runs import teachers


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a resolved configuration that identifies a run, as plain dicts, lists and scalars."""
    parts = {
        key: value for key, value in config.items() if key not in ("backbone", "attention", "activation", "fidelity")
    }
    kept = _counted(parts, Config)
    kept["choices"] = {group: option for group, option in choices_of(config).items() if group in NAMED}
    kept["network"] = integral(_normalised(network(config)))
    if config["fidelity"].get("initialise") is not None:
        kept["initialise"] = integral(_normalised(config["fidelity"]["initialise"]))
    if config.get("weights") is not None:
        kept["weights"] = _digest(Path(config["weights"]))
    if (config.get("recipe") or {}).get("teacher") is not None:
        found = teachers.find(Path(config["recipe"]["teacher"]))
        kept["recipe"]["teacher"] = sorted(map(teachers.digest, found))
    crop = kept.get("dataset", {}).get("face_crop", {})
    if "weights" in crop:
        crop["weights"] = _digest(Path(crop["weights"]))
    return kept


def _counted(node: Mapping[str, Any], schema: type) -> dict[str, Any]:
    """Return the settings of a section that count, without those at their defaults."""
    kept: dict[str, Any] = {}
    default: Any
    for setting in fields(schema):
        if not setting.metadata.get("identity", True) or setting.name == "name" or setting.name not in node:
            continue
        value, inner = node[setting.name], section(setting)
        if inner is not None:
            value, default = _counted(value, inner), {}
        else:
            value = _normalised(value)
            if setting.name not in ("callbacks", "lightning"):  # a library may distinguish 1 (epoch) from 1.0 (all)
                value = integral(value)
            default = setting.default if setting.default_factory is REQUIRED else setting.default_factory()
        if default is MISSING or not _same(value, default):
            kept[setting.name] = value
    return kept


def _normalised(node: Any) -> Any:
    """Return a node with each ``_target_`` replaced by `targets.identity_of` and without its default arguments."""
    if isinstance(node, list):
        return [_normalised(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    plain = {str(key): _normalised(value) for key, value in node.items()}
    if "_target_" not in plain:
        return plain
    target = plain.pop("_target_")
    plain.pop("_partial_", None)
    defaults, asides = targets.defaults(target), targets.asides(target)
    counted = {key: value for key, value in plain.items() if key not in asides}
    given = {key: value for key, value in counted.items() if key not in defaults or not _same(value, defaults[key])}
    return {"_target_": targets.identity_of(target), **given}


def _same(value: Any, other: Any) -> bool:
    """Return whether two values are equal as JSON: 1 and 1.0 are, 1 and true are not."""
    try:
        return json.dumps(integral(value), sort_keys=True) == json.dumps(integral(other), sort_keys=True)
    except TypeError:  # a default that is not JSON
        return False


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the default arguments of targets that runs of earlier versions did not record."""
    filled = dict(settings)
    for key, target in settings.items():
        if key.endswith("_target_"):
            with contextlib.suppress(UserError):  # a plugin's
                own = {
                    f"{key.removesuffix('_target_')}{name}": value for name, value in targets.defaults(target).items()
                }
                filled |= {each: value for each, value in own.items() if each not in filled and _plain(value)}
    return filled


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file of weights (of a run's directory: its best checkpoint); its path does not count."""
    path = given(path)
    with (path / "checkpoints" / "best.ckpt" if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def integral(node: Any) -> Any:
    """Replace 1.0 by 1 everywhere in a configuration: equal numbers make equal runs."""
    if isinstance(node, Mapping):
        return {key: integral(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [integral(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def run_hash(config: Mapping[str, Any]) -> str:
    """Return ten hexadecimal digits of the SHA-256 of `identity`; also the run's id in Weights & Biases."""
    text = json.dumps(identity(config), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def slug(config: Mapping[str, Any]) -> str:
    """Return the group choices and the seed, joined by dashes: readable, and safe in a path."""
    return "-".join([*(str(config[group]["name"]) for group in NAMED), f"s{config['seed']}"])


def run_dir(config: Mapping[str, Any]) -> Path:
    """Return ``outputs/<sweep>/<slug>-<hash>``, relative to the working directory unless ``outputs`` is absolute."""
    return Path(config["outputs"]) / config["sweep"] / f"{slug(config)}-{run_hash(config)}"
