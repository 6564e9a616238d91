"""Composition of configurations from the files under ``conf/``, with one sentence for each mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep.config.options import (
    config_dir,
    extended,
    groups,
    machine,
    option_file,
    options,
    parse,
    read,
    search_path,
)
from fersweep.config.schema import GROUPS, Config, dotted, one_line, register, section
from fersweep.config.suggest import meant
from fersweep.config.typed import expand_homes
from fersweep.errors import UserError
from fersweep.text import did_you_mean, first_line

LAUNCHER = "hydra.launcher"
SWEEPER = "hydra.sweeper"

RENAMED = {
    "fidelity": {"published": "code"},
    "split": {"published": "study", "second_source": "notebook"},
    "recipe": {"published": "study", "second_source": "notebook"},
    "experiment": {"table_second_source": "table_notebook"},
}
"""Options of earlier versions by group, and their present names."""

NOT_SET = r"^hydra\.|^backbone\.(lr|epochs)$|^dataset\.(batch_size|study_crop\..*)$|(_target_|name|title)$"
"""Pattern of keys that are no suggestion: they follow from a choice."""

TRUE, FALSE = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0")
"""Words, in lower case, for a setting that is true or false."""

TOP = (*Config.__dataclass_fields__, "experiment", "hydra", "local")
"""Top-level keys of a configuration."""


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of one run as ``train.py`` would; UserError says in one sentence why that fails."""
    register()
    overrides = extended(overrides)
    check_choices(overrides)
    try:
        return _composed(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_sentence(error, overrides)) from error


def _composed(overrides: Sequence[str], **further: Any) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose("train", list(overrides), **further)
    except (HydraException, OmegaConfBaseException):
        raise
    except Exception as error:  # damaged files make Hydra and the parser of YAML raise almost anything
        for file in (file for folder in search_path() for file in sorted(folder.rglob("*.yaml"))):
            read(file)  # raises, and names the file
        raise UserError(f"A file of the chosen options does not fit: {first_line(error)}.") from error
    expand_homes(cfg)
    return cfg


def check_choices(overrides: Sequence[str]) -> None:
    """Check that every group and option in Hydra's overrides exists, each value of a sweep included.

    Raises:
        UserError: with the closest name and all choices.
    """
    for text, override in zip(overrides, parse(overrides), strict=True):
        key = override.key_or_group
        first, _, rest = key.replace("/", ".").partition(".")
        group, choices = key.replace(".", "/"), options(key)
        if key == "hydra":
            raise UserError("hydra is a section, not a setting: set a key in it, such as hydra.launcher.n_jobs=2.")
        if first == "local":
            raise UserError(f"local has no options: local/{machine()}.yaml is always read.")
        if override.is_delete() and key in Config.__dataclass_fields__ and key not in GROUPS:
            raise UserError(f"{key} cannot be deleted: give it a value.")
        if first not in TOP and not override.is_add():
            raise UserError(unknown_setting(key))
        if (first in GROUPS and rest == "name") or key == "backbone.family":
            raise UserError(f"{key} follows from the choice: set {first}={', '.join(options(first))} instead.")
        if "." in key and first != "hydra" and options(group) and "{" not in text:
            named = [each for each in options(group) if each.casefold() == str(override.value()).casefold()]
            advice = (
                f"write {group}={named[0]}"
                if named
                else f"choose one of its options with {group}={', '.join(options(group))}"
            )
            raise UserError(f"{key} is a group: {advice}.")
        if choices and first != "hydra" and not override.is_delete():
            _check_values(key, override, choices)
        if key in flags():
            _check_flag(key, override)
        place = key.replace(".", "/")
        if place in ("hydra/launcher", "hydra/sweeper") and did_you_mean(str(override.value()), options(place)):
            _check_values(place, override, options(place))


def _check_flag(key: str, override: Override) -> None:
    values = sweep_values(override) if override.is_sweep_override() else [override.value()]
    for value in values:
        if value is not None and not override.is_delete() and str(value).lower() not in (*TRUE, *FALSE):
            raise UserError(f"{key}={value} is not possible: set true or false.")


