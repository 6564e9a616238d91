"""Runs of a search in trackers: their trial's number and state, as the run itself learns them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_search import FakePlace, driver
from wandb_files import content
from wandb_server import no_account

from fersweep import tracking
from fersweep.runs.trials import JOURNAL, read
from fersweep.sweep.plan import DataCheck, Planned
from fersweep.sweep.search import driver as loop
from fersweep.tracking import trial

OFFLINE = {"name": "wandb", "project": "faces", "entity": None, "group": None, "tags": [], "mode": "offline"}


class Watched(FakePlace):
    """Notes which trial a run sees when it starts, and when it is stopped, before the search learns of its end."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[int, bool]] = []
        self.ending: list[tuple[str, int, str]] = []

    def start(self, run: Planned) -> None:
        super().start(run)
        found = trial.of(run.directory)
        assert found is not None
        self.started.append((found.number, found.ending))

    def stop(self, run: Planned) -> None:
        super().stop(run)
        found = trial.of(run.directory)
        assert found is not None
        self.ending.append((run.directory.name, found.number, trial.state(found, 1)))


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Watched]:
    """A folder with a search of which some trials were pruned."""
    monkeypatch.setattr(loop, "POLL", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(DataCheck, "_check", lambda *_: None)
    place = Watched()
    driver(tmp_path / "tune", place=place, trials=9, sampler="random", pruner="asha").run()
    return tmp_path / "tune", place


def test_a_run_knows_its_trial_and_that_it_is_pruned(searched: tuple[Path, Watched]) -> None:
    folder, place = searched
    found = read(folder)
    assert found is not None
    numbers = {run: each.number for each in found.trials for run in each.runs}
    assert {number for number, _ in place.started} == set(numbers.values())
    assert not any(ending for _, ending in place.started)  # also of one that resumes
    assert place.ending
    assert [(number, state) for _, number, state in place.ending] == [
        (numbers[name], "pruned") for name, _, _ in place.ending
    ]
    done = next(each for each in found.trials if each.state == "done")
    assert trial.state(done, 0) == "done"
    for error, state in ((ArithmeticError, "failed"), (KeyboardInterrupt, "interrupted")):
        try:
            raise error
        except BaseException:  # noqa: BLE001  (as in the ``finally`` of a training)
            assert trial.state(done, 1) == state


def test_wandb_shows_number_and_state_and_a_pruned_run_has_not_failed(
    searched: tuple[Path, Watched], tmp_path: Path
) -> None:
    folder, _ = searched
    found = read(folder)
    assert found is not None
    pruned = next(each for each in found.trials if each.state == "pruned")
    run_dir = folder / pruned.runs[0]
    with no_account(tmp_path / "home"):
        logger = tracking.make_logger(OFFLINE, run_dir, "aaaa1111", "name", "tune", {"seed": 1})
        tracking.finish(logger, 1, run_dir)
    (recording,) = run_dir.glob("wandb/offline-run-*/run-aaaa1111.wandb")
    shown = content(recording)
    assert (shown["group"], shown["job"], shown["exit_code"]) == ("tune", "trial", 0)
    assert (shown["summary"]["trial/number"], shown["summary"]["trial/state"]) == (pruned.number, "pruned")


def test_without_a_search_or_with_a_damaged_journal_there_is_no_trial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = tmp_path / "runs" / "resnet50-aaaa1111"
    run_dir.mkdir(parents=True)
    assert trial.of(run_dir) is None
    (run_dir.parent / JOURNAL).write_text("{")
    assert trial.of(run_dir) is None
    (run_dir.parent / JOURNAL).write_text("no json\nmore\n")
    assert trial.of(run_dir) is None
    assert "the trial of this run is unknown" in caplog.text
