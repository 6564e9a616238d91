"""Searches: which trials start, end early, resume and are chosen; nothing is lost or trained twice."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_search import EPOCHS, FakePlace, Planner, driver, finish, score, states, train_epoch

from fersweep.errors import UserError
from fersweep.runs.collect import collect
from fersweep.runs.status import Status, mark_running
from fersweep.runs.trials import JOURNAL, Search, read
from fersweep.sweep.plan import DataCheck, freeze
from fersweep.sweep.search import driver as loop
from fersweep.sweep.search import proposals
from fersweep.sweep.search.settings import Settings


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "POLL", 0.0)
    monkeypatch.setattr(proposals, "FRUITLESS", 25)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # most of the time; no power is cut here
    monkeypatch.setattr(DataCheck, "_check", lambda *_: None)


def found(folder: Path) -> Search:
    search = read(folder)
    assert search is not None
    return search


def counted(search: Search) -> Counter[str]:
    return Counter(trial.state for trial in search.trials if trial.counts)


def epochs(folder: Path) -> Counter[str]:
    """How often each epoch of each run was trained."""
    return Counter((folder / "trained").read_text().splitlines())


def test_every_trial_is_a_run_and_the_best_is_found(tmp_path: Path) -> None:
    place, said = FakePlace(slots=3), []
    driver(tmp_path, place=place, said=said, trials=8, sampler="random", pruner="none").run()
    search = found(tmp_path)
    assert counted(search) == {"done": 8}
    assert place.most == 3
    assert [trial.number for trial in search.trials] == list(range(1, 9))
    assert epochs(tmp_path) == Counter({f"{run} {epoch}": 1 for run in states(tmp_path) for epoch in range(1, 10)})
    for trial in search.trials:
        run = Planner(tmp_path)(trial.overrides)
        assert trial.runs == (run.directory.name,)
        assert trial.history == {epoch: score(run.config, epoch) for epoch in range(1, EPOCHS + 1)}
        assert trial.scores == (score(run.config, EPOCHS),)
        assert trial.value == search.trials[trial.number - 1].last.value
    assert search.best is not None
    assert search.best.value == max(trial.value or 0 for trial in search.trials)
    assert sum("start" in line for line in said) == 8


def test_asha_trains_few_to_the_end_and_resumes_what_it_promotes(tmp_path: Path) -> None:
    said: list[str] = []
    driver(tmp_path, said=said, trials=27, sampler="random", pruner="asha").run()
    search = found(tmp_path)
    by_state = counted(search)
    assert sum(by_state.values()) == 27
    assert 1 <= by_state["done"] <= 6
    assert set(states(tmp_path).values()) == {"done", "pruned"}
    assert set(epochs(tmp_path).values()) == {1}  # what is promoted goes on where it was
    assert any("is promoted after epoch" in line for line in said)
    assert sum(trial.epochs for trial in search.trials) < 27 * EPOCHS / 2
    best = max(search.trials, key=lambda trial: score(Planner(tmp_path)(trial.overrides).config, EPOCHS))
    assert search.best is not None
    assert search.best.number == best.number
    assert all(run.state in ("done", "pruned") for run in collect(tmp_path))


def test_a_search_too_small_for_a_promotion_has_a_result(tmp_path: Path) -> None:
    said: list[str] = []
    driver(tmp_path, said=said, trials=2, sampler="random", pruner="asha").run()
    assert counted(found(tmp_path)) == {"done": 1, "pruned": 1}
    assert any("goes on: no trial is done" in line for line in said)


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_optunas_pruners_end_runs(pruner: str, tmp_path: Path) -> None:
    driver(tmp_path, trials=12, sampler="random", pruner=pruner, startup=3).run()
    by_state = counted(found(tmp_path))
    assert by_state["done"] >= 1
    assert by_state["pruned"] >= 1
    assert by_state["done"] + by_state["pruned"] == 12


@pytest.mark.parametrize(("sampler", "trials"), [("tpe", 20), ("cmaes", 12), ("gp", 9)])
def test_samplers_choose_better_than_at_random(sampler: str, trials: int, tmp_path: Path) -> None:
    driver(
        tmp_path,
        "lr=tag(log, interval(0.001, 1))",
        "x=interval(0, 1)",
        trials=trials,
        sampler=sampler,
        startup=5,
        pruner="none",
    ).run()
    values = [trial.value or 0.0 for trial in found(tmp_path).trials]
    assert len(values) == trials
    assert sum(values[-4:]) / 4 > sum(values[:5]) / 5


def test_a_grid_is_tried_once_in_order(tmp_path: Path) -> None:
    space = ("attention=choice(none,se,cbam)", "lr=0.1,0.2", "x=range(1,4)")
    where = {"x": {"attention": ["se", "cbam"]}}
    driver(tmp_path, *space, trials=None, sampler="grid", pruner="none", where=where).run()
    tried = [trial.overrides for trial in found(tmp_path).trials]
    assert len(tried) == len(set(tried)) == 2 + 2 * 2 * 3
    assert tried[:2] == [("attention=none", "lr=0.1"), ("attention=none", "lr=0.2")]


def test_a_conditional_setting_exists_only_beside_its_choice(tmp_path: Path) -> None:
    space = ("reduction=choice(4,8)", "lr=interval(0.01, 1)", "attention=choice(none,se)")
    driver(tmp_path, *space, trials=10, pruner="none", where={"reduction": {"attention": "se"}}).run()
    overrides = [trial.overrides for trial in found(tmp_path).trials]
    assert {("attention=se" in each) == any("reduction" in value for value in each) for each in overrides} == {True}
    assert {each[0].partition("=")[0] for each in overrides} == {"reduction", "lr"}  # as on the command line


def test_impossible_excluded_and_repeated_combinations_do_not_count(tmp_path: Path) -> None:
    said: list[str] = []
    space = ("attention=choice(none,se,cbam)", "lr=0.1,0.2,0.3")
    impossible = lambda values: "se needs lr=0.1." if values["attention"] == "se" and values["lr"] != "0.1" else ""  # noqa: E731
    made = driver(
        tmp_path,
        *space,
        said=said,
        impossible=impossible,
        trials=50,
        sampler="random",
        pruner="none",
        exclude=[{"attention": "cbam", "lr": [0.2, 0.3]}],
    )
    made.run()
    search = found(tmp_path)
    assert counted(search) == {"done": 3 + 1 + 1}
    assert said.count("refused: se needs lr=0.1.") == 1
    assert "se needs lr=0.1." in made.proposals.exhausted
    assert {trial.state for trial in search.trials if not trial.counts} == {"refused", "repeated"}
    assert set(epochs(tmp_path).values()) == {1}


def test_a_trial_that_is_a_finished_run_is_not_trained(tmp_path: Path) -> None:
    driver(tmp_path / "one", "lr=0.1,0.2", trials=2, sampler="grid").run()
    for trial in found(tmp_path / "one").trials[:1]:
        run = Planner(tmp_path / "two")(trial.overrides)
        freeze([run])
        mark_running(run.directory)
        for _ in range(EPOCHS):
            train_epoch(run)
        finish(run)
    place = FakePlace()
    driver(tmp_path / "two", "lr=0.1,0.2", place=place, trials=2, sampler="grid", pruner="none").run()
    assert counted(found(tmp_path / "two")) == {"done": 2}
    assert set(epochs(tmp_path / "two").values()) == {1}


def test_failed_runs_are_failed_trials(tmp_path: Path) -> None:
    said: list[str] = []
    place = FakePlace(error=lambda run: "the sky fell" if run.config["values"]["attention"] == "se" else "")
    driver(
        tmp_path,
        "attention=none,se,cbam",
        "lr=0.1,0.2",
        place=place,
        said=said,
        trials=6,
        sampler="grid",
        pruner="none",
    ).run()
    search = found(tmp_path)
    assert counted(search) == {"done": 4, "failed": 2}
    assert {trial.why for trial in search.trials if trial.state == "failed"} == {"ArithmeticError: the sky fell"}
    assert sum("the sky fell" in line for line in said) == 2


def test_further_seeds_are_for_the_promising(tmp_path: Path) -> None:
    driver(tmp_path, trials=12, sampler="random", pruner="none", seeds=3, promising=0.2).run()
    search = found(tmp_path)
    by_seeds = Counter(len(trial.scores) for trial in search.trials)
    assert set(by_seeds) == {1, 3}
    assert by_seeds[1] > by_seeds[3] >= 1
    assert len(search.trials[0].scores) == 1  # the first cannot be told from a bad one
    best = search.best
    assert best is not None
    assert best.value == pytest.approx(best.scores[0] + 0.001)  # the mean of three
    assert [Status.read(tmp_path / run).seed for run in best.runs] == [1, 2, 3]


def test_smaller_losses_are_better(tmp_path: Path) -> None:
    driver(tmp_path, trials=9, sampler="random", pruner="asha", metric="val/loss").run()
    search = found(tmp_path)
    best = search.best
    assert best is not None
    assert best.value == pytest.approx(
        1 - max(score(Planner(tmp_path)(t.overrides).config, EPOCHS) for t in search.trials)
    )


def test_the_budget_of_epochs_and_hours_ends_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = driver(tmp_path / "epochs", trials=None, epochs=30, sampler="random", pruner="none")
    made.run()
    assert 30 <= len(epochs(tmp_path / "epochs")) <= 30 + 2 * EPOCHS
    made = driver(tmp_path / "hours", trials=None, hours=1, sampler="random", pruner="none")
    monkeypatch.setattr(made.journal, "hours", lambda: len(list(tmp_path.glob("hours/*/result.json"))) / 3)
    made.run()
    assert counted(found(tmp_path / "hours"))["done"] >= 3


def test_more_trials_continue_a_search(tmp_path: Path) -> None:
    driver(tmp_path, trials=4, sampler="random", pruner="none").run()
    before = found(tmp_path)
    driver(tmp_path, trials=7, sampler="random", pruner="none").run()
    after = found(tmp_path)
    assert after.trials[:4] == before.trials
    assert len({trial.overrides for trial in after.trials}) == 7


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    driver(tmp_path, trials=2, sampler="random").run()
    journal = (tmp_path / JOURNAL).read_bytes()
    with pytest.raises(UserError, match=r"holds a search with other metric \(metric: val/accuracy, now val/loss\)"):
        driver(tmp_path, trials=2, metric="val/loss")
    with pytest.raises(UserError, match="holds a search with other parameters"):
        driver(tmp_path, "lr=0.1,0.2", trials=2)
    assert (tmp_path / JOURNAL).read_bytes() == journal


def in_process(function: Any) -> int:
    """Call a function in a process of its own; return its process number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return pid


