"""Asynchronous successive halving (ASHA): Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning.

As algorithm 2 of the paper. A rung is a number of epochs. Of the trials that have reached one, the best ``1 / factor``
go on to the next, ``factor`` times as far. A trial that is not among them pauses, and resumes as soon as later results
of others put it there.
"""

from __future__ import annotations

from collections.abc import Sequence

from fersweep.runs.trials import Trial


class Asha:
    """Decides which trials go on.

    Args:
        first: epochs of the first rung.
        factor: of the epochs from rung to rung, and one of so many trials goes on.
        epochs: of a complete run.
        smaller_is_better: as for a loss.
    """

    def __init__(self, first: int, factor: int, epochs: int, smaller_is_better: bool = False) -> None:
        self.factor, self.sign = factor, -1 if smaller_is_better else 1
        self.rungs: list[int] = []
        while first < epochs:
            self.rungs.append(first)
            first *= factor

    def rung(self, trial: Trial) -> int:
        """Return the highest rung that a trial has reached, from 0; -1 before the first."""
        return sum(trial.epochs >= epochs for epochs in self.rungs) - 1

    def goes_on(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        """Return whether a running trial may pass its rung; before the first it may always go on."""
        rung = self.rung(trial)
        return rung < 0 or any(each.first == trial.first for each in self.top(rung, trials))

    def promotable(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the paused trial that should resume: of the highest rung that has one, the best."""
        for rung in reversed(range(len(self.rungs))):
            for trial in self.top(rung, trials):
                if trial.state == "pruned" and self.rung(trial) == rung:
                    return trial
        return None

    def top(self, rung: int, trials: Sequence[Trial]) -> list[Trial]:
        """Return the best ``1 / factor`` of the trials that have reached a rung, best first."""
        there = [trial for trial in trials if trial.counts and trial.state != "failed" and self.rung(trial) >= rung]
        there.sort(key=lambda trial: (-self.score(trial, rung), trial.first))
        return there[: len(there) // self.factor]

    def furthest(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the best of the pruned trials that got furthest, to have one that is done."""
        paused = [trial for trial in trials if trial.state == "pruned" and trial.history]
        return max(paused, key=lambda t: (self.rung(t), self.score(t, max(self.rung(t), 0)), -t.first), default=None)

    def score(self, trial: Trial, rung: int) -> float:
        """Return the best value of a trial up to the epochs of a rung, larger is better."""
        within = self.rungs[rung] if self.rungs else trial.epochs
        values = [value for epoch, value in trial.history.items() if epoch <= within]
        return max((self.sign * value for value in values or trial.history.values()), default=float("-inf"))
