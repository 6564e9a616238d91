"""Preview of runs without starting them (``--dry-run``): state of each, epochs left and predicted time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

from omegaconf import DictConfig, OmegaConf

from fersweep.config.schema import Config, choices_of
from fersweep.errors import NotFiniteError, UserError
from fersweep.runs import collect
from fersweep.sweep.plan import Planned
from fersweep.text import counted, duration

NOTHING = "Nothing was started or written (--dry-run)."

State = Literal["done", "running", "unreadable", "pruned", "interrupted", "failed", "new"]
STATES: tuple[State, ...] = get_args(State)
"""States of a run before a sweep; those that train are the last four."""

NOT_FOR_SPEED = (
    "seed",
    "weights",
    "split.fold",
    "recipe.max_epochs",
    "recipe.optimizer.",
    "recipe.schedule",
    "recipe.warmup_epochs",
    "recipe.label_smoothing",
    "recipe.class_weights",
    "recipe.early_stopping_patience",
)
"""Beginnings of settings that do not change the time of an epoch."""


@dataclass(frozen=True)
class Expected:
    """One run and what a sweep would do with it.

    Attributes:
        run: planned.
        state: now.
        first, last: epochs to train, counted from 1; equal to (1, 0) if none.
        seconds: predicted for them; ``None`` if no run of the same kind is done.
    """

    run: Planned
    state: State
    first: int = 1
    last: int = 0
    seconds: float | None = None

    @property
    def trains(self) -> bool:
        """The run would train."""
        return self.last >= self.first


def show_one(cfg: DictConfig) -> None:
    """Print the preview of a single run; UserError if it is impossible."""
    from fersweep import build
    from fersweep.training.attempt import prepare

    config, directory = prepare(cfg)
    build.source(cfg).fingerprint()  # refuses a dataset that does not exist
    show([Planned((), config, directory.absolute())], here=True)


def show(runs: Sequence[Planned], here: bool, at_a_time: int | None = None) -> None:
    """Print a table of the runs, one line each, and a line with the totals.

    Args:
        runs: planned.
        here: they would use this machine.
        at_a_time: runs at a time, if that is set.
    """
    from fersweep.report.listing import aligned

    found = expected(runs, here)
    table = [("state", "epochs", "time", "run"), *map(_row, found)]
    for line in aligned(table):
        print(line)
    print(f"\n{total(found, at_a_time)}\n{NOTHING}", flush=True)


def _row(each: Expected) -> tuple[str, str, str, str]:
    epochs = f"{each.first} to {each.last}" if each.trains else ""
    return each.state, epochs, _time(each.seconds) if each.trains else "", each.run.directory.name


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds)


def total(found: Sequence[Expected], at_a_time: int | None = None) -> str:
    """Return the number of runs by state and the predicted time in one line."""
    states = Counter(each.state for each in found)
    counts = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    training = [each for each in found if each.trains]
    known = [each.seconds for each in training if each.seconds is not None]
    if not training:
        return f"{counted(len(found), 'run')}: {counts}; nothing is left to train."
    if not known:
        return f"{counted(len(found), 'run')}: {counts}; predicted time unknown: no run of the same kind is done."
    most = "at most " if any(each.run.config["recipe"]["early_stopping_patience"] for each in training) else ""
    time = f"about {most}{duration(sum(known))}"
    if at_a_time is not None and at_a_time > 1 and len(known) > 1:
        time += f", or {duration(max(*known, sum(known) / at_a_time))} with {at_a_time} runs at a time"
    if unknown := len(training) - len(known):
        time += f"; unknown for {counted(unknown, 'run')}"
    return f"{counted(len(found), 'run')}: {counts}; predicted time {time}."


def expected(runs: Sequence[Planned], here: bool) -> list[Expected]:
    """Return what a sweep would do with each run, from the files of this and earlier ones; data are not read."""
    speeds = _seconds_per_epoch(runs, here)
    return [_expected(run, speeds.get(_kind(run.config, _device(run, here)))) for run in runs]


def _expected(run: Planned, seconds_per_epoch: float | None) -> Expected:
    epochs: int = run.config["recipe"]["max_epochs"]
    now = collect.read(run.directory)
    state: State = "new" if now.state == "pending" or not run.directory.exists() else now.state
    done = 0 if run.config["force"] else _epochs_done(now)
    if state in ("done", "running", "unreadable") and not (state == "done" and run.config["force"]):
        return Expected(run, state)
    left = max(epochs - done, 1)  # with all epochs done, the test is left
    return Expected(
        run, state, epochs - left + 1, epochs, None if seconds_per_epoch is None else left * seconds_per_epoch
    )


def _epochs_done(run: collect.Run) -> int:
    """Return the epochs that a run keeps when it is started again: none without a checkpoint or with a useless one."""
    diverged = run.error is not None and run.error["type"] == NotFiniteError.__name__
    if diverged or not (run.directory / "checkpoints" / "last.ckpt").exists():
        return 0
    try:
        rows = (run.directory / "history.csv").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return 0
    return max(len(rows) - 1, 0)


def _seconds_per_epoch(runs: Sequence[Planned], here: bool) -> dict[str, float]:
    """Return the median time of an epoch by kind, of finished runs below the same folders of outputs."""
    choices = [choices_of(run.config) for run in runs]
    found: dict[str, list[float]] = {}
    for outputs in dict.fromkeys(Path(run.config["outputs"]) for run in runs):
        for run in _finished(outputs):
            if not any(_alike(run.choices, each) for each in choices):
                continue
            result = collect.result_of(run.directory) or {}
            seconds, epochs, config = result.get("seconds"), result.get("epochs"), collect.config_of(run.directory)
            if seconds and epochs and config:
                device = result.get("environment", {}).get("device") if here else None
                found.setdefault(_kind(config, device), []).append(seconds / epochs)
    return {kind: median(times) for kind, times in found.items()}


def _finished(outputs: Path) -> list[collect.Run]:
    try:
        return [run for run in collect.collect(outputs) if run.state == "done"]
    except UserError:  # there is no run yet
        return []


def _alike(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(one.get(group) == other.get(group) for group in ("backbone", "attention", "dataset", "recipe"))


def _kind(config: Mapping[str, Any], device: str | None) -> str:
    """Return a text that is equal for runs whose epochs take equally long: of one network, dataset, recipe, device."""
    settings = {key: value for key, value in collect.settings_of(config).items() if not key.startswith(NOT_FOR_SPEED)}
    trainer = config.get("trainer", {})
    processes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    return json.dumps([settings, processes, device], sort_keys=True, default=str)


def _device(run: Planned, here: bool) -> str | None:
    """Return the device as ``result.json`` names it, or ``None`` where the run would train elsewhere."""
    if not here:
        return None
    import torch

    from fersweep.training.devices import find_device

    cfg = OmegaConf.merge(OmegaConf.structured(Config), run.config)
    assert isinstance(cfg, DictConfig)
    device = find_device(cfg)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