@cache
def flags(schema: type = Config, above: str = "") -> frozenset[str]:
    """Return the dotted names of those settings that are true or false."""
    inner = {each.name: section(each) for each in fields(schema)}
    own = {f"{above}{each.name}" for each in fields(schema) if each.type in ("bool", bool)}
    return frozenset(own).union(*(flags(below, f"{above}{name}.") for name, below in inner.items() if below))


def sweep_values(override: Override) -> list[str]:
    """Return the values that an override sweeps over; none if only Hydra can list them (``glob``)."""
    try:
        return list(override.sweep_string_iterator())
    except HydraException:
        return []


def _check_values(key: str, override: Override, choices: tuple[str, ...]) -> None:
    values = sweep_values(override) if override.is_sweep_override() else [override.value()]
    for value in values:
        if str(value) in choices:
            continue
        if new := RENAMED.get(key, {}).get(str(value)):
            raise UserError(f"{key}={value} is now called {key}={new}.")
        value = "null" if value is None else value
        hint = did_you_mean(str(value), choices)
        raise UserError(f"{key}={value} is not known{hint}; choices: {', '.join(choices)}.")


def refuse_unknown(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Refuse settings outside the schema, which ``+key=value`` adds; UserError names the closest one."""
    for path in _unknown(cfg, Config, ""):
        raise UserError(unknown_setting(path, overrides))
    for group in ("attention", "logger"):
        if not OmegaConf.is_missing(cfg, group) and not isinstance(cfg[group].get("name"), str):
            raise UserError(f"The file of the chosen {group} has no key name: set it to the name of the file.")
    allowed = set() if OmegaConf.is_missing(cfg, "logger") else {*option_file("logger", cfg.logger.name), "name"}
    for key in cfg.logger if allowed else ():
        if key not in allowed:
            raise UserError(unknown_setting(f"logger.{key}", overrides))


def _unknown(node: Any, schema: type, above: str) -> Iterator[str]:
    """Yield the dotted keys of a configuration that its schema lacks."""
    if not OmegaConf.is_dict(node):
        return
    known = {setting.name: section(setting) for setting in fields(schema)}
    for key in node:
        if key not in known:
            yield f"{above}{key}"
        elif (inner := known[key]) is not None and not OmegaConf.is_missing(node, key):
            yield from _unknown(node[key], inner, f"{above}{key}.")


def unknown_setting(path: str, overrides: Sequence[str] = ()) -> str:
    """Return the sentence for a setting that does not exist: the closest one, and its siblings.

    Args:
        path: dotted name of the setting.
        overrides: the command line, whose choices decide which settings exist.
    """
    chosen = [each for each in overrides if re.fullmatch(r"[\w/]+=\w+", each) and options(each.partition("=")[0])]
    composed = _composed(extended(chosen), return_hydra_config=True)
    plain: Any = OmegaConf.to_container(composed, resolve=False)
    known = [key for key in dotted(plain) if not re.search(NOT_SET, key)]
    known += [*TOP, *(name for name in groups() if "/" in name and not name.startswith("hydra/"))]
    parent = path.replace("/", ".").rpartition(".")[0]
    node: Any = OmegaConf.select(composed, parent) if parent else None
    keys = [str(key) for key in node if not str(key).startswith("_")] if OmegaConf.is_dict(node) else list(TOP)
    if path.startswith("hydra."):
        known = [f"{parent}.{key}" for key in keys]
    settings = f"settings of {parent}" if OmegaConf.is_dict(node) else "settings"
    return f"There is no setting {path}{meant(path, keys, known)}; {settings}: {', '.join(keys) or 'none'}."


def one_sentence(error: Exception, overrides: Sequence[str]) -> str:
    """Return Hydra's message in one line, or `unknown_setting` for an unknown key."""
    sentence = one_line(error)
    if null := re.search(r"field '(?P<key>[\w.]+)' is not Optional", sentence):
        return f"{null['key']}=null is not possible: give it a value."
    unknown = re.search(r"Could not override '(?P<path>[\w.]+)'", sentence)
    return sentence if unknown is None else unknown_setting(unknown["path"], overrides)
