"""New trials of a search: what Optuna proposes, composed and checked, if it is possible and new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fersweep.config.space import Space
from fersweep.errors import UserError
from fersweep.runs.trials import Trial
from fersweep.sweep.plan import Planned, freeze
from fersweep.sweep.search.settings import Settings
from fersweep.sweep.search.study import Journal

FRUITLESS = 100
"""Proposals in a row that are impossible or known, after which there is nothing new to propose."""

EXCLUDED = "it is excluded"
UNFINISHED = "its command was killed while it proposed it"


@dataclass
class Active:
    """A trial that this command works on.

    Attributes:
        number: of Optuna's latest trial of it.
        first: of the first.
        called: number by which it is called.
        runs: its runs, one per seed.
        reported: the last epoch in the journal.
        place: of the current one among the runs.
        scores: of the seeds that are done.
        rung: the highest rung after which it may go on.
        ending: its run was asked to end, because it is behind.
        to_the_end: it goes on whatever its results.
    """

    number: int
    first: int
    called: int
    runs: list[Planned]
    reported: int = 0
    place: int = 0
    scores: list[float] = field(default_factory=list)
    rung: int = -1
    ending: bool = False
    to_the_end: bool = False

    @property
    def run(self) -> Planned:
        """The current run."""
        return self.runs[self.place]


class Proposals:
    """Source of trials.

    Args:
        journal: the search's state.
        space: what is proposed.
        settings: of the sweeper.
        plan: composes and checks a run from its overrides, with UserError if it is impossible.
        say: prints a line.

    Attributes:
        exhausted: why there is nothing new to propose; empty before.
    """

    def __init__(
        self,
        journal: Journal,
        space: Space,
        settings: Settings,
        plan: Callable[[Sequence[str]], Planned],
        say: Callable[[str], None],
    ) -> None:
        self.journal, self.space, self.settings, self.plan, self.say = journal, space, settings, plan, say
        self.exhausted = ""

    def new(self) -> Active | None:
        """Return a new trial, or ``None`` if there is none; only while other commands are kept out."""
        why = ""
        for _ in range(FRUITLESS):
            trials = self.journal.trials()
            if self.settings.sampler == "grid" and not self.journal.waits():
                self.exhausted = "Every combination of the grid was tried."
                return None
            found = self._asked(trials)
            if isinstance(found, Active):
                return found
            why = found or why
        self.exhausted = f"Of {FRUITLESS} proposals in a row, none was possible and new. {why}".rstrip()
        return None

    def _asked(self, trials: Sequence[Trial]) -> Active | str:
        """Return Optuna's next proposal; why it is impossible; or nothing, if it is known or excluded."""
        trial = self.journal.ask(sum(each.why != UNFINISHED for each in trials))
        values = self.space.suggest(trial)
        overrides = [f"{key}={value}" for key, value in values.items()]
        if self.space.excludes(values):
            self.journal.tell(trial.number, "refused", why=EXCLUDED)
            return ""
        try:
            runs = self.runs(overrides)
        except UserError as error:
            why = str(error)
            self.journal.tell(trial.number, "refused", why=why)
            if not any(each.why == why for each in trials):
                self.say(f"refused: {why}")
            return why
        name = runs[0].directory.name
        same = next((each for each in trials if each.runs and each.runs[0] == name), None)
        if same is not None:
            self._repeat(trial.number, same)
            return ""
        freeze(runs[:1])
        self.journal.choose(trial.number, overrides, [run.directory.name for run in runs])
        return Active(trial.number, trial.number, 1 + sum(each.counts for each in trials), runs)

    def _repeat(self, number: int, same: Trial) -> None:
        """Close the proposal of a configuration that is known, with what is known of it."""
        self.journal.report(number, same.history)
        value = same.value if same.state == "done" else None
        self.journal.tell(number, "repeated", value, why=f"it is the same run as trial {same.number}")

    def runs(self, overrides: Sequence[str]) -> list[Planned]:
        """Return the runs of a trial, one per seed; UserError if they are impossible."""
        first = self.plan(overrides)
        seed = first.config["seed"]
        return [first, *(self.plan([*overrides, f"seed={seed + place}"]) for place in range(1, self.settings.seeds))]

    def known(self, trial: Trial, number: int | None = None) -> Active:
        """Return a trial of the journal to go on with, under its latest number or a new one of Optuna's."""
        latest = trial.last.number if number is None else number
        return Active(latest, trial.first, trial.number, self.runs(trial.overrides), trial.epochs)
