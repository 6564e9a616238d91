"""Checks of the command line of ``train.py`` and ``fersweep train`` before Hydra parses it."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.types import Glob, Override, Sweep
from omegaconf import OmegaConf

from fersweep import compat
from fersweep.config.combinations import EXCLUDE, ZIP, Combination, combinations, refuse_idle
from fersweep.config.compose import LAUNCHER, SWEEPER, check_choices, compose_config, refuse_unknown, sweep_values
from fersweep.config.options import extended, is_search, option_file, options, parse, quoted
from fersweep.config.space import Space
from fersweep.config.typed import expanded_flags, gathered, readable
from fersweep.errors import UserError
from fersweep.text import printable, shortened

MODES = ("run", "multirun", "cfg", "info", "shell_completion")
"""Options of Hydra of which one can be given."""

DRY_RUN = "--dry-run"
"""Flag of fersweep itself: print what would be done."""

COMPLETION = r"(install|uninstall|query)=(bash|zsh|fish)"
"""Argument of ``--shell-completion``."""

FOLDER = "the folder of a run follows from its settings, set outputs=PATH and sweep=NAME"
WITHOUT_EFFECT = {
    "hydra.run": FOLDER,
    "hydra.sweep": FOLDER,
    "hydra.output_subdir": "the configuration of a run is config.yaml in its folder",
    "hydra.job": "a run keeps the working directory and the environment of the command",
    "hydra.mode": "add -m for a sweep",
    "hydra.help": "--help lists the groups and their options",
    "hydra.hydra_help": "--hydra-help is Hydra's own",
    "hydra.overrides": "write the overrides themselves",
    "hydra.runtime": "Hydra fills it in",
}
"""Sections of Hydra's configuration that runs do not use, and what to do instead."""


def check_command_line(arguments: Sequence[str]) -> list[str]:
    """Check the arguments of ``train.py``; for a mistake print one sentence and exit with code 2.

    Of a sweep only the first run is composed here; the launcher composes all of them.

    Returns:
        The arguments for Hydra, with the swept values of an experiment added as if they had been typed.
    """
    parser, dry_run = compat.hydra_parser(), DRY_RUN in arguments
    arguments = expanded_flags([each for each in arguments if each != DRY_RUN])
    parser.error = _refuse  # type: ignore[method-assign]  # argparse's own prints the usage before its sentence
    try:
        parsed, positional = parser.parse_known_args(list(arguments))
        if wrong := [each for each in positional if each.startswith("-")]:
            raise UserError(f"unrecognized argument {wrong[0]!r}: --help shows what can be given.")
        typed = [*positional, *parsed.overrides]
        flags = [each for each in arguments if each not in typed]
        _check_flags(parsed, dry_run)
        if parsed.shell_completion or parsed.hydra_help or parsed.info:
            return list(arguments)
        return [*flags, *_checked([each for each in arguments if each in typed], parsed, dry_run)]
    except UserError as error:
        print(f"error: {printable(shortened(error))}", file=sys.stderr)
        raise SystemExit(2) from error


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}: --help shows what can be given.")


def _check_flags(parsed: argparse.Namespace, dry_run: bool) -> None:
    """Refuse options of Hydra's that exclude each other, lack another, or are not supported."""
    for name in ("config_name", "config_path"):
        if getattr(parsed, name):
            raise UserError(f"--{name.replace('_', '-')} is not supported: add your own options with --config-dir.")
    if parsed.experimental_rerun:
        raise UserError("--experimental-rerun is not supported: start the same command again, which resumes a run.")
    if parsed.cfg and parsed.multirun:
        raise UserError("--cfg shows the configuration of one run: omit -m, and choose one option of each group.")
    modes = [f"--{name.replace('_', '-')}" for name in MODES if getattr(parsed, name)]
    if dry_run and modes and not (parsed.run or parsed.multirun):
        modes.append(DRY_RUN)
    if len(modes) > 1 and not parsed.hydra_help:
        raise UserError(f"{' and '.join(modes)} exclude each other: give one of them.")
    if parsed.shell_completion and not re.fullmatch(COMPLETION, " ".join(parsed.overrides)):
        raise UserError("--shell-completion takes install=SHELL or uninstall=SHELL, with bash, zsh or fish.")
    for name in ("resolve", "package"):
        if getattr(parsed, name) and not (parsed.cfg or parsed.help or parsed.hydra_help):
            raise UserError(f"--{name} has no effect without --cfg: add --cfg job.")


