"""The loop of a search: whenever the place has room the next trial starts, and while runs train some are ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fersweep.errors import NotFiniteError
from fersweep.runs.lock import LockedError, claim, is_locked
from fersweep.runs.status import mark_pruned
from fersweep.runs.trials import Trial, best, history, is_loss
from fersweep.sweep.place import Elsewhere, Ended, Place
from fersweep.sweep.plan import DataCheck, Outcome, Planned, freeze
from fersweep.sweep.search.asha import Asha
from fersweep.sweep.search.proposals import UNFINISHED, Active, Proposals

POLL = 0.5
"""Seconds between two looks at the histories of running runs."""


class Driver:
    """Searches until the budget is used up.

    Args:
        proposals: source of new trials.
        place: where runs are trained.
        like: a run that needs the same devices as those of the search.

    Attributes:
        look: is called after each look at the running runs.
    """

    def __init__(self, proposals: Proposals, place: Place, like: Planned) -> None:
        self.proposals, self.place, self.like = proposals, place, like
        self.journal, self.settings, self.say = proposals.journal, proposals.settings, proposals.say
        settings = self.settings
        self.max_epochs = like.config["recipe"]["max_epochs"]
        self.is_asha = settings.pruner == "asha"
        self.asha = Asha(settings.first_rung, settings.factor, self.max_epochs, is_loss(settings.metric))
        self.active: list[Active] = []
        self.queue: deque[Active] = deque()
        self.elsewhere = Elsewhere()
        self.confirmed: set[int] = set()
        self.check = DataCheck()
        self.look: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Search; an interruption leaves everything resumable."""
        with self.journal.joined():
            try:
                while not self._step():
                    self.journal.note()
            except BaseException:
                self.place.close()
                raise

    def _step(self) -> bool:
        """Start what can start, wait for the place, look at what runs; return whether the search is over."""
        over = self._fill()
        if over and not self.active and not self.queue and not self._others():
            return True
        ended = [*self.place.ended(POLL), *(Ended(*each) for each in self.elsewhere.look())]
        for each in ended:
            self._ended(each)
        for active in list(self.active):
            self._watch(active)
        self.look()
        return False

    def _others(self) -> bool:
        """Return whether trials are running, of other commands: their results may promote one."""
        return any(trial.state == "running" for trial in self.journal.trials())

    def _fill(self) -> bool:
        """Start trials while there is room; return whether there was none to start."""
        while self.place.has_room(self.queue[0].run if self.queue else self.like):
            if self.queue:
                self._start(self.queue.popleft())
                continue
            if not self._is_worth_a_look():
                return True
            with self.journal.held():
                found = self._next()
            if found is None:
                return True
            self._advance(found)
        return False

    def _is_worth_a_look(self) -> bool:
        """Return whether there may be something to start, without keeping others from changing the search."""
        trials = self.journal.trials()
        left = not self.proposals.exhausted and self._has_budget(trials, new=True)
        promotable = self.is_asha and self._has_budget(trials) and self.asha.promotable(trials) is not None
        if left or promotable or any(map(self.journal.is_orphan, trials)):
            return True
        return self._lacks_a_result(trials) or self._lacks_seeds(trials) is not None

    def _next(self) -> Active | None:
        """Return the next trial to work on: of a command that died, one that is promoted, a new one."""
        trials = self.journal.trials()
        orphan = next(filter(self.journal.is_orphan, trials), None)
        if orphan is not None:
            return self._taken_over(orphan)
        paused = self.asha.promotable(trials) if self.is_asha and self._has_budget(trials) else None
        if paused is not None:
            return self._resumed(paused, f"is promoted after epoch {paused.epochs}")
        left = not self.proposals.exhausted and self._has_budget(trials, new=True)
        if left and (found := self.proposals.new()) is not None:
            return found
        trials = self.journal.trials()
        furthest = self.asha.furthest(trials) if self._lacks_a_result(trials) else None
        if furthest is not None:
            return self._resumed(furthest, "goes on: no trial is done", to_the_end=True)
        if (single := self._lacks_seeds(trials)) is not None:
            self.confirmed.add(single.first)
            return self._resumed(single, "is the best and gets its further seeds", to_the_end=True)
        return None

    def _has_budget(self, trials: Sequence[Trial], new: bool = False) -> bool:
        """Return whether something may start; a ``new`` trial needs one of the trials, too."""
        ours = self.settings
        if new and ours.trials is not None and sum(trial.counts for trial in trials) >= ours.trials:
            return False
        if ours.epochs is not None and self.epochs(trials) >= ours.epochs:
            return False
        return ours.hours is None or self.journal.hours() < ours.hours

    def _lacks_a_result(self, trials: Sequence[Trial]) -> bool:
        """Return whether all has ended and none is done, but one could be."""
        states = {trial.state for trial in trials}
        over = bool(self.proposals.exhausted) or not self._has_budget(trials, new=True)
        return over and "pruned" in states and not states & {"running", "done"}

    def _lacks_seeds(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the best trial if all has ended and further seeds of it were not trained."""
        over = bool(self.proposals.exhausted) or not self._has_budget(trials, new=True)
        if not over or any(trial.state == "running" for trial in trials):
            return None
        found = best(trials, self.settings.metric)
        lacks = found is not None and len(found.scores) < self.settings.seeds and found.first not in self.confirmed
        return found if lacks else None

    def epochs(self, trials: Sequence[Trial]) -> int:
        """Return the epochs that all runs have trained together."""
        further = (run for trial in trials for run in trial.runs[1:])
        return sum(t.epochs for t in trials if t.counts) + sum(len(self._history(self.folder / run)) for run in further)

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return self.journal.folder

    def _history(self, directory: Path) -> dict[int, float]:
        return history(directory, self.settings.metric)

    def _taken_over(self, trial: Trial) -> Active | None:
        """Return the trial of a command that died; one that died while it proposed it is closed."""
        if not trial.runs:
            self.journal.tell(trial.last.number, "refused", why=UNFINISHED)
            return self._next()
        self.journal.take(trial)
        self.say(f"trial {trial.number}  is taken over: its command has ended")
        return self.proposals.known(trial)

    def _resumed(self, trial: Trial, why: str, to_the_end: bool = False) -> Active:
        self.say(f"trial {trial.number}  {why}")
        active = self.proposals.known(trial, self.journal.resume(trial))
        active.rung, active.to_the_end = self.asha.rung(trial), to_the_end
        return active

    def _advance(self, active: Active) -> None:
        """Start the next run of a trial that is not done, or conclude the trial."""
        while active.place < len(active.runs):
            run = active.run
            freeze([run])
            outcome = self.check.outcome(run)
            if outcome.error is not None:
                self._failed(active, outcome)
                return
            if outcome.result is None:
                self._report(active)
                behind = self._is_behind(active)
                if behind and not self.place.holds(run) and not is_locked(run.directory):
                    self._pruned(active)
                    return
                self._start(active)
                if behind and active in self.active:
                    self._stop(active)
                return
            self._report(active)
            active.scores.append(self._score(run, outcome.result))
            self.journal.score(active.number, active.scores)
            active.place += 1
            if active.place == 1 and not active.to_the_end and not self._is_promising(active.scores[0]):
                break
        self._done(active)

    def _start(self, active: Active) -> None:
        if not self.place.has_room(active.run):
            self.queue.append(active)
            return
        begun = (active.run.directory / "checkpoints" / "last.ckpt").exists()
        self.say(f"trial {active.called}  {'resumes' if begun else 'start  '} {active.run.directory.name}")
        self.active.append(active)
        self.place.start(active.run)

    def _watch(self, active: Active) -> None:
        """Report the new epochs of a running run, and end it if it is behind."""
        if not active.ending and self._report(active) and self._is_behind(active):
            self._stop(active)

    def _stop(self, active: Active) -> None:
        active.ending = True
        self.journal.ends(active.number)  # before the run learns of it, which tells its tracker
        self.place.stop(active.run)

    def _report(self, active: Active) -> bool:
        """Write the new epochs of the first seed into the journal; return whether there are any."""
        if active.place > 0:
            return False
        new = {e: value for e, value in self._history(active.run.directory).items() if e > active.reported}
        self.journal.report(active.number, new)
        active.reported = max(new, default=active.reported)
        return bool(new)

    def _is_behind(self, active: Active) -> bool:
        """Return whether a trial should end now, given its epochs in the journal."""
        within = 0 < active.reported < self.max_epochs
        if active.place > 0 or active.to_the_end or not within or self.settings.pruner == "none":
            return False
        if not self.is_asha:
            return self.journal.prunes(active.number)
        trials = self.journal.trials()
        mine = next(trial for trial in trials if trial.first == active.first)
        rung = self.asha.rung(mine)
        if rung <= active.rung:
            return False
        active.rung = rung
        return not self.asha.goes_on(mine, trials)

    def _ended(self, ended: Ended) -> None:
        active = next(each for each in self.active if each.run is ended.run)
        if ended.elsewhere:
            self.elsewhere.runs.append(ended.run)
            self.say(f"trial {active.called}  waits   {ended.run.directory.name}: another process is training it")
            return
        self.active.remove(active)
        if ended.outcome is not None and ended.outcome.error is not None:
            self._failed(active, ended.outcome)
        elif ended.outcome is None and active.ending:
            self._report(active)
            self._pruned(active)
        else:
            self._advance(active)

    def _pruned(self, active: Active) -> None:
        try:
            with claim(active.run.directory):
                mark_pruned(active.run.directory)
        except LockedError:  # another sweep wants it done
            pass
        self.journal.tell(active.number, "pruned")
        values = self._history(active.run.directory)
        last = f"{self.settings.metric} {values[max(values)]:.4f}" if values else "nothing"
        self.say(f"trial {active.called}  pruned  after epoch {active.reported}: {last}")

    def _failed(self, active: Active, outcome: Outcome) -> None:
        why = outcome.error or ""
        diverged = why.startswith(NotFiniteError.__name__)
        if active.scores:
            self._done(active)
        else:
            self.journal.tell(active.number, "failed", why=why)
        self.say(f"trial {active.called}  {'diverged' if diverged else 'failed'}  {active.run.directory.name}: {why}")

    def _score(self, run: Planned, result: dict[str, Any]) -> float:
        """Return the metric of a finished run: that of the epoch whose weights were kept."""
        if self.settings.metric == "val/accuracy":
            return float(result["metrics"]["val/accuracy"])
        return self._history(run.directory)[result["best_epoch"]]

    def _is_promising(self, score: float) -> bool:
        """Return whether a first seed is among the best, so that the further seeds are trained."""
        firsts = [trial.scores[0] for trial in self.journal.trials() if trial.scores]
        sign = -1 if is_loss(self.settings.metric) else 1
        better = sum(sign * each > sign * score for each in firsts)
        return better < int(self.settings.promising * len(firsts))

    def _done(self, active: Active) -> None:
        value = sum(active.scores) / len(active.scores)
        self.journal.tell(active.number, "done", value)
        seeds = f" (mean of {len(active.scores)} seeds)" if len(active.scores) > 1 else ""
        self.say(
            f"trial {active.called}  done    {active.runs[0].directory.name}  {self.settings.metric} {value:.4f}{seeds}"
        )
