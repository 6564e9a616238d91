"""All runs below a folder, as their own files tell: done or not, and why not. Reads only, also while runs go on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING as REQUIRED
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from omegaconf import MISSING

from fersweep.config.schema import Config, dotted, section
from fersweep.errors import UserError
from fersweep.runs import lock, status
from fersweep.runs.identity import integral
from fersweep.runs.lock import is_held
from fersweep.runs.status import Status

State = Literal["done", "running", "failed", "unreadable", "interrupted", "pending"]
STATES: tuple[State, ...] = get_args(State)

OWN_FILES = frozenset((status.FILE_NAME, lock.FILE_NAME, "result.json"))
"""A folder with one of these is a run's; one with a ``config.yaml`` is, when its name ends as a run's does."""

HASH = re.compile(r"-([0-9a-f]{10})$")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        directory: of the run.
        state: ``done``; ``running`` (a live process holds the lock); ``failed``; ``interrupted`` (begun, and nobody is
            at it); ``pending`` (asked for, never begun); ``unreadable`` (a file of it is damaged).
        run: its hash, or the name of the directory where that does not end with one.
        choices: ``{group: option}``; empty where nothing tells.
        seed: ``None`` where nothing tells.
        settings: those by which runs of the same choices and seed differ, dotted names; empty where there are none.
        metrics: of ``result.json``, empty unless the run is done.
        accuracy_interval: of the test accuracy, fractions ``(low, high)``; ``None`` unless the run is done.
        error: ``{"type": ..., "message": ...}`` of a failed or unreadable run.
        attempts: how often it was started.
        started: when the latest attempt began, ISO 8601 in UTC.
        finished: when it ended.
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


def collect(outputs: Path) -> list[Run]:
    """Return every run below ``outputs`` (the folder of a sweep, or one of several sweeps), by directory.

    Raises:
        UserError: where there is no such folder, or no run in it.
    """
    if not outputs.is_dir():
        raise UserError(f"There is no folder {outputs}: name the one that runs are in, e.g. outputs or outputs/runs.")
    runs = [read(Path(directory)) for directory in _run_directories(str(outputs), set())]
    if not runs:
        raise UserError(f"There are no runs in {outputs}: name the folder that they are in, e.g. outputs/runs.")
    return distinguish(sorted(runs, key=lambda run: run.directory))


def distinguish(runs: Sequence[Run]) -> list[Run]:
    """Give runs that choices and seed do not tell apart the settings that do, from their ``config.yaml``."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(json.dumps([str(run.directory.parent), run.choices, run.seed]), []).append(run)
    found: dict[Path, dict[str, Any]] = {}
    for group in alike.values():
        if len(group) > 1:
            flat = {run.directory: settings_of(config_of(run.directory)) for run in group}
            names = dict.fromkeys(name for settings in flat.values() for name in settings)
            differing = [name for name in names if len({repr(settings.get(name)) for settings in flat.values()}) > 1]
            found |= {each: {name: settings.get(name) for name in differing} for each, settings in flat.items()}
    return [replace(run, settings=found.get(run.directory, {})) for run in runs]


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a whole configuration that can make a run another run, with dotted names.

    What ``fidelity`` says of the run's own backbone and attention stands there, as in the network that is built. What
    an earlier version could not yet be told is at the schema's default.
    """
    kept = _apart(config, Config)
    backbone, attention, fidelity = (kept.get(group, {}) for group in ("backbone", "attention", "fidelity"))
    families, modules = fidelity.pop("backbone", None) or {}, fidelity.pop("attention", None) or {}
    own = families.get((config.get("backbone") or {}).get("family") or backbone.get("name"), {})
    if "model" in backbone:
        backbone["model"] = own if "_target_" in own else {**backbone["model"], **own}
    if attention:
        kept["attention"] = {**attention, **modules.get(attention.get("name"), {})}
        kept["attention"].pop("title", None)
    settings: dict[str, Any] = integral(dotted(kept))
    return settings


def _apart(node: Mapping[str, Any], schema: type) -> dict[str, Any]:
    """What of a section of the schema is no setting of place, speed or title, with defaults for what it lacks."""
    kept: dict[str, Any] = {}
    for each in fields(schema):
        if not each.metadata.get("identity", True):
            continue
        inner = section(each)
        if inner is not None:
            kept[each.name] = _apart(node.get(each.name) or {}, inner)
        elif each.name in node:
            kept[each.name] = node[each.name]
        elif each.default is not REQUIRED and each.default != MISSING:
            kept[each.name] = each.default
    return kept


def _run_directories(folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Yield the directories of runs, each once, also where links lead in circles."""
    try:
        this = os.stat(folder)  # noqa: PTH116 (paths as objects take longer than the call)
        if (this.st_dev, this.st_ino) in seen:
            return
        seen.add((this.st_dev, this.st_ino))
        names, below = set(), []
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name)
                if not entry.name.startswith(".") and entry.is_dir():
                    below.append(entry.path)
    except FileNotFoundError:  # removed a moment ago
        return
    except OSError:  # closed to us; what cannot be read of it is said where it is listed
        yield folder
        return
    if names & OWN_FILES or ("config.yaml" in names and HASH.search(folder)):
        yield folder
        return
    for each in below:
        yield from _run_directories(each, seen)


