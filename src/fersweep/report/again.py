"""The overrides that repeat a run, from its configuration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from fersweep.config import targets
from fersweep.config.compose import compose_config
from fersweep.config.schema import GROUPS, choices_of, dotted, to_dict


def overrides(config: Mapping[str, Any], without: Sequence[str] = ()) -> list[str]:
    """Return the overrides of the defaults, each quoted for a shell: ``dataset=jaffe``, ``seed=2``.

    Args:
        config: resolved, as in ``config.yaml``.
        without: settings to omit, dotted, with all below them.

    Raises:
        UserError: an option does not exist any more.
    """
    choices, plugins = choices_of(config), config.get("plugins") or []
    usual = choices_of(to_dict(compose_config([])))
    named = [setting("plugins", plugins)] if plugins else []
    named += [f"{group}={choices[group]}" for group in GROUPS if choices[group] != usual[group]]
    without = (*without, "plugins")
    direct = _differing(config, [shlex.split(each)[0] for each in named], without, interpolated=False)
    known = [shlex.split(each)[0] for each in (*named, *direct)]
    return [*named, *direct, *_differing(config, known, without, interpolated=True)]


def _differing(config: Mapping[str, Any], known: list[str], without: Sequence[str], interpolated: bool) -> list[str]:
    """Return overrides for the settings that the ``known`` ones do not reproduce.

    Settings that the configuration files compute from others are included only if ``interpolated``.
    """
    composed = compose_config(known)
    raw: Any = OmegaConf.to_container(composed, resolve=False)
    usual, files, ours = dotted(to_dict(composed)), dotted(raw), dotted(config)
    found = []
    for key, value in ours.items():
        if key.endswith("_target_"):
            value = targets.current(value)
        if key in usual and usual[key] == value:
            continue
        if any(key == each or key.startswith(f"{each}.") for each in without) or _names_an_option(key):
            continue
        if interpolated or "${" not in str(files.get(key)):
            found.append(setting(key if key in usual else f"+{key}", value))
    return found


def _names_an_option(key: str) -> bool:
    """Return whether a setting is the name or title of an option, which choosing the option sets."""
    return key.endswith((".name", ".title")) and key.count(".") == 1


def setting(key: str, value: Any) -> str:
    """Return ``key=value`` in Hydra's grammar, quoted for a shell if necessary."""
    return shlex.quote(f"{key}={_value(value)}")


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_value(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    text = str(value)
    if not isinstance(value, str) or re.fullmatch(r"[\w./~ -]*[\w./~-]", text):
        return text
    return "'" + text.replace("'", r"\'") + "'"
