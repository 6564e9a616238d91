"""All runs below a folder and their states, read from their files, also while runs are active."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING as REQUIRED
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from omegaconf import MISSING

from fersweep.config import targets
from fersweep.config.schema import Config, choices_of, dotted, section
from fersweep.errors import UserError
from fersweep.files import INTEGER, INTERVAL, OPTIONS, mapping, read_json
from fersweep.runs import lock, status, tests
from fersweep.runs.identity import integral
from fersweep.runs.lock import is_locked
from fersweep.runs.status import Status
from fersweep.text import visible

State = Literal["done", "running", "failed", "unreadable", "pruned", "interrupted", "pending"]
STATES: tuple[State, ...] = get_args(State)

OWN_FILES = frozenset((status.FILE_NAME, lock.FILE_NAME, "result.json"))
"""A folder with one of these is a run's; so is one with a ``config.yaml`` whose name ends in a run's hash."""

FIELDS = {
    "choices": OPTIONS,
    "seed": INTEGER,
    "metrics": mapping("a number for each name", int, float, type(None)),
    "accuracy_interval": replace(INTERVAL, optional=True),
    "training_flops": replace(INTEGER, optional=True),
    "code": status.CODE,
}
"""The fields of ``result.json`` that every version writes, checked when it is read."""

HASH = re.compile(r"-([0-9a-f]{10})$")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        state: ``done``; ``running`` (a live process owns the lock); ``failed``; ``pruned`` (a search
            ended it early); ``interrupted`` (started, and no process works on it); ``pending`` (never started);
            ``unreadable`` (one of its files is damaged).
        run: its hash, or the directory's name if that does not end in one.
        choices: ``{group: option}``; empty if unknown.
        settings: those in which runs of the same choices and seed differ, by dotted name.
        metrics: from ``result.json``; empty unless the run is done.
        accuracy_interval: of the test accuracy, fractions ``(low, high)``; ``None`` unless the run is done.
        error: ``{"type": ..., "message": ...}`` of a failed or unreadable run.
        attempts, started, finished: as in `fersweep.runs.status.Status`.
        training_flops: floating-point operations of the training; ``None`` unless the run is done and tells them.
        tests: its tests on other data (`fersweep.runs.tests.summaries`), of a run that is done.
        code: digest of the code that trained it, ``None`` if unknown; several, with commas between them, if it was
            resumed with other code. ``commit``: likewise its commit.
    """

    directory: Path
    state: State
    run: str
    choices: dict[str, str]
    seed: int | None
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    accuracy_interval: tuple[float, float] | None = None
    error: dict[str, str] | None = None
    attempts: int = 0
    started: str | None = None
    finished: str | None = None
    training_flops: int | None = None
    tests: tuple[dict[str, Any], ...] = ()
    code: str | None = None
    commit: str | None = None


def collect(outputs: Path) -> list[Run]:
    """Return every run below ``outputs`` (the folder of one sweep or of several), sorted by directory.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not outputs.is_dir():
        raise UserError(f"There is no folder {outputs}: name the folder of the runs, e.g. outputs or outputs/runs.")
    runs = [read(Path(directory)) for directory in _run_directories(str(outputs), set())]
    if not runs:
        raise UserError(f"There are no runs in {outputs}: name the folder that contains them, e.g. outputs/runs.")
    return distinguish(sorted(runs, key=lambda run: run.directory))


def distinguish(runs: Sequence[Run]) -> list[Run]:
    """Give runs of the same choices and seed the settings in which they differ, from their ``config.yaml``."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(json.dumps([str(run.directory.parent), run.choices, run.seed]), []).append(run)
    found: dict[Path, dict[str, Any]] = {}
    for group in alike.values():
        if len(group) > 1:
            flat = {run.directory: _settings_or_none(run.directory) for run in group}
            names = dict.fromkeys(name for settings in flat.values() for name in settings)
            differing = [name for name in names if len({repr(settings.get(name)) for settings in flat.values()}) > 1]
            found |= {each: {name: settings.get(name) for name in differing} for each, settings in flat.items()}
    return [replace(run, settings=found.get(run.directory, {})) for run in runs]


