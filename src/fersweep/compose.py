"""From the files under ``conf/`` and a command line to a configuration; what cannot be composed gets one sentence."""

from __future__ import annotations

import re
import sys
import tempfile
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep.config import GROUPS, Config, one_line, register
from fersweep.errors import UserError, did_you_mean

LAUNCHER = "hydra.launcher"


def config_dir() -> Path:
    """The folder ``conf``: inside an installed package, or beside ``src`` in a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "conf"


@cache
def options(group: str) -> tuple[str, ...]:
    """The choices of a config group, sorted; empty where there is no such group."""
    return tuple(sorted(file.stem for file in (config_dir() / group).glob("*.yaml")))


def compose_config(overrides: list[str]) -> DictConfig:
    """Compose the configuration of one run, as `train.py` would, with one sentence for what cannot be composed."""
    register()
    check_choices(overrides)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose("train", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_sentence(error, overrides)) from error


def check_command_line(arguments: list[str]) -> list[str]:
    """Say in one sentence what is wrong with ``train.py``'s arguments, and exit with code 2.

    Of a sweep the first run is composed; its launcher composes every one.

    Returns:
        The arguments for Hydra. What an experiment sweeps is among them, as if it had been typed. Hydra sets what is
        not swept before it has chosen what is, so in a sweep over backbones ``backbone.model.batch_norm=true`` becomes
        ``choice(true)``, a sweep of one value.
    """
    parsed = get_args_parser().parse_args(arguments)
    try:
        check_choices(parsed.overrides)
        given = swept_by_experiment(parsed.overrides, parsed.multirun or bool(parsed.cfg))
        if parsed.multirun:
            parsed.overrides, arguments = [*given, *parsed.overrides], [*arguments, *given]
        for text, override in zip(parsed.overrides, _parse(parsed.overrides), strict=True):
            if override.is_sweep_override() and not parsed.multirun:
                raise UserError(f"{text} names several runs: add -m for a sweep.")
            launcher = override.key_or_group.replace("/", ".").startswith(LAUNCHER)
            if launcher and not (parsed.multirun or parsed.cfg):
                raise UserError(f"{text} is of sweeps and has no effect on a single run: add -m, or leave it out.")
        if parsed.multirun and parsed.cfg:
            raise UserError("--cfg shows the settings of one run: leave out -m, and name one choice of each group.")
        if not (parsed.help or parsed.hydra_help or parsed.info or parsed.shell_completion):
            cfg = compose_config(first_of_sweep(parsed.overrides) if parsed.multirun else parsed.overrides)
            if parsed.multirun:
                _make_folder(Path(cfg.outputs) / cfg.sweep)  # into which Hydra writes before it starts anything
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    if not parsed.multirun:
        return arguments
    overrides = dict(zip(parsed.overrides, _parse(parsed.overrides), strict=True))
    swept = {override.key_or_group for override in overrides.values() if override.is_sweep_override()}
    depends = {
        text
        for text, override in overrides.items()
        if override.key_or_group.partition(".")[0] in swept and not override.is_sweep_override()
    }
    return [re.sub(r"=(.*)", r"=choice(\1)", each, count=1) if each in depends else each for each in arguments]


def swept_by_experiment(overrides: list[str], multirun: bool) -> list[str]:
    """What the chosen experiment sweeps (``hydra.sweeper.params`` in its file), without what ``overrides`` set.

    Raises:
        UserError: where an experiment that is a sweep is asked for in a single run, or beside another.
    """
    chosen = next((each for each in reversed(_parse(overrides)) if each.key_or_group == "experiment"), None)
    if chosen is None:
        return []
    names = _sweep_values(chosen) if chosen.is_sweep_override() else [str(chosen.value())]
    params = {name: _params(name) for name in names}
    name = next((name for name in names if params[name]), None)
    if name is None:
        return []
    if len(names) > 1:
        raise UserError(f"experiment={name} is a sweep of its own: name one experiment at a time.")
    if not multirun:
        raise UserError(f"experiment={name} is a sweep: add -m.")
    typed = {override.key_or_group for override in _parse(overrides)}
    return [f"{key}={values}" for key, values in params[name].items() if key not in typed]


@cache
def _params(experiment: str) -> dict[str, str]:
    file = config_dir() / "experiment" / f"{experiment}.yaml"
    params = OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.params")
    return {} if params is None else {str(key): str(values) for key, values in params.items()}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): choose another place with outputs=PATH."
        ) from error


def check_choices(overrides: list[str]) -> None:
    """Refuse a choice that its group does not have, or a group that does not exist, naming what is there.

    Args:
        overrides: Hydra's, as on the command line; sweeps such as ``attention=se,eca`` are looked into.

    Raises:
        UserError: with the closest name and all choices.
    """
    top = (*GROUPS, "experiment", "hydra", *(key for key in Config.__dataclass_fields__ if key not in GROUPS))
    for override in _parse(overrides):
        key = override.key_or_group
        first, _, rest = key.replace("/", ".").partition(".")
        if first not in top and not override.is_add():
            raise UserError(f"There is no setting {key!r}{did_you_mean(first, top)}; settings: {', '.join(top)}.")
        if (first in GROUPS and rest == "name") or key == "backbone.family":
            raise UserError(f"{key} follows from the choice: set {first}={', '.join(options(first))} instead.")
        if key in (*GROUPS, "experiment", "recipe/optimizer") and not override.is_delete():
            _check_values(key, override, options(key))
        if key.replace("/", ".") == LAUNCHER and did_you_mean(str(override.value()), options("hydra/launcher")):
            _check_values("hydra/launcher", override, options("hydra/launcher"))


def first_of_sweep(overrides: list[str]) -> list[str]:
    """The overrides of a sweep's first run, without those whose values only Hydra can list (``glob``, ``interval``)."""
    first = []
    for text, override in zip(overrides, _parse(overrides), strict=True):
        if not override.is_sweep_override():
            first.append(text)
        elif values := _sweep_values(override):
            first.append(f"{text.partition('=')[0]}={values[0]}")
    return first


