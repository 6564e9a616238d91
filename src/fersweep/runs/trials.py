"""Trials of a search, read from its journal (``search.journal`` in the folder of its sweep).

The journal is a file of Optuna's, a line per event. A trial is a configuration. Optuna closes a trial that is pruned,
so one that goes on later is a second trial there, with ``continues``; here the two are one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fersweep.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

JOURNAL = "search.journal"
STUDY = "search"
"""Name of the only study in a journal."""

State = Literal["running", "done", "pruned", "failed", "refused", "repeated"]

NOT_COUNTED = ("refused", "repeated")

CHOSEN, DRIVER, CONTINUES, KIND, WHY, SCORES = "chosen", "driver", "continues", "kind", "why", "scores"
ENDING = "ending"
"""Attributes of Optuna's trials: see `Trial`."""


@dataclass(frozen=True)
class Trial:
    """A configuration that a search tries.

    Attributes:
        number: from 1, in the order of proposals; 0 if it does not count.
        first: number of Optuna's first trial of it.
        state: ``running`` (or its command was killed), ``done``, ``pruned`` (ended early), ``failed``, ``refused`` (an
            impossible or excluded combination, which does not count) or ``repeated`` (the configuration of an earlier
            trial, which does not count).
        params: values by parameter; conditional ones may be missing.
        overrides: of its first run, complete.
        runs: names of the directories of its runs, one per seed, in the sweep's folder; the further seeds are trained
            only if it is promising.
        scores: value of the metric for each seed that is done.
        history: value of the metric by epoch, of the first seed.
        why: the error of a trial that failed or was refused.
        driver: name of the command that last worked on it.
        started, ended: local times.
        last: Optuna's latest trial of it.
        ending: its run was asked to end, because it is behind.
    """

    number: int
    first: int
    state: State
    params: dict[str, Any]
    overrides: tuple[str, ...]
    runs: tuple[str, ...]
    scores: tuple[float, ...]
    history: dict[int, float]
    why: str
    driver: str
    started: datetime | None
    ended: datetime | None
    last: FrozenTrial = field(repr=False)
    ending: bool = False

    @property
    def value(self) -> float | None:
        """Mean of the metric over the seeds that are done."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def epochs(self) -> int:
        """Epochs of the first seed."""
        return max(self.history, default=0)

    @property
    def counts(self) -> bool:
        """True if it counts as one of the trials that were asked for."""
        return self.state not in NOT_COUNTED


@dataclass(frozen=True)
class Search:
    """A search: what it tries, by which metric it chooses, and its trials in order.

    Attributes:
        about: parameters, metric, seeds and fixed settings, as `fersweep.sweep.search.study` records them.
    """

    about: dict[str, Any]
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The best of the trials that are done, the first of equals."""
        return best(self.trials, self.about["metric"])


def best(trials: Iterable[Trial], metric: str) -> Trial | None:
    """Return the best of the trials that are done, the first of equals."""
    sign = -1 if is_loss(metric) else 1
    done = [trial for trial in trials if trial.state == "done"]
    return max(done, key=lambda trial: sign * (trial.value or 0.0), default=None)


def is_loss(metric: str) -> bool:
    """Return whether smaller values of a metric are better."""
    return metric.endswith("loss")


def read(folder: Path) -> Search | None:
    """Return the search in the folder of a sweep, or ``None`` if it has none.

    Raises:
        UserError: the journal is damaged.
    """
    if not (folder / JOURNAL).is_file():
        return None
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        study = storage.get_study_id_from_name(STUDY)
        about = storage.get_study_user_attrs(study).get("about")
        found = storage.get_all_trials(study, deepcopy=False)
    except KeyError:  # it was killed before it began
        return None
    except (OSError, ValueError) as error:
        raise damaged(folder, error) from error
    return None if about is None else Search(about, tuple(joined(found)))


def damaged(folder: Path, error: Exception) -> UserError:
    """Return the error for a journal that cannot be read."""
    return UserError(
        f"{folder / JOURNAL} is not a readable journal ({error}): move it away and start the search again, which takes "
        "up the runs that are done."
    )


def joined(found: Iterable[FrozenTrial]) -> list[Trial]:
    """Return trials from those of Optuna: a continuation and what it continues are one."""
    chains: dict[int, list[FrozenTrial]] = {}
    for each in found:
        if each.state.name == "WAITING":  # of a grid, and nobody has asked for it yet
            continue
        chains.setdefault(each.user_attrs.get(CONTINUES, each.number), []).append(each)
    trials, number = [], 0
    for chain in chains.values():
        state = _state(chain[-1])
        number += state not in NOT_COUNTED
        trials.append(_trial(chain, state, 0 if state in NOT_COUNTED else number))
    return trials


def _trial(chain: list[FrozenTrial], state: State, number: int) -> Trial:
    first, last = chain[0], chain[-1]
    chosen = first.user_attrs.get(CHOSEN) or {"overrides": (), "runs": ()}
    history = {step: value for each in chain for step, value in each.intermediate_values.items()}
    return Trial(
        number=number,
        first=first.number,
        state=state,
        params=dict(first.params),
        overrides=tuple(chosen["overrides"]),
        runs=tuple(chosen["runs"]),
        scores=tuple(last.user_attrs.get(SCORES, ())),
        history=dict(sorted(history.items())),
        why=last.user_attrs.get(WHY, ""),
        driver=last.user_attrs.get(DRIVER, ""),
        started=first.datetime_start,
        ended=last.datetime_complete,
        last=last,
        ending=bool(last.user_attrs.get(ENDING)),
    )


def _state(last: FrozenTrial) -> State:
    kind: State | None = last.user_attrs.get(KIND)
    name = last.state.name
    if name == "RUNNING":
        return "running"
    return kind or {"COMPLETE": "done", "PRUNED": "pruned"}.get(name, "failed")  # type: ignore[return-value]


def history(directory: Path, metric: str) -> dict[int, float]:
    """Return the value of a metric by epoch, from a run's ``history.csv``; empty without one."""
    try:
        with (directory / "history.csv").open(encoding="utf-8", newline="") as file:
            return {int(row["epoch"]): float(row[metric]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{directory / 'history.csv'} has no readable column {metric}: {error}.") from error
