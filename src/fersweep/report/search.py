"""Searches in a report: best configuration as command and experiment, importance of parameters, table of trials."""

from __future__ import annotations

import csv
import io
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fersweep.config.options import options, parse
from fersweep.report import again
from fersweep.report.formats import percent
from fersweep.runs import trials
from fersweep.runs.collect import Run, config_of
from fersweep.runs.trials import Trial
from fersweep.text import cells, command, counted

ENOUGH = 8
"""Trials below which the importance of parameters would be noise."""

ELSEWHERE = ("seed", "sweep", "outputs", "cache", "force")
"""Settings of the best configuration that an experiment's file leaves open."""


@dataclass(frozen=True)
class Searched:
    """A search as its report shows it.

    Attributes:
        name: of its sweep.
        folder: of its sweep.
        metric: by which it chooses, such as ``val/accuracy``.
        parameters: names; ``logarithmic`` are those with a logarithmic scale.
        trials: those that count, in order.
        best: the best that is done, or ``None``.
        epoch: a common epoch: the last that at least half of the trials reached.
    """

    name: str
    folder: Path
    metric: str
    parameters: tuple[str, ...]
    logarithmic: tuple[str, ...]
    trials: tuple[Trial, ...]
    best: Trial | None
    epoch: int

    @property
    def lower_is_better(self) -> bool:
        """The metric is a loss."""
        return trials.is_loss(self.metric)

    def at_epoch(self, trial: Trial) -> float | None:
        """Return the metric of a trial's best epoch up to the common one, or ``None`` if it ended before."""
        return _best_until(trial, self.epoch, self.lower_is_better)

    @cached_property
    def importance(self) -> dict[str, float]:
        """The importance of each parameter, see `importance`; empty if there are too few trials."""
        return importance(self.trials, self.epoch, self.lower_is_better)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the best trial's first run; empty without one."""
        return {} if self.best is None else config_of(self.folder / self.best.runs[0])

    @cached_property
    def overrides(self) -> tuple[str, ...]:
        """The overrides of the defaults that repeat the best trial's first run."""
        return tuple(shlex.split(each)[0] for each in again.overrides(self.config)) if self.config else ()

    @property
    def command(self) -> str:
        """The command that trains the best configuration again, which then is found done."""
        return "" if self.best is None else f"{command()} {' '.join(map(shlex.quote, self.overrides))}"

    @property
    def experiment(self) -> str:
        """The best configuration as a file for ``conf/experiment``; empty without a best."""
        return "" if self.best is None else _experiment(self, self.best)

    @property
    def counts(self) -> str:
        """The number of trials by state."""
        states = ("done", "pruned", "failed", "running")
        found = {state: sum(trial.state == state for trial in self.trials) for state in states}
        listed = ", ".join(f"{count} {state}" for state, count in found.items() if count)
        return f"{counted(len(self.trials), 'trial')}: {listed}"

    def shown(self, value: float | None) -> str:
        """Return a value of the metric as text: percent, or three digits of a loss."""
        if value is None:
            return "–"
        return f"{value:.4f}" if self.lower_is_better else percent(value)

    @property
    def heading(self) -> str:
        """The metric with its unit."""
        return self.metric if self.lower_is_better else f"{self.metric} (%)"


def find(runs: Sequence[Run]) -> tuple[Searched, ...]:
    """Return the searches in the folders of runs, sorted by folder; UserError for a damaged journal."""
    folders = sorted({run.directory.parent for run in runs})
    return tuple(each for folder in folders if (each := read(folder)) is not None)


def read(folder: Path) -> Searched | None:
    """Return the search in the folder of a sweep, or ``None``; UserError for a damaged journal."""
    found = trials.read(folder)
    if found is None:
        return None
    counting = tuple(trial for trial in found.trials if trial.counts)
    parameters = [(str(name), distribution) for name, distribution, _ in found.about["parameters"]]
    return Searched(
        name=folder.name,
        folder=folder,
        metric=found.about["metric"],
        parameters=tuple(name for name, _ in parameters),
        logarithmic=tuple(name for name, each in parameters if each["attributes"].get("log")),
        trials=counting,
        best=found.best,
        epoch=_common_epoch(counting),
    )


