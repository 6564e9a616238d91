"""Searches whose runs train nothing: a place that writes a row of ``history.csv`` per look, and the results."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fersweep.config.options import parse
from fersweep.config.schema import GROUPS
from fersweep.config.space import Space
from fersweep.errors import UserError
from fersweep.files import write_json
from fersweep.runs.lock import claim
from fersweep.runs.status import Status, mark_done, mark_failed, mark_pending, mark_running
from fersweep.sweep.place import Ended
from fersweep.sweep.plan import Outcome, Planned
from fersweep.sweep.search.driver import Driver
from fersweep.sweep.search.proposals import Proposals
from fersweep.sweep.search.settings import Settings
from fersweep.sweep.search.study import Journal

SPACE = ("attention=choice(none,se,cbam)", "lr=tag(log, interval(0.001, 1))")
EPOCHS = 9


def score(config: dict[str, Any], epoch: int) -> float:
    """The validation accuracy of a run: best at lr = 0.1 and with cbam, the later the better."""
    of_lr = math.exp(-((math.log10(float(config["values"]["lr"])) + 1) ** 2))
    of_attention = {"none": 0.0, "se": 0.05, "cbam": 0.1}[config["values"].get("attention", "none")]
    return round((0.8 * of_lr + of_attention) * (1 - 0.5**epoch) + 0.001 * config["seed"], 6)


class Planner:
    """Composes runs from overrides alone; ``impossible`` gives the sentence for those that are."""

    def __init__(self, folder: Path, impossible: Callable[[dict[str, str]], str] = lambda _: "") -> None:
        self.folder, self.impossible = folder, impossible

    def __call__(self, overrides: Sequence[str]) -> Planned:
        values = dict(each.split("=", 1) for each in overrides)
        if sentence := self.impossible(values):
            raise UserError(sentence)
        seed = int(values.pop("seed", "1"))
        name = hashlib.sha256(json.dumps([values, seed]).encode()).hexdigest()[:10]
        config: dict[str, Any] = {group: {"name": "none"} for group in GROUPS}
        config |= {"values": values, "seed": seed, "force": False}
        config["recipe"] = {"name": "none", "max_epochs": EPOCHS}
        return Planned(tuple(overrides), config, self.folder / f"run-s{seed}-{name}")


class FakePlace:
    """Trains an epoch of every run per look; ``trained`` of a folder lists all epochs ever trained there."""

    def __init__(self, slots: int = 2, error: Callable[[Planned], str] = lambda _: "") -> None:
        self.slots, self.error = slots, error
        self.running: list[Planned] = []
        self.stopped: list[Planned] = []
        self.most = 0

    def has_room(self, run: Planned) -> bool:
        return len(self.running) < self.slots

    def holds(self, run: Planned) -> bool:
        return False

    def start(self, run: Planned) -> None:
        assert (run.directory / "config.yaml").is_file()
        self.running.append(run)
        self.most = max(self.most, len(self.running))

    def stop(self, run: Planned) -> None:
        self.stopped.append(run)

    def ended(self, seconds: float) -> list[Ended]:
        found = [each for run in self.running if (each := self._train(run)) is not None]
        self.running = [run for run in self.running if not any(run is each.run for each in found)]
        return found

    def _train(self, run: Planned) -> Ended | None:
        if any(run is each for each in self.stopped):
            with claim(run.directory):
                mark_pending(run.directory)
            return Ended(run, None, 1.0)
        with claim(run.directory):
            mark_running(run.directory)
            if why := self.error(run):
                mark_failed(run.directory, ("ArithmeticError", why))
                return Ended(run, Outcome(run, error=f"ArithmeticError: {why}"), 1.0)
            epoch = train_epoch(run)
            if epoch < run.config["recipe"]["max_epochs"]:
                return None
            return Ended(run, Outcome(run, finish(run)), 1.0)

    def close(self) -> None:
        pass


def train_epoch(run: Planned) -> int:
    """Write the next epoch of a run into its history; return its number."""
    history = run.directory / "history.csv"
    lines = history.read_text().splitlines() if history.exists() else ["epoch,val/loss,val/accuracy,val/macro_f1"]
    epoch = len(lines)
    value = score(run.config, epoch)
    history.write_text("\n".join([*lines, f"{epoch},{1 - value},{value},{value}"]) + "\n")
    with (run.directory.parent / "trained").open("a") as file:
        file.write(f"{run.directory.name} {epoch}\n")
    return epoch


def finish(run: Planned) -> dict[str, Any]:
    epochs = run.config["recipe"]["max_epochs"]
    metrics = {"val/accuracy": score(run.config, epochs), "test/accuracy": 0.5, "test/n": 10}
    about = {"run": run.directory.name[-10:], "choices": {}, "seed": run.config["seed"], "best_epoch": epochs}
    result = {**about, "metrics": metrics, "data_digest": "0"}
    write_json(run.directory / "result.json", result)
    mark_done(run.directory)
    return result


def driver(
    folder: Path,
    *space: str,
    place: FakePlace | None = None,
    impossible: Callable[[dict[str, str]], str] = lambda _: "",
    said: list[str] | None = None,
    **settings: Any,
) -> Driver:
    """A search in ``folder``, with `SPACE` unless another is given."""
    made = Settings(**settings)
    made.check()
    searched = Space(parse(space or SPACE), made.zip, made.exclude, made.where)
    planner = Planner(folder, impossible)
    like = planner([f"{key}={value}" for key, value in searched.first().items()])
    folder.mkdir(parents=True, exist_ok=True)
    about = {"parameters": searched.described(), "metric": made.metric, "seeds": made.seeds}
    journal = Journal(folder, about, made, EPOCHS)
    if made.sampler == "grid":
        journal.enqueue(searched.grid())
    proposals = Proposals(journal, searched, made, planner, (said if said is not None else []).append)
    return Driver(proposals, place or FakePlace(), like)


def states(folder: Path) -> dict[str, str]:
    """State of every run in a folder."""
    return {path.parent.name: Status.read(path.parent).state for path in sorted(folder.glob("*/status.json"))}