def _settings_or_none(directory: Path) -> dict[str, Any]:
    """Return the settings of a run, none if its ``config.yaml`` is damaged."""
    try:
        return settings_of(config_of(directory))
    except UserError:
        return {}


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a complete configuration that are part of a run's identity, by dotted name.

    As in the network that is built, the settings of ``fidelity`` for the run's backbone and attention replace theirs.
    Settings that an earlier version did not have get the schema's default, and targets their present names.

    Raises:
        UserError: sections of the configuration have other types.
    """
    try:
        return _settings(config)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"config.yaml is not that of a run ({error})") from error


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = _identifying(config, Config)
    backbone, attention, fidelity = (kept.get(group, {}) for group in ("backbone", "attention", "fidelity"))
    families, modules = fidelity.pop("backbone", None) or {}, fidelity.pop("attention", None) or {}
    own = families.get((config.get("backbone") or {}).get("family") or backbone.get("name"), {})
    if "model" in backbone:
        backbone["model"] = own if "_target_" in own else {**backbone["model"], **own}
    if attention:
        kept["attention"] = {**attention, **modules.get(attention.get("name"), {})}
        kept["attention"].pop("title", None)
    settings: dict[str, Any] = integral(dotted(kept))
    return {key: targets.current(value) if key.endswith("_target_") else value for key, value in settings.items()}


NUMBERS = ("int", "float")
"""Types of settings in the schema that are numbers."""


def _identifying(node: Mapping[str, Any], schema: type) -> dict[str, Any]:
    """Return the settings of a section without those of place, speed or title, and with defaults for missing ones."""
    kept: dict[str, Any] = {}
    for each in fields(schema):
        if not each.metadata.get("identity", True):
            continue
        inner = section(each)
        if inner is not None:
            kept[each.name] = _identifying(node.get(each.name) or {}, inner)
        elif each.name in node:
            kept[each.name] = value = node[each.name]
            if str(each.type).removesuffix(" | None") in NUMBERS and type(value) not in (int, float, type(None)):
                raise TypeError(f"{each.name} is {value!r:.60}, not a number")
        elif each.default is not REQUIRED and each.default != MISSING:
            kept[each.name] = each.default
    return kept


def _run_directories(folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Yield the directories of runs, each once, even if links form a circle."""
    try:
        this = os.stat(folder)  # noqa: PTH116 (a Path object takes longer than the call)
        if (this.st_dev, this.st_ino) in seen:
            return
        seen.add((this.st_dev, this.st_ino))
        names, below = set(), []
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name)
                if not entry.name.startswith(".") and entry.is_dir():
                    below.append(entry.path)
    except FileNotFoundError:  # just removed
        return
    except OSError:  # not readable: listed with its error
        yield folder
        return
    if tests.SETTINGS in names:  # a test of a network, beside no run
        return
    if names & OWN_FILES or ("config.yaml" in names and HASH.search(folder)):
        yield folder
        return
    for each in below:
        yield from _run_directories(each, seen)


def read(directory: Path) -> Run:
    """Return the run in ``directory``, from its files.

    A run archived with its results alone, without status and checkpoints, is done.
    """
    found = HASH.search(directory.name)
    run = found[1] if found else directory.name
    try:
        state, now, result = _look(directory)
    except UserError as error:
        reason = {"type": type(error).__name__, "message": visible(str(error))}
        return Run(directory, "unreadable", run, *_configured(directory), error=reason)
    choices, seed = now.choices, now.seed
    metrics, interval = {}, None
    if result is not None:
        choices, seed, metrics = result["choices"], result["seed"], result["metrics"]
        interval = result.get("accuracy_interval")
    elif choices is None:
        choices, seed = _configured(directory)
    return Run(
        directory=directory,
        state=state,
        run=run,
        choices=choices,
        seed=seed,
        metrics=metrics,
        accuracy_interval=None if interval is None else (interval[0], interval[1]),
        error=now.error if state == "failed" else None,
        attempts=now.attempts,
        started=now.started,
        finished=now.finished,
        training_flops=None if result is None else result.get("training_flops"),
        tests=() if result is None else tests.summaries(directory),
        **_code(now, result or {}),
    )


def _code(now: Status, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return `Run.code` and `Run.commit`; earlier versions recorded the commit alone, among the environment."""
    records, environment = result.get("code") or now.code or [], result.get("environment")
    if not records:
        commit = environment.get("commit") if isinstance(environment, Mapping) else None
        return {"code": None, "commit": None if commit is None else str(commit)}
    found = {name: [str(each[name]) for each in records if each.get(name)] for name in ("digest", "commit")}
    joined = {name: ", ".join(dict.fromkeys(values)) or None for name, values in found.items()}
    return {"code": joined["digest"], "commit": joined["commit"]}


def _look(directory: Path) -> tuple[State, Status, dict[str, Any] | None]:
    """Return the state of a run, its status and, if it is done, its result."""
    before = None
    while True:
        locked = is_locked(directory)  # before the status: a run releases its lock last
        now = Status.read(directory)
        archived = now == Status() and not locked and not (directory / "checkpoints").exists()
        result = result_of(directory) if now.state == "done" or archived else None
        state = _state(directory, now, result is not None, locked)
        if state != "interrupted" or now == before:
            return state, now, result
        before = now  # it may have started between the two looks: look again


def _state(directory: Path, now: Status, has_result: bool, locked: bool) -> State:
    if has_result:
        return "done"
    if locked:
        return "running"
    if now.state == "failed":
        return "failed"
    if now.state == "pruned":
        return "pruned"
    begun = now.state != "pending" or now.attempts > 0
    if not begun and now == Status():  # its status may have been deleted, as advised for a damaged one
        begun = any((directory / name).exists() for name in ("checkpoints", "history.csv", "result.json"))
    return "interrupted" if begun else "pending"


def result_of(directory: Path) -> dict[str, Any] | None:
    """Return the content of a run's ``result.json``, or ``None`` if there is none.

    Raises:
        UserError: it is not what a run writes.
    """
    return read_json(directory / "result.json", FIELDS, "result", "delete it to have the run completed again")


def _configured(directory: Path) -> tuple[dict[str, str], int | None]:
    """Return choices and seed from ``config.yaml``, empty if it does not say; takes a millisecond or more."""
    try:
        config = config_of(directory)
        return choices_of(config), int(config["seed"])
    except (LookupError, TypeError, ValueError):
        return {}, None


def config_of(directory: Path) -> Mapping[str, Any]:
    """Return the resolved configuration in a run's ``config.yaml``, empty if it cannot be read."""
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        config = yaml.load((directory / "config.yaml").read_bytes(), loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return config if isinstance(config, Mapping) else {}