def _parse(overrides: list[str]) -> list[Override]:
    """Hydra's reading of each override; UserError names the one that has no meaning."""
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            key = text.partition("=")[0]
            raise UserError(
                f"{text!r} cannot be read: write key=value, and quote values with special characters twice, "
                f"as in \"{key}='VALUE'\"."
            ) from error
    return parsed


def _sweep_values(override: Override) -> list[str]:
    try:
        return list(override.sweep_string_iterator())
    except HydraException:  # a glob or an interval
        return []


def _check_values(key: str, override: Override, choices: tuple[str, ...]) -> None:
    values = _sweep_values(override) if override.is_sweep_override() else [override.value()]
    for value in values:
        if str(value) not in choices:
            value = "null" if value is None else value
            hint = did_you_mean(str(value), choices)
            raise UserError(f"{key}={value} is no choice of {key}{hint}; choices: {', '.join(choices)}.")


def one_sentence(error: Exception, overrides: list[str]) -> str:
    """Hydra's message in one line; for an unknown key, the one that was probably meant and those there are."""
    sentence = one_line(error)
    unknown = re.search(r"Could not override '(?P<path>[\w.]+)\.(?P<key>\w+)'", sentence)
    if unknown is None:
        return sentence
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        choices = [each for each in overrides if "." not in each.partition("=")[0]]
        node = OmegaConf.select(compose("train", choices, return_hydra_config=True), unknown["path"])
    keys = [str(key) for key in node if key != "_target_"] if OmegaConf.is_dict(node) else []
    there = f"settings of {unknown['path']}: {', '.join(keys) or 'none'}"
    return f"There is no setting {unknown['path']}.{unknown['key']}{did_you_mean(unknown['key'], keys)}; {there}."
