"""Start and end of a search."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from fersweep.config.combinations import values_of
from fersweep.config.space import Space
from fersweep.errors import UserError
from fersweep.runs.collect import config_of
from fersweep.runs.identity import run_hash
from fersweep.runs.trials import Search, Trial, is_loss, read
from fersweep.sweep import notify
from fersweep.sweep.launcher import CheckedLauncher
from fersweep.sweep.plan import Planned, Planner, interruptible
from fersweep.sweep.search import finals as of_finals
from fersweep.sweep.search.board import Board
from fersweep.sweep.search.driver import Driver
from fersweep.sweep.search.finals import finals, folder_of
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
    notice, launcher.on_end = notify.words(launcher.on_end), None  # once, and not for the final runs alone
    with notify.at_end(notice) as begun:
        return _searched(config, context, launcher, arguments, settings, begun)


def _searched(
    config: DictConfig,
    context: HydraContext,
    launcher: CheckedLauncher,
    arguments: Sequence[str],
    settings: Settings,
    begun: notify.Begun,
) -> float:
    """Search as `search`, and note the folders of the searches that have begun."""
    params = [f"{key}={value}" for key, value in (settings.params or {}).items()]
    parser = OverridesParser.create(config_loader=context.config_loader)
    planner, console = Planner(config, context, here=launcher.here), Console()
    found: list[Found] = []
    for chosen in _searches(parser.parse_overrides([*params, *arguments]), config, settings.each):
        if chosen:
            _say(console, f"\n{chosen[0]}")
        overrides = parser.parse_overrides([*params, *arguments, *chosen])
        found.append(_search(planner, launcher, overrides, settings, console, begun))
    for each in found if settings.each else ():
        _say(console, f"{each.name}: {'no trial is done' if each.best is None else f'{each.best.value:.4f}'}")
    best = [each.best for each in found if each.best is not None and each.best.value is not None]
    if settings.finals and best:
        launcher.launch(finals(best, config, settings), 0)
    if len(best) < len(found):
        raise SystemExit(1)
    return max((trial.value or 0.0 for trial in best), key=lambda value: -value if is_loss(settings.metric) else value)


@dataclass(frozen=True)
class Found:
    """Result of a search: the name of its folder, and the best trial, if one is done."""

    name: str
    best: Trial | None


def _searches(overrides: Sequence[Override], config: DictConfig, each: str | None) -> list[list[str]]:
    """Return the overrides of each search to be made: one per value of the setting ``each``, in a folder of its own.

    Raises:
        UserError: the setting has no values.
    """
    if each is None:
        return [[]]
    setting = next((override for override in reversed(overrides) if override.key_or_group == each), None)
    if setting is None:
        raise UserError(f"hydra.sweeper.each={each} names no setting with several values: give it some, {each}=A,B.")
    key = setting.get_key_element()
    return [[f"{key}={value}", f"sweep={folder_of(config, value)}"] for value in values_of(setting)]


def _search(
    planner: Planner,
    launcher: CheckedLauncher,
    overrides: Sequence[Override],
    settings: Settings,
    console: Console,
    begun: notify.Begun,
) -> Found:
    """Make one search and print its best trial."""
    space = Space(overrides, settings.zip, settings.exclude, settings.where)
    like = planner.unchecked([f"{key}={value}" for key, value in space.first().items()])
    _check(settings, space, like)
    of_finals.check(settings, space, planner)
    place = launcher.place(like, settings.trials or 2**16, settings.at_once)
    folder = like.directory.parent
    (folder / ".search").mkdir(parents=True, exist_ok=True)
    begun.folders = [Path(planner.launcher_config.outputs) / planner.launcher_config.sweep]
    journal = Journal(folder, _about(space, settings, like), settings, like.config["recipe"]["max_epochs"])
    if settings.sampler == "grid":
        journal.enqueue(space.grid())
    proposals = Proposals(journal, space, settings, _inside(planner, folder), lambda line: _say(console, line))
    driver = Driver(proposals, place, like)
    with interruptible("Interrupted. Run the same command to go on."):
        _begin(driver)
        with Board(console, driver):
            driver.run()
    found = read(folder)
    assert found is not None
    _conclude(found, driver, folder)
    return Found(like.config["sweep"], found.best)


def _check(settings: Settings, space: Space, like: Planned) -> None:
    """Raise UserError for settings that contradict each other."""
    if like.config["force"]:
        raise UserError(
            "force=true would train every trial again at each start: omit it, or choose another sweep=NAME."
        )
    names = {key.lstrip("+") for each in space.parameters for key in each.keys}
    if "seed" in names and (settings.seeds > 1 or settings.finals):
        raise UserError("hydra.sweeper.seeds and finals set the seed of each run: give seed one value, or omit them.")
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
    if driver.settings.finals:
        ours = of_finals.overrides(driver.settings)
        with_ = f" with {' '.join(ours)}" if ours else ""
        driver.say(f"then the best is trained with {counted(driver.settings.finals, 'fresh seed')}{with_}")


def _counts(trials: Sequence[Trial]) -> str:
    found = Counter(trial.state for trial in trials if trial.counts)
    states = ", ".join(f"{found[state]} {state}" for state in ("done", "pruned", "failed", "running") if found[state])
    return f"{counted(sum(found.values()), 'trial')}{states and ': '}{states}"


def _conclude(found: Search, driver: Driver, folder: Path) -> None:
    """Print the best trial and the next command."""
    from fersweep.report import again, summary

    if driver.proposals.exhausted:
        driver.say(driver.proposals.exhausted)
    driver.say(f"{_counts(found.trials)}; {counted(driver.epochs(found.trials), 'epoch')}")
    best, place = found.best, summary.shown(folder)
    if best is None or best.value is None:
        driver.say("No trial is done.")
        return
    seeds = f", mean of {len(best.scores)} seeds" if len(best.scores) > 1 else ""
    driver.say(f"Best: trial {best.number}, {found.about['metric']} {best.value:.4f}{seeds}")
    driver.say(f"  {command()} {' '.join(again.overrides(config_of(folder / best.runs[0])))}")
    driver.say(f"  {summary.shown(folder / best.runs[0])}")
    driver.say(f"Folder: {place}{os.sep}\nNext: {command('report')} {shlex.quote(str(place))}")