def _checked(typed: Sequence[str], parsed: argparse.Namespace, dry_run: bool) -> list[str]:
    """Check overrides as typed, given all parsed arguments, and return them for Hydra."""
    multirun, cfg_only = parsed.multirun, bool(parsed.cfg)
    overrides = extended(gathered([readable(each, multirun) for each in typed]), parsed.config_dir)
    check_choices(overrides)
    swept = swept_by_experiment(overrides, multirun or cfg_only)
    if multirun:
        overrides += swept
    searches = is_search(overrides)
    for text, override in zip(overrides, parse(overrides), strict=True):
        _check_hydra(text, override)
        if not (searches and multirun and override.is_interval_sweep()):
            _check_sweep(text, override, multirun, cfg_only)
        if dry_run and override.key_or_group == "hydra/sweeper" and override.value() != "checked":
            raise UserError(f"{DRY_RUN} is for sweeps over all combinations, not for {text}: leave it out.")
    first = overrides if not multirun else first_of_search(overrides) if searches else first_of_sweep(overrides)
    cfg = compose_config(first)
    refuse_unknown(cfg, first)
    if parsed.package and parsed.cfg == "job" and not OmegaConf.is_config(OmegaConf.select(cfg, parsed.package)):
        raise UserError(f"--package {parsed.package} is no section of the configuration: name one, such as recipe.")
    if not multirun:
        return overrides
    if dry_run:
        return [*_bound_to_choices(overrides), f"{SWEEPER}.dry_run=true"]
    folder = Path(cfg.outputs) / cfg.sweep
    _make_folder(folder)  # Hydra writes into it before it starts anything
    if folder.is_absolute() and not any(each.key_or_group == "outputs" for each in parse(overrides)):
        overrides.append(f"hydra.sweep.dir={quoted(str(folder))}")  # a file may name it with ~, which Hydra keeps
    return _bound_to_choices(overrides)


def _check_hydra(text: str, override: Override) -> None:
    """Refuse settings of Hydra that have no effect here."""
    section = ".".join(override.key_or_group.replace("/", ".").split(".")[:2])
    if section in WITHOUT_EFFECT:
        raise UserError(f"{text} has no effect: {WITHOUT_EFFECT[section]}.")


def _check_sweep(text: str, override: Override, multirun: bool, cfg_only: bool) -> None:
    """Refuse intervals, sweeps without a value or without ``-m``, and settings of a sweep for a single run."""
    key = override.key_or_group
    if not override.is_sweep_override() and _sweeps_within(override.value()):
        raise UserError(f"{text} has several values inside a list or mapping: write each of these out, with commas.")
    if override.is_interval_sweep():
        raise UserError(
            f"{text} lists no values to try: write them out, as in {key}=0.001,0.01,0.1, or search with "
            "-m hydra/sweeper=search."
        )
    if multirun and override.is_sweep_override() and not _has_values(override):
        choices = f"; choices: {', '.join(options(key))}" if options(key) else ""
        raise UserError(f"{text} has no values, so there is nothing to run{choices}.")
    if override.is_sweep_override() and not multirun:
        raise UserError(f"{text} has several values: add -m for a sweep.")
    if key.replace("/", ".").startswith((LAUNCHER, SWEEPER)) and not (multirun or cfg_only):
        raise UserError(f"{text} has no effect on a single run: add -m for a sweep, or omit it.")


def _has_values(override: Override) -> bool:
    value: Any = override.value()
    if isinstance(value, Glob):
        return bool(value.filter(list(options(override.key_or_group))))
    return bool(sweep_values(override))


def _sweeps_within(value: Any) -> bool:
    """Return whether a list or mapping has a sweep among its values, which Hydra cannot try."""
    if isinstance(value, Sweep):
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_sweeps_within, inner))


