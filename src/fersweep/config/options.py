"""Config groups, their options, and the folders that hold them: ``conf``, a user's own, those of plugins."""

from __future__ import annotations

import copy
import importlib.util
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from fersweep import files
from fersweep.config import plugins
from fersweep.config.schema import GROUPS
from fersweep.errors import UserError

SEARCH_PATH = "hydra.searchpath"

OPEN = ("trainer.lightning.",)
"""Settings that take any key; Hydra needs ``++`` for keys that do not exist yet."""

_added: list[Path] = []
"""Folders of options added by the command line of this process."""


def config_dir() -> Path:
    """Return the folder ``conf``: in the installed package, or beside ``src`` in a checkout."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "conf"


def search_path() -> tuple[Path, ...]:
    """Return the folders searched for options: ``conf``, those of the command line, those of plugins."""
    return tuple(dict.fromkeys([config_dir(), *_added, *plugins.folders()]))


def options(group: str) -> tuple[str, ...]:
    """Return the options of a config group, sorted; empty for an unknown group.

    Files whose names begin with an underscore are bases for others, not options.
    """
    return _options(group, search_path())


@cache
def _options(group: str, folders: tuple[Path, ...]) -> tuple[str, ...]:
    found = {file.stem for folder in folders for file in (folder / group).glob("*.yaml")}
    return tuple(sorted(name for name in found if not name.startswith("_")))


def groups() -> dict[str, tuple[str, ...]]:
    """Return all config groups and their options: those of `GROUPS` first, nested groups included."""
    folders = sorted({file.parent.relative_to(place) for place in search_path() for file in place.rglob("*.yaml")})
    names = [*GROUPS, *(each.as_posix() for each in folders if each.parts)]
    return {name: options(name) for name in dict.fromkeys(names) if options(name)}


def option_file(group: str, option: str) -> dict[str, Any]:
    """Return the content of an option's file without its defaults list applied; UserError if the file is missing."""
    return copy.deepcopy(_option_file(group, option, search_path()))


@cache
def _option_file(group: str, option: str, folders: tuple[Path, ...]) -> dict[str, Any]:
    for folder in folders:
        file = folder / group / f"{option}.yaml"
        if file.is_file():
            return read(file)
    raise UserError(
        f"{group}/{option}.yaml does not exist: the key name in an option's file must be the name of the file."
    )


def read(file: Path) -> dict[str, Any]:
    """Return the content of a file of options.

    Raises:
        UserError: it cannot be read, is not UTF-8 or YAML, or holds no settings by name.
    """
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        return dict(content)
    except Exception as error:  # damaged text makes the parser raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file} is not a readable file of options ({reason:.300}): correct it.") from error


def extended(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Import the plugins named in overrides, and add their option folders to Hydra's search path.

    Args:
        overrides: as on the command line.
        config_dir: argument of ``--config-dir``, which Hydra adds itself.

    Returns:
        The overrides with one ``hydra.searchpath``, plugins as a list, and the sweeper of an experiment that searches.

    Raises:
        UserError: a plugin or a folder does not exist.
    """
    parsed = dict(zip(overrides, parse(overrides), strict=True))
    given = [text for text, each in parsed.items() if each.key_or_group == SEARCH_PATH]
    places = _listed(parsed[given[-1]]) if given else []
    for folder in [_folder(place) for place in places] + ([Path(config_dir)] if config_dir else []):
        if not os.path.isdir(folder):  # noqa: PTH112 - False for a name that is too long, too
            raise UserError(f"The folder of options {folder} does not exist: name one with subfolders such as recipe/.")
        if folder.absolute() not in _added:
            _added.append(folder.absolute())
    named = [text for text, each in parsed.items() if each.key_or_group == "plugins"]
    names = _listed(parsed[named[-1]]) if named else _local_plugins()
    plugins.use(names)
    kept = [f"++{text}" if text.startswith(OPEN) else text for text in overrides if text not in (*named, *given)]
    if named:
        kept.append(f"plugins=[{','.join(names)}]")
    known = [folder for folder in search_path()[1:] if config_dir is None or folder != Path(config_dir).absolute()]
    if known:
        kept.append(f"{SEARCH_PATH}=[{','.join(quoted(f'file://{folder}') for folder in known)}]")
    if is_search(kept) and not any(each.startswith("hydra/sweeper=") for each in kept):
        kept.append("hydra/sweeper=search")  # Hydra ignores what an experiment says, as train.yaml names a sweeper
    return kept


def is_search(overrides: Sequence[str]) -> bool:
    """Return whether the sweeper is ``search``, by the command line or else by the chosen experiment."""
    chosen = {each.key_or_group: each.value() for each in parse(overrides) if not each.is_sweep_override()}
    if "hydra/sweeper" in chosen:
        return bool(chosen["hydra/sweeper"] == "search")
    name = str(chosen.get("experiment"))
    lists = option_file("experiment", name).get("defaults", []) if name in options("experiment") else []
    return {"override /hydra/sweeper": "search"} in lists


def _listed(override: Override) -> list[str]:
    if override.is_sweep_override():
        raise UserError(f"{override.input_line} has several values: write {override.key_or_group}=[a,b].")
    value = override.value()
    if value is None or override.is_delete():
        return []
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _folder(place: str) -> Path:
    """Return the folder of an entry of Hydra's search path: ``file://…``, ``pkg://…`` or a path."""
    parts = urlparse(place)
    if parts.scheme == "pkg":
        package = place.removeprefix("pkg://").replace("/", ".")
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            found = None
        if found is None or not found.submodule_search_locations:
            raise UserError(f"{SEARCH_PATH}: the package {package} does not exist.")
        return Path(next(iter(found.submodule_search_locations)))
    return files.given(Path(place.removeprefix("file://")))


def machine() -> str:
    """Return the name of the file in ``local/`` with the settings of this machine, which need not exist."""
    return os.environ.get("FERSWEEP_LOCAL", "default")


def _local_plugins() -> list[str]:
    """Return the plugins that this machine's file names."""
    places = [folder / "local" / f"{machine()}.yaml" for folder in search_path()]
    named = next((read(file).get("plugins") for file in places if file.is_file()), None) or []
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise UserError(f"plugins in local/{machine()}.yaml is {named!r:.300}: write a list of modules.")
    return named


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides with Hydra's grammar; UserError names the one that does not parse."""
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        if digits := re.search(r"\d{309,}", text):  # no float is as large
            key = text.partition("=")[0]
            raise UserError(f"{key} is a number of {len(digits[0])} digits, which is too large: write a smaller one.")
        try:
            parsed.append(parser.parse_override(text))
            if not parsed[-1].key_or_group:
                raise HydraException("no key")
        except HydraException as error:
            key = text.partition("=")[0]
            raise UserError(
                f"{text!r} cannot be parsed: write key=value, and quote values with special characters twice, "
                f"as in \"{key}='VALUE'\"."
            ) from error
    return parsed


def quoted(text: str) -> str:
    """Quote a text so that Hydra reads it verbatim; backslashes count double before a quote only."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