def read(directory: Path) -> Run:
    """Return what the files in ``directory`` tell of its run.

    One that was put away with its results alone, without status and checkpoints, is done.
    """
    found = HASH.search(directory.name)
    run = found[1] if found else directory.name
    before = None
    while True:
        held = is_held(directory)  # before the status: a run that is done lets go last
        try:
            now = Status.read(directory)
            kept = now == Status() and not held and not (directory / "checkpoints").exists()
            result = result_of(directory) if now.state == "done" or kept else None
        except UserError as error:
            reason = {"type": type(error).__name__, "message": str(error)}
            return Run(directory, "unreadable", run, *_configured(directory), error=reason)
        state = _state(directory, now, result is not None, held)
        if state != "interrupted" or now == before:
            break
        before = now  # it may have begun between the two looks: look again
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
    )


def _state(directory: Path, now: Status, has_result: bool, held: bool) -> State:
    if has_result:
        return "done"
    if held:
        return "running"
    if now.state == "failed":
        return "failed"
    begun = now.state != "pending" or now.attempts > 0
    if not begun and now == Status():  # perhaps its status was deleted, as the advice is for a damaged one
        begun = any((directory / name).exists() for name in ("checkpoints", "history.csv", "result.json"))
    return "interrupted" if begun else "pending"


def result_of(directory: Path) -> dict[str, Any] | None:
    """Return what ``result.json`` of a run holds, or ``None`` where there is none.

    Raises:
        UserError: where it is not what a run writes.
    """
    path = directory / "result.json"
    try:
        return _checked(json.loads(path.read_bytes(), parse_constant=_refuse))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a readable result ({error}); delete it to have the run finished again."
        ) from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _checked(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    choices, metrics, interval = raw.get("choices"), raw.get("metrics"), raw.get("accuracy_interval")
    if not (isinstance(choices, dict) and all(isinstance(each, str) for each in choices.values())):
        raise ValueError(f"choices is {choices!r}, not an option for each group")
    if type(raw.get("seed")) is not int:
        raise ValueError(f"seed is {raw.get('seed')!r}, not a whole number")
    if not (isinstance(metrics, dict) and all(each is None or _is_number(each) for each in metrics.values())):
        raise ValueError(f"metrics is {metrics!r}, not a number for each name")
    if interval is not None and not (
        isinstance(interval, list) and len(interval) == 2 and all(_is_number(each) for each in interval)
    ):
        raise ValueError(f"accuracy_interval is {interval!r}, not two numbers")
    return raw


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _configured(directory: Path) -> tuple[dict[str, str], int | None]:
    """Choices and seed as ``config.yaml`` has them, nothing where it does not tell; takes a millisecond or more."""
    from fersweep.config.schema import choices_of

    try:
        config = config_of(directory)
        return choices_of(config), int(config["seed"])
    except (LookupError, TypeError, ValueError):
        return {}, None


def config_of(directory: Path) -> Mapping[str, Any]:
    """Return ``config.yaml`` of a run, which is resolved; empty where it cannot be read."""
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        config = yaml.load((directory / "config.yaml").read_bytes(), loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, Mapping) else {}