def _bound_to_choices(overrides: Sequence[str]) -> list[str]:
    """Turn fixed settings of swept groups into sweeps of one value.

    Hydra applies what is not swept before it chooses the swept options. In a sweep over backbones,
    ``backbone.model.batch_norm=true`` must therefore become ``backbone.model.batch_norm=choice(true)``.
    """
    parsed = parse(overrides)
    swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
    bound = []
    for text, override in zip(overrides, parsed, strict=True):
        depends = override.key_or_group.partition(".")[0] in swept and not override.is_sweep_override()
        bound.append(re.sub(r"=(.*)", r"=choice(\1)", text, count=1) if depends else text)
    return bound


def swept_by_experiment(overrides: Sequence[str], multirun: bool) -> list[str]:
    """Return the sweep of the chosen experiment (``hydra.sweeper.params``), without the keys that ``overrides`` set.

    Raises:
        UserError: the experiment is a sweep and this is a single run, or several experiments are chosen.
    """
    parsed = parse(overrides)
    chosen = next((each for each in reversed(parsed) if each.key_or_group == "experiment"), None)
    if chosen is None:
        return []
    names = sweep_values(chosen) if chosen.is_sweep_override() else [str(chosen.value())]
    if not names:
        raise UserError(f"experiment={chosen.value()} is not one experiment: name one at a time.")
    params = {name: _sweeper(name).get("params") or {} for name in names}
    name = next((name for name in names if params[name]), None)
    if name is None:
        return []
    if len(names) > 1:
        raise UserError(f"experiment={name} is itself a sweep: name one experiment at a time.")
    if not multirun:
        raise UserError(f"experiment={name} is a sweep: add -m.")
    typed = {override.key_or_group for override in parsed}
    return [f"{key}={values}" for key, values in params[name].items() if key not in typed]


@cache
def _sweeper(experiment: str) -> dict[str, Any]:
    """Return the settings of the sweeper (``hydra.sweeper``) in an experiment's file."""
    file = option_file("experiment", experiment)
    settings: dict[str, Any] = OmegaConf.select(OmegaConf.create(file), SWEEPER) or {}
    return settings


def first_of_search(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of one point of a search's space; UserError if the space is malformed."""
    parsed = parse(overrides)
    ours = [each for each in parsed if not each.key_or_group.startswith("hydra")]
    typed = {each.key_or_group: each.value() for each in parsed if each not in ours and not each.is_sweep_override()}
    names = [str(each.value()) for each in ours if each.key_or_group == "experiment"]
    file = OmegaConf.create(option_file("experiment", names[-1]) if names else {})
    zipped, exclude, where = (
        typed.get(f"hydra.sweeper.{name}", OmegaConf.select(file, f"hydra.sweeper.{name}"))
        for name in ("zip", "exclude", "where")
    )
    values = Space(ours, zipped, exclude, where).first()
    hydra = [text for text, each in zip(overrides, parsed, strict=True) if each not in ours]
    return [*hydra, *(f"{key}={value}" for key, value in values.items())]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): choose another folder with outputs=PATH."
        ) from error


def runs_of_sweep(overrides: Sequence[str]) -> list[Combination]:
    """Return the settings of a sweep's runs, with what zip and exclude, typed or of the experiment's file, leave.

    Args:
        overrides: as typed, with those that `swept_by_experiment` returns.

    Raises:
        UserError: what is typed leaves no run, or excludes what the sweep does not try.
    """
    parsed = parse(overrides)
    ours = {each.key_or_group: each.value() for each in parsed if each.key_or_group in (ZIP, EXCLUDE)}
    swept = [each for each in parsed if not each.key_or_group.startswith("hydra")]
    refuse_idle(swept, ours.get(EXCLUDE))
    names = [str(each.value()) for each in parsed if each.key_or_group == "experiment" and not each.is_sweep_override()]
    file = _sweeper(names[-1]) if names else {}
    return combinations(swept, ours.get(ZIP, file.get("zip")), ours.get(EXCLUDE, file.get("exclude")))


def first_of_sweep(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a sweep's first run.

    Raises:
        UserError: what is typed leaves no run, or excludes what the sweep does not try.
    """
    parsed, values, first = parse(overrides), runs_of_sweep(overrides)[0], []
    for text, override in zip(overrides, parsed, strict=True):
        key, _, _ = text.partition("=")
        if not override.is_sweep_override():
            first.append(text)
        else:
            mine = override.get_key_element()
            first.append(f"{key}={values[mine] if mine in values else sweep_values(override)[0]}")
    return first
