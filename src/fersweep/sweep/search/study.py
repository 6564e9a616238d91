"""The state of a search: an Optuna study in a journal file, which several commands share and which survives them.

A trial names the command that works on it. A command owns a lock while it lives (`fersweep.runs.lock`); the trials of
one that died are taken over. Whatever must not interleave, such as proposing a trial, happens while the command holds
the lock of the journal, which the next takes over from a command that was killed.
"""

from __future__ import annotations

import secrets
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.errors import UserError
from fersweep.runs.lock import LEASE, LockedError, claim, is_locked
from fersweep.runs.trials import (
    CHOSEN,
    CONTINUES,
    DRIVER,
    ENDING,
    JOURNAL,
    KIND,
    SCORES,
    STUDY,
    WHY,
    State,
    Trial,
    damaged,
    is_loss,
    joined,
)
from fersweep.sweep.search.samplers import pruner, sampler
from fersweep.sweep.search.settings import Settings

if TYPE_CHECKING:
    import optuna

FOLDER = ".search"
"""Folder of the locks, in the folder of the sweep."""

SEEN = 30.0
"""Seconds between two notes of a command that it is still at work."""


class Turn:
    """Lock of the journal: one process at a time; within it, it can be acquired again."""

    def __init__(self, journal: Path) -> None:
        self.journal, self.folder = journal, journal.parent / FOLDER / "journal"
        self._stack = ExitStack()
        self._depth = 0

    def acquire(self) -> bool:
        """Wait for the lock, then remove a line that a full disk or a power cut left incomplete."""
        if self._depth == 0:
            end = time.monotonic() + 3 * LEASE
            while True:
                try:
                    self._stack.enter_context(claim(self.folder))
                    break
                except LockedError as error:
                    if time.monotonic() > end:
                        raise UserError(
                            f"{self.journal} has been locked by another command for minutes: end that command, or "
                            f"delete {self.folder} if there is none."
                        ) from error
                    time.sleep(0.02)
            self._repair()
        self._depth += 1
        return True

    def release(self) -> None:
        """Release what `acquire` took."""
        self._depth -= 1
        if self._depth == 0:
            self._stack.close()

    def _repair(self) -> None:
        if not self.journal.is_file():
            return
        with self.journal.open("rb+") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 1))
            if size and file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