def killed_after(lines: int, monkeypatch_free: Any) -> None:
    """End this process as by SIGKILL after a number of lines in the journal."""
    from optuna.storages.journal import JournalFileBackend

    original = JournalFileBackend.append_logs
    left = [lines]

    def append(self: Any, logs: Any) -> None:
        original(self, logs)
        left[0] -= 1
        if left[0] <= 0:
            os._exit(137)

    JournalFileBackend.append_logs = append  # type: ignore[method-assign]
    monkeypatch_free()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_a_search_that_is_killed_again_and_again_loses_and_repeats_nothing(pruner: str, tmp_path: Path) -> None:
    def search(folder: Path) -> None:
        driver(folder, trials=6, sampler="random", pruner=pruner).run()

    search(tmp_path / "undisturbed")
    rng, kills, code = random.Random(0), 0, 137
    while code:
        lines = rng.randint(1, 25)
        pid = in_process(lambda lines=lines: killed_after(lines, lambda: search(tmp_path / "killed")))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, 137)
        kills += code == 137
    assert kills >= 3
    one, other = found(tmp_path / "undisturbed"), found(tmp_path / "killed")
    assert [t.overrides for t in one.trials] == [t.overrides for t in other.trials if t.counts]
    assert set(epochs(tmp_path / "killed").values()) == {1}
    assert not {"running"} & {trial.state for trial in other.trials}
    assert set(states(tmp_path / "killed").values()) <= {"done", "pruned"}
    assert one.best is not None
    assert other.best is not None
    assert other.best.overrides == one.best.overrides


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_two_commands_share_a_search(tmp_path: Path) -> None:
    pids = [in_process(driver(tmp_path, trials=12, sampler="random", pruner="asha").run) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    search = found(tmp_path)
    assert sum(counted(search).values()) == 12
    assert set(epochs(tmp_path).values()) == {1}
    assert counted(search)["done"] >= 1
    assert len({trial.driver for trial in search.trials}) == 2


def test_a_line_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    driver(tmp_path, trials=2, sampler="random").run()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    assert sum(counted(found(tmp_path)).values()) == 2
    driver(tmp_path, trials=3, sampler="random").run()
    assert sum(counted(found(tmp_path)).values()) == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"metric": "test/accuracy"}, "metric=test/accuracy selects by test images"),
        ({"sampler": "tpa"}, r"sampler=tpa is not known \(did you mean tpe\?\)"),
        ({"trials": 0}, "trials=0 is out of range: 1 or more"),
        ({"trials": None}, "The search would never end"),
        ({"hours": -1.0}, "hours=-1 is out of range"),
        ({"promising": 2.0}, "promising=2 is out of range"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Settings(**settings).check()
