"""The report of a search: best configuration, importance, figures and table of trials, from a journal made by hand."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest
import yaml
from report_search import SPACE, journal, run, trial

from fersweep.cli.main import main
from fersweep.config import options
from fersweep.config.compose import compose_config
from fersweep.config.schema import to_dict
from fersweep.report import figures, plots, search
from fersweep.runs.collect import config_of
from fersweep.runs.identity import run_hash
from fersweep.runs.status import mark_pruned
from fersweep.runs.trials import KIND, WHY


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of ten trials, of which two are done, and one proposal that was refused; not to be changed."""
    outputs = tmp_path_factory.mktemp("outputs")
    best, other, pruned = run(outputs, "cbam", 0.02), run(outputs, "none", 0.5), run(outputs, "none", 0.9)
    (pruned / "result.json").unlink()
    (pruned / "status.json").unlink()
    mark_pruned(pruned)
    early = [
        trial({"attention": name, "recipe.optimizer.lr": lr}, [0.3 + 0.01 * number - (name == "none") / 10])
        for number, (name, lr) in enumerate((name, lr) for name in ("none", "cbam") for lr in (0.003, 0.01, 0.03, 0.3))
    ]
    refused = trial({"attention": "none", "recipe.optimizer.lr": 0.7}, [], **{KIND: "refused", WHY: "no"})
    done = [
        trial({"attention": "none", "recipe.optimizer.lr": 0.5}, [0.2, 0.3, 0.35], other.name),
        trial({"attention": "cbam", "recipe.optimizer.lr": 0.02}, [0.4, 0.6, 0.5], best.name),
    ]
    journal(best.parent, [*early[:4], done[0], refused, *early[4:], done[1]])
    return best.parent


def test_the_best_is_a_command_and_an_experiment_that_make_its_run(
    searched: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = search.read(searched)
    assert found is not None
    assert found.best is not None
    assert (found.best.number, found.counts) == (10, "10 trials: 2 done, 8 pruned")
    config = config_of(searched / found.best.runs[0])
    words = shlex.split(found.command.partition("train.py ")[2])
    assert to_dict(compose_config(words)) == config
    file = tmp_path / "mine" / "experiment" / "found.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(found.experiment)
    monkeypatch.setattr(options, "_added", [tmp_path / "mine"])
    assert run_hash(to_dict(compose_config(["experiment=found"]))) == run_hash(config)
    content = yaml.safe_load(found.experiment)
    assert {"override /recipe": "study"} in content["defaults"]
    assert content["recipe"]["optimizer"]["lr"] == 0.02
    assert not content.keys() & {"seed", "sweep", "outputs"}


def test_importance_and_values_are_those_of_an_epoch_that_pruned_trials_reached(searched: Path) -> None:
    found = search.read(searched)
    assert found is not None
    assert found.epoch == 1
    assert found.at_epoch(found.trials[4]) == 0.2
    assert found.at_epoch(found.trials[9]) == 0.4
    assert set(found.importance) == set(SPACE)
    assert sum(found.importance.values()) == pytest.approx(1)
    assert next(iter(found.importance)) == "attention"  # cbam is better everywhere
    assert search.importance(found.trials[:5], 1, lower_is_better=False) == {}


def test_the_report_has_figures_table_and_files(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    blank = figures.blank(1, 1)
    for name in ("confusion_matrix", "learning_curves", "accuracy_against", "differences"):
        monkeypatch.setattr(plots, name, lambda *_: blank)  # of the rows, which have tests of their own
    assert main(["report", str(searched), "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "2 finished runs in 2 rows, 0 not done" in printed
    assert "search s: 10 trials: 2 done, 8 pruned\n  best: trial 10, val/accuracy (%) 60.00\n" in printed
    page = (tmp_path / "index.html").read_text()
    assert all(text in page for text in ('id="search-1"', "recipe.optimizer.lr=0.02", "PED-ANOVA", "Being the best"))
    assert "mathdefault" not in page  # of a logarithmic axis, which would be drawn as it is
    assert [f"search-0-{name}-" in page for name in ("history", "slices", "importance")] == [True] * 3
    protocol = (tmp_path / "protocol.md").read_text()
    for answer in (
        "Search s, by val/accuracy on validation: 10 trials: 2 done, 8 pruned.",
        "Space: attention of none, cbam; recipe.optimizer.lr from 0.001 to 1, logarithmic.",
        "47.50 after 1, 53.75 after 2;",
        "1 other run (pruned): ",
    ):
        assert answer in protocol
    table = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["trial"] for row in table] == [str(number) for number in range(1, 11)]
    assert (table[9]["state"], table[9]["val/accuracy"], table[9]["epochs"]) == ("done", "0.6", "3")
    assert (table[0]["state"], table[0]["val/accuracy"], table[0]["recipe.optimizer.lr"]) == ("pruned", "", "0.003")
    found = {path.name for path in (tmp_path / "figures").glob("search-*")}
    assert found == {f"search-{name}.{form}" for name in ("history", "slices", "importance") for form in ("svg", "png")}
    assert (tmp_path / "best.yaml").read_text().startswith("# @package _global_\n# The best of 10 trials")


def test_collect_lists_trials(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", str(searched)]) == 0
    lines = capsys.readouterr().out.partition("search s: 10 trials: 2 done, 8 pruned\n")[2].splitlines()
    assert lines[0] == "trial  state   val/accuracy (%)  seeds  epochs  attention  recipe.optimizer.lr"
    assert [line.split() for line in lines[1:4]] == [
        ["10", "done", "60.00", "1", "3", "cbam", "0.02"],
        ["5", "done", "35.00", "1", "3", "none", "0.5"],
        ["1", "pruned", "–", "–", "1", "none", "0.003"],
    ]
    assert main(["collect", str(searched), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted((each["state"], each["trial"]) for each in found if each["trial"]) == [("done", 5), ("done", 10)]
    assert main(["collect", str(searched), "--csv"]) == 0
    assert [row["trial"] for row in csv.DictReader(capsys.readouterr().out.splitlines())].count("10") == 1
