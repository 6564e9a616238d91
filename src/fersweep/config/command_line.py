"""The command line of ``train.py`` and ``fersweep train``, read and checked before Hydra sees it."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from fersweep import compat
from fersweep.config.compose import LAUNCHER, check_choices, compose_config, refuse_unknown, sweep_values
from fersweep.config.options import extended, option_file, parse, quoted
from fersweep.errors import UserError

PATHS = ("dataset.root", "dataset.face_crop.weights", "weights", "outputs", "cache")
"""Settings that hold the path of a file or folder."""


def check_command_line(arguments: Sequence[str]) -> list[str]:
    """Say in one sentence what is wrong with ``train.py``'s arguments, and exit with code 2.

    Of a sweep the first run is composed; its launcher composes every one.

    Returns:
        The arguments for Hydra. What an experiment sweeps is among them, as if it had been typed. Hydra sets what is
        not swept before it has chosen what is, so in a sweep over backbones ``backbone.model.batch_norm=true`` becomes
        ``choice(true)``, a sweep of one value.
    """
    parser = compat.hydra_parser()
    parsed, rest = parser.parse_known_args(list(arguments))  # the rest: what stands before an option, or is none
    if wrong := [each for each in rest if each.startswith("-")]:
        parser.error(f"unrecognized argument {wrong[0]!r}")
    if parsed.shell_completion or parsed.hydra_help or parsed.info:
        return list(arguments)
    typed = [*rest, *parsed.overrides]
    flags = [each for each in arguments if each not in typed]
    try:
        for flag in ("config_name", "config_path"):
            if getattr(parsed, flag):
                raise UserError(
                    f"--{flag.replace('_', '-')} is not supported: add options of your own with --config-dir."
                )
        typed = [readable(each, parsed.multirun) for each in arguments if each in typed]
        overrides = extended(typed, parsed.config_dir)
        check_choices(overrides)
        if parsed.multirun:
            overrides = [*overrides, *swept_by_experiment(overrides, True)]
        else:
            swept_by_experiment(overrides, bool(parsed.cfg))
        for text, override in zip(overrides, parse(overrides), strict=True):
            _check_sweep(text, override, parsed.multirun, bool(parsed.cfg))
        if parsed.multirun and parsed.cfg:
            raise UserError("--cfg shows the settings of one run: leave out -m, and name one choice of each group.")
        first = first_of_sweep(overrides) if parsed.multirun else overrides
        cfg = compose_config(first)
        refuse_unknown(cfg, first)
        if parsed.multirun:
            _make_folder(Path(cfg.outputs) / cfg.sweep)  # into which Hydra writes before it starts anything
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    return [*flags, *(_depending(overrides) if parsed.multirun else overrides)]


def readable(text: str, multirun: bool) -> str:
    """An argument as Hydra can read it: a path as the shell has handed it over, with ``~`` expanded.

    Quotes of its own are left alone, and in a sweep what may name several paths, unless there is one of that name.
    """
    key, equals, value = text.partition("=")
    name = key.lstrip("+")
    if not equals or value[:1] in ("'", '"', "") or value == "null" or name not in PATHS:
        return text
    path = Path(value).expanduser()
    if multirun and re.search(r",|^\w+\(", value) and not path.exists():
        return text
    return f"{key}={quoted(str(path) if value.startswith('~') else value)}"


def _check_sweep(text: str, override: Override, multirun: bool, shown: bool) -> None:
    """Refuse several runs without ``-m``, a sweep without values, and settings of launchers without a sweep."""
    if override.is_interval_sweep():
        key = override.key_or_group
        raise UserError(f"{text} names no single values to try: list them, as in {key}=0.001,0.01,0.1.")
    if override.is_sweep_override() and not multirun:
        raise UserError(f"{text} names several runs: add -m for a sweep.")
    launcher = override.key_or_group.replace("/", ".").startswith(LAUNCHER)
    if launcher and not (multirun or shown):
        raise UserError(f"{text} is of sweeps and has no effect on a single run: add -m, or leave it out.")


def _depending(overrides: Sequence[str]) -> list[str]:
    """The overrides of a sweep, those below a group that is swept as sweeps of one value."""
    parsed = dict(zip(overrides, parse(overrides), strict=True))
    swept = {override.key_or_group for override in parsed.values() if override.is_sweep_override()}
    depends = {
        text
        for text, override in parsed.items()
        if override.key_or_group.partition(".")[0] in swept and not override.is_sweep_override()
    }
    return [re.sub(r"=(.*)", r"=choice(\1)", each, count=1) if each in depends else each for each in overrides]


def swept_by_experiment(overrides: Sequence[str], multirun: bool) -> list[str]:
    """What the chosen experiment sweeps (``hydra.sweeper.params`` in its file), without what ``overrides`` set.

    Raises:
        UserError: where an experiment that is a sweep is asked for in a single run, or beside another.
    """
    chosen = next((each for each in reversed(parse(overrides)) if each.key_or_group == "experiment"), None)
    if chosen is None:
        return []
    names = sweep_values(chosen) if chosen.is_sweep_override() else [str(chosen.value())]
    if not names:
        raise UserError(f"experiment={chosen.value()} names no single one: name one experiment at a time.")
    params = {name: _params(name) for name in names}
    name = next((name for name in names if params[name]), None)
    if name is None:
        return []
    if len(names) > 1:
        raise UserError(f"experiment={name} is a sweep of its own: name one experiment at a time.")
    if not multirun:
        raise UserError(f"experiment={name} is a sweep: add -m.")
    typed = {override.key_or_group for override in parse(overrides)}
    return [f"{key}={values}" for key, values in params[name].items() if key not in typed]


@cache
def _params(experiment: str) -> dict[str, str]:
    params = OmegaConf.select(OmegaConf.create(option_file("experiment", experiment)), "hydra.sweeper.params")
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


def first_of_sweep(overrides: Sequence[str]) -> list[str]:
    """The overrides of a sweep's first run, without those whose values only Hydra can list (``glob``)."""
    first = []
    for text, override in zip(overrides, parse(overrides), strict=True):
        if not override.is_sweep_override():
            first.append(text)
        elif values := sweep_values(override):
            first.append(f"{text.partition('=')[0]}={values[0]}")
    return first
