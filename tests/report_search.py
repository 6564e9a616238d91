"""Searches for tests of the report: a journal made by hand, and the runs of its trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json
from optuna.trial import TrialState, create_trial
from report_runs import SHORT, finished

from fersweep.runs.trials import CHOSEN, JOURNAL, SCORES, STUDY

SPACE: dict[str, Any] = {
    "attention": CategoricalDistribution(("none", "cbam")),
    "recipe.optimizer.lr": FloatDistribution(0.001, 1.0, log=True),
}


def trial(params: dict[str, Any], history: list[float], run: str = "", **about: Any) -> optuna.trial.FrozenTrial:
    """A trial of the metric by epoch, done if it has three epochs."""
    done = len(history) == 3
    attributes = {CHOSEN: {"overrides": [f"{key}={value}" for key, value in params.items()], "runs": [run]}, **about}
    return create_trial(
        state=TrialState.COMPLETE if done else TrialState.PRUNED,
        value=max(history) if done else None,
        params=params,
        distributions=SPACE,
        user_attrs={**attributes, SCORES: [max(history)] if done else []},
        intermediate_values=dict(enumerate(history, start=1)),
    )


def journal(folder: Path, trials: list[optuna.trial.FrozenTrial], metric: str = "val/accuracy") -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.create_study(study_name=STUDY, storage=storage, direction="maximize")
    parameters = [[name, json.loads(distribution_to_json(each)), {}] for name, each in SPACE.items()]
    study.set_user_attr("about", {"metric": metric, "parameters": parameters, "seeds": 1})
    study.add_trials(trials)


def run(outputs: Path, attention: str, lr: float) -> Path:
    overrides = (*SHORT, f"attention={attention}", f"recipe.optimizer.lr={lr}")
    return finished(outputs, overrides, 1, np.arange(40) % 3 > 0)
