"""Start and end of a search."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from fersweep.config.space import Space
from fersweep.errors import UserError
from fersweep.runs.identity import run_hash
from fersweep.runs.trials import Search, Trial, read
from fersweep.sweep.launcher import CheckedLauncher
from fersweep.sweep.plan import Planned, Planner, interruptible
from fersweep.sweep.search.driver import Driver
from fersweep.sweep.search.proposals import Proposals
from fersweep.sweep.search.settings import Settings
from fersweep.sweep.search.study import Journal
from fersweep.text import command, counted, visible


def search(
    config: DictConfig, context: HydraContext, launcher: Any, arguments: Sequence[str], settings: Settings
) -> float:
    """Search, print the best trial, and return its metric.

    Args:
        config: of the search, as Hydra gives it to a sweeper.
        context: Hydra's.
        launcher: that of the configuration.
        arguments: overrides, swept or fixed.
        settings: of the sweeper.

    Raises:
        UserError: settings that cannot work, or another search in the same folder.
        SystemExit: with code 1 if no trial is done.
    """
    settings.check()
    if not isinstance(launcher, CheckedLauncher):
        raise UserError("hydra/sweeper=search needs hydra/launcher=local or slurm.")
    params = [f"{key}={value}" for key, value in (settings.params or {}).items()]
    overrides = OverridesParser.create(config_loader=context.config_loader).parse_overrides([*params, *arguments])
    space = Space(overrides, settings.zip, settings.exclude, settings.where)
    planner = Planner(config, context, here=launcher.here)
    like = planner.unchecked([f"{key}={value}" for key, value in space.first().items()])
    _check(settings, space, like)
    place = launcher.place(like, settings.trials or 2**16, settings.at_once)
    folder = like.directory.parent
    (folder / ".search").mkdir(parents=True, exist_ok=True)
    journal = Journal(folder, _about(space, settings, like), settings, like.config["recipe"]["max_epochs"])
    if settings.sampler == "grid":
        journal.enqueue(space.grid())
    console = Console()
    proposals = Proposals(journal, space, settings, _inside(planner, folder), lambda line: _say(console, line))
    driver = Driver(proposals, place, like)
    with interruptible("Interrupted. Run the same command to go on."):
        _begin(driver)
        driver.run()
    found = read(folder)
    assert found is not None
    return _conclude(found, driver, folder)


def _check(settings: Settings, space: Space, like: Planned) -> None:
    """Raise UserError for settings that contradict each other."""
    if like.config["force"]:
        raise UserError(
            "force=true would train every trial again at each start: omit it, or choose another sweep=NAME."
        )
    names = {key.lstrip("+") for each in space.parameters for key in each.keys}
    if "seed" in names and settings.seeds > 1:
        raise UserError(
            "hydra.sweeper.seeds sets the seed of each run: give seed one value, or omit hydra.sweeper.seeds."
        )
    for name in ("sweep", "outputs", "recipe.max_epochs"):
        if name in names:
            raise UserError(f"{name} must be the same for all trials of a search: give it one value.")
    if settings.sampler == "grid":
        space.grid()


def _about(space: Space, settings: Settings, like: Planned) -> dict[str, Any]:
    """Return what makes a search: with other values it would be another."""
    return {
        "parameters": space.described(),
        "excluded": space.excluded,
        "metric": settings.metric,
        "seeds": settings.seeds,
        "settings": [f"{key}={value}" for key, value in space.fixed.items()],
        "run": run_hash(like.config),
    }


def _inside(planner: Planner, folder: Path) -> Any:
    def plan(overrides: Sequence[str]) -> Planned:
        run = planner.plan(overrides)
        if run.directory.parent != folder:
            raise UserError(f"A trial would be in {run.directory.parent}: all must be in {folder}.")
        return run

    return plan


def _say(console: Console, line: str) -> None:
    console.print(Text(visible(line)), highlight=False, soft_wrap=True)


def _begin(driver: Driver) -> None:
    trials = driver.journal.trials()
    limits = [
        f"{value:g} {name}"
        for name in ("trials", "epochs", "hours")
        if (value := getattr(driver.settings, name)) is not None
    ]
    known = f"; {_counts(trials)}" if trials and any(trial.counts for trial in trials) else ""
    driver.say(f"search: {' or '.join(limits) or 'the grid'}{known}")


def _counts(trials: Sequence[Trial]) -> str:
    found = Counter(trial.state for trial in trials if trial.counts)
    states = ", ".join(f"{found[state]} {state}" for state in ("done", "pruned", "failed", "running") if found[state])
    return f"{counted(sum(found.values()), 'trial')}: {states}"


def _conclude(found: Search, driver: Driver, folder: Path) -> float:
    """Print the best trial and the next command; return its metric."""
    from fersweep.report import summary

    if driver.proposals.exhausted:
        driver.say(driver.proposals.exhausted)
    driver.say(f"{_counts(found.trials)}; {counted(driver.epochs(found.trials), 'epoch')}")
    best, place = found.best, summary.shown(folder)
    if best is None or best.value is None:
        driver.say("No trial is done.")
        raise SystemExit(1)
    seeds = f", mean of {len(best.scores)} seeds" if len(best.scores) > 1 else ""
    driver.say(f"Best: trial {best.number}, {found.about['metric']} {best.value:.4f}{seeds}")
    driver.say(f"  {command()} {' '.join(map(shlex.quote, best.overrides))}")
    driver.say(f"  {summary.shown(folder / best.runs[0])}")
    driver.say(f"Folder: {place}{os.sep}\nNext: {command('report')} {shlex.quote(str(place))}")
    return best.value