class Journal:
    """A search as this command sees and changes it.

    Args:
        folder: of the sweep; it must exist.
        about: what the search is, as JSON holds it; it must equal what the journal says.
        settings: of the sweeper.
        epochs: of a complete run.

    Attributes:
        name: of this command among those that share the search.
        turn: lock within which no other command changes the search.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], settings: Settings, epochs: int) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.settings = folder, settings
        self.name = secrets.token_hex(4)
        self.turn = Turn(folder / JOURNAL)
        self._seen = self._began = time.time()
        with self.held():
            try:
                lock: Any = self.turn
                self.storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL), lock_obj=lock))
                named: Any = {"study_name": STUDY, "storage": self.storage, "pruner": pruner(settings, epochs)}
                direction = "minimize" if is_loss(about["metric"]) else "maximize"
                is_new = not self.storage.get_all_studies()
                self.study = optuna.create_study(direction=direction, **named) if is_new else optuna.load_study(**named)
            except ValueError as error:
                raise damaged(folder, error) from error
            self.id = self.storage.get_study_id_from_name(STUDY)
            self._compare(about)

    def _compare(self, about: Mapping[str, Any]) -> None:
        known = self.storage.get_study_user_attrs(self.id).get("about")
        if known is None:
            self.storage.set_study_user_attr(self.id, "about", dict(about))
            return
        differing = [key for key in about if known.get(key) != about[key]]
        if differing:
            key = differing[0]
            raise UserError(
                f"{self.folder} holds a search with other {', '.join(differing)} ({key}: {known.get(key)}, now "
                f"{about[key]}): choose another sweep=NAME, or give the same command."
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other commands from changing the search within the block."""
        self.turn.acquire()
        try:
            yield
        finally:
            self.turn.release()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be one of the commands that work on the search within the block."""
        lock = self._lock_of(self.name)
        with claim(lock):
            try:
                yield
            finally:
                self.note(last=True)
        with suppress(OSError):  # it only holds the lock, which is released
            lock.rmdir()

    def note(self, last: bool = False) -> None:
        """Record now and then that this command is at work."""
        if last or time.time() - self._seen >= SEEN:
            self._seen = time.time()
            self.storage.set_study_user_attr(self.id, f"command {self.name}", [self._began, self._seen])

    def hours(self) -> float:
        """Return for how many hours at least one command has been at work."""
        spans = [
            value for key, value in self.storage.get_study_user_attrs(self.id).items() if key.startswith("command ")
        ]
        total, until = 0.0, 0.0
        for begin, end in sorted([*spans, [self._began, time.time()]]):
            total += max(0.0, end - max(begin, until))
            until = max(until, end)
        return total / 3600

    def _lock_of(self, name: str) -> Path:
        return self.folder / FOLDER / name

    def is_orphan(self, trial: Trial) -> bool:
        """Return whether a running trial belongs to a command that has ended."""
        return (
            trial.state == "running" and trial.driver != self.name and not is_locked(self._lock_of(trial.driver or "-"))
        )

    def trials(self) -> list[Trial]:
        """Return all trials in order."""
        return joined(self.study.get_trials(deepcopy=False))

    def id_of(self, trial: optuna.trial.FrozenTrial) -> int:
        """Return the number by which the journal names one of Optuna's trials."""
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, trial.number)

    def ask(self, number: int) -> optuna.Trial:
        """Return a new trial of Optuna's.

        Args:
            number: of proposals before it, on which its random numbers depend.
        """
        self.study.sampler = sampler(self.settings, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.study.ask()

    def enqueue(self, grid: Sequence[Mapping[str, Any]]) -> None:
        """Queue the combinations of a grid, unless that was done."""
        with self.held():
            if not self.study.get_trials(deepcopy=False):
                for params in grid:
                    self.study.enqueue_trial(dict(params))

    def waits(self) -> bool:
        """Return whether a queued trial, of a grid, is left to ask for."""
        from optuna.trial import TrialState

        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def choose(self, number: int, overrides: list[str], runs: list[str]) -> None:
        """Record what a new trial is."""
        trial = self._id(number)
        self.storage.set_trial_user_attr(trial, DRIVER, self.name)
        self.storage.set_trial_user_attr(trial, CHOSEN, {"overrides": overrides, "runs": runs})

    def take(self, trial: Trial) -> None:
        """Make a running trial this command's."""
        self.storage.set_trial_user_attr(self.id_of(trial.last), DRIVER, self.name)

    def resume(self, trial: Trial) -> int:
        """Continue a pruned trial; return the number of Optuna's new one."""
        from optuna.trial import TrialState, create_trial

        last = trial.last
        again = create_trial(
            state=TrialState.RUNNING,
            params=last.params,
            distributions=last.distributions,
            user_attrs={CONTINUES: trial.first, DRIVER: self.name},
            intermediate_values=trial.history,
        )
        created = self.storage.create_new_trial(self.id, template_trial=again)
        return self.storage.get_trial_number_from_id(created)

    def report(self, number: int, history: Mapping[int, float]) -> None:
        """Record the metric after some epochs."""
        if not history:
            return
        with self.held():
            if self._is_open(number):
                for epoch, value in history.items():
                    self.storage.set_trial_intermediate_value(self._id(number), epoch, value)

    def prunes(self, number: int) -> bool:
        """Return whether Optuna's pruner would end a trial now."""
        return self.study.pruner.prune(self.study, self.storage.get_trial(self._id(number)))

    def score(self, number: int, scores: list[float]) -> None:
        """Record the metric of each seed that is done."""
        with self.held():
            if self._is_open(number):
                self.storage.set_trial_user_attr(self._id(number), SCORES, scores)

    def ends(self, number: int) -> None:
        """Record that the run of a trial is asked to end, because it is behind."""
        with self.held():
            if self._is_open(number):
                self.storage.set_trial_user_attr(self._id(number), ENDING, True)

    def tell(self, number: int, state: State, value: float | None = None, why: str = "") -> None:
        """Record the end of a trial, unless another command has done so."""
        from optuna.trial import TrialState

        with self.held():
            trial = self._id(number)
            known = self.storage.get_trial(trial)
            if known.state.is_finished():
                return
            if why:
                self.storage.set_trial_user_attr(trial, WHY, why)
            as_optuna = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(state, TrialState.FAIL)
            if state == "repeated" and (value is not None or known.intermediate_values):
                as_optuna = TrialState.PRUNED if value is None else TrialState.COMPLETE
            if state not in ("done", "pruned"):
                self.storage.set_trial_user_attr(trial, KIND, state)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.study.tell(number, value, as_optuna, skip_if_finished=True)

    def _is_open(self, number: int) -> bool:
        """Return whether a trial has not ended; another command may have ended one that it took over from this one."""
        return not self.storage.get_trial(self._id(number)).state.is_finished()

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)