def _common_epoch(counting: Sequence[Trial]) -> int:
    reached = sorted((trial.epochs for trial in counting if trial.history), reverse=True)
    return reached[(len(reached) - 1) // 2] if reached else 0


def _best_until(trial: Trial, epoch: int, lower_is_better: bool) -> float | None:
    if not trial.history or trial.epochs < epoch:
        return None
    values = [value for at, value in trial.history.items() if at <= epoch]
    return min(values) if lower_is_better else max(values)


def importance(counting: Sequence[Trial], epoch: int, lower_is_better: bool) -> dict[str, float]:
    """Return the importance of each parameter that all trials have, adding up to 1, largest first.

    That of PED-ANOVA (Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance
    in Arbitrary Subspaces"), as Optuna computes it: how far the best tenth of the trials differs from all in a
    parameter. Compared is the metric at one common epoch, which pruned trials have reached, too.

    Args:
        counting: trials.
        epoch: the common one.
        lower_is_better: the metric is a loss.

    Returns:
        Nothing with fewer than `ENOUGH` trials, or if they are all equally good.
    """
    import optuna

    values = [(trial, _best_until(trial, epoch, lower_is_better)) for trial in counting]
    known = [(trial, value) for trial, value in values if value is not None]
    if len(known) < ENOUGH or len({value for _, value in known}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction="minimize" if lower_is_better else "maximize")
        for trial, value in known:
            last = trial.last
            study.add_trial(
                optuna.trial.create_trial(params=last.params, distributions=last.distributions, value=value)
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in sorted(found.items(), key=lambda pair: -pair[1])}


def _experiment(search: Searched, best: Trial) -> str:
    """Return an experiment's file with the settings of a trial, without its seed and folder."""
    choices: list[Any] = []
    settings: dict[str, Any] = {}
    for override in parse(search.overrides):
        key, value = override.key_or_group, override.value()
        if key in ELSEWHERE:
            continue
        if options(key):
            choices.append({f"override /{key}": value})
        else:
            *above, last = key.split(".")
            node = settings
            for each in above:
                node = node.setdefault(each, {})
            node[last] = value
    name = re.sub(r"\W+", "_", search.name)
    about = (
        f"# @package _global_\n# The best of {counted(len(search.trials), 'trial')} of the search {search.name}: "
        f"{search.heading} {search.shown(best.value)} in trial {best.number}.\n"
        f"#   uv run train.py experiment={name}_best\n"
    )
    content = {**({"defaults": choices} if choices else {}), **settings}
    return about + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def prefixes(searches: Sequence[Searched]) -> list[str]:
    """Return the beginning of the names of each search's files: empty, or its name if there are several."""
    names = [re.sub(r"[^\w.-]", "_", each.name) for each in searches]
    alike = len(set(names)) < len(names)
    if len(searches) < 2:
        return [""] * len(searches)
    return [f"{name}-{number + 1}-" if alike else f"{name}-" for number, name in enumerate(names)]


def files(searches: Sequence[Searched]) -> dict[str, str]:
    """Return the text files of a report on searches: ``trials.csv`` and, if a trial is done, ``best.yaml`` of each."""
    found: dict[str, str] = {}
    for search, prefix in zip(searches, prefixes(searches), strict=True):
        found[f"{prefix}trials.csv"] = as_csv(search)
        if search.experiment:
            found[f"{prefix}best.yaml"] = search.experiment
    return found


def as_csv(search: Searched) -> str:
    """Return RFC 4180 text, one record per trial that counts, below a header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = ("trial", "state", search.metric, "seeds", "epochs", *search.parameters, "run", "why")
    writer.writerow(cells(names))
    for trial in search.trials:
        values = (trial.params.get(name) for name in search.parameters)
        of = (trial.number, trial.state, trial.value, len(trial.scores), trial.epochs)
        writer.writerow(cells((*of, *values, trial.runs[0] if trial.runs else "", trial.why)))
    return text.getvalue()


def numbers(searches: Sequence[Searched]) -> dict[Path, int]:
    """Return the number of the trial of each run's directory."""
    return {search.folder / run: trial.number for search in searches for trial in search.trials for run in trial.runs}


def parameter(value: Any) -> str:
    """Return the value of a parameter for a table: four digits of a number."""
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def as_lines(search: Searched) -> list[tuple[str, ...]]:
    """Return the header and a line of texts per trial that counts, best first, then the others in order."""
    sign = 1 if search.lower_is_better else -1
    ranked = sorted(search.trials, key=lambda trial: (trial.value is None, sign * (trial.value or 0.0), trial.number))
    header = ("trial", "state", search.heading, "seeds", "epochs", *search.parameters)
    return [
        header,
        *(
            (
                *(str(trial.number), trial.state, search.shown(trial.value)),
                *(str(len(trial.scores)) if trial.scores else "–", str(trial.epochs)),
                *(parameter(trial.params.get(name)) for name in search.parameters),
            )
            for trial in ranked
        ),
    ]
