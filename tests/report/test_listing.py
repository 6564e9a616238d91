"""`fersweep collect`: runs as a table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from run_states import CHOICES, all_states, finished, result_of

from fersweep.cli import main as cli
from fersweep.errors import UserError
from fersweep.report import listing
from fersweep.runs.collect import collect
from fersweep.runs.status import (
    Status,
    write_json,
)


def test_the_table_shows_scores_best_first_and_then_what_is_not_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    all_states(tmp_path / "outputs" / "runs")
    assert cli.main(["collect", str(tmp_path / "outputs")]) == 1
    scores, rest, counts = capsys.readouterr().out.split("\n\n")
    assert [line.split() for line in scores.splitlines()] == [
        ["sweep", "run", "attention", "seed", "validation", "test", "95", "%", "interval", "n"],
        ["runs", "0000000002", "cbam", "2", "75.00%", "90.00%", "89.00%", "to", "91.00%", "3,589"],
        ["runs", "0000000001", "se", "1", "25.00%", "90.00%", "89.00%", "to", "91.00%", "3,589"],
    ]
    header, failed, unreadable, *others = rest.splitlines()
    assert header.split() == ["state", "sweep", "run", "attention", "seed", "error"]
    assert failed == 'failed       runs   0000000003  se         3     ArithmeticError: the sky fell, on "us"'
    place = tmp_path / "outputs" / "runs" / "none-s8-0000000008" / "result.json"
    assert unreadable.startswith(f"unreadable   runs   0000000008  se         8     {place} is not a readable result (")
    assert [tuple(line.split()) for line in others] == [
        *(("interrupted", "runs", f"000000000{number}", "se", str(number)) for number in (4, 5, 6)),
        ("pending", "runs", "0000000007", "se", "7"),
    ]
    assert counts == "8 runs: 2 done, 1 failed, 1 unreadable, 3 interrupted, 1 pending\n"


def test_the_operations_of_trainings_that_tell_them_have_a_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs of earlier versions do not tell them."""
    finished(tmp_path / "run-0000000001", seed=1, accuracy=0.6)
    new = finished(tmp_path / "run-0000000002", seed=2)
    write_json(new / "result.json", result_of(2) | {"training_flops": 460_000_000_000_000})
    assert cli.main(["collect", str(tmp_path)]) == 0
    header, old, known = capsys.readouterr().out.splitlines()[:3]
    assert (header.split()[-2:], old.split()[-1], known.split()[-2:]) == (["n", "PFLOP"], "3,589", ["3,589", "0.460"])
    assert [each["training_flops"] for each in json.loads(listing.as_json(collect(tmp_path)))] == [None, 46 * 10**13]


def test_settings_tell_runs_apart_that_choices_and_seed_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, rate in enumerate((0.1, 0.01)):
        directory = finished(tmp_path / f"run-000000000{number}", seed=1)
        config = {"recipe": {"optimizer": {"lr": rate, "momentum": 0.9}}, "trainer": {"devices": 1 + number}}
        (directory / "config.yaml").write_text(yaml.safe_dump(config))
    finished(tmp_path / "run-0000000002", seed=2)
    runs = collect(tmp_path)
    assert [run.settings for run in runs] == [{"recipe.optimizer.lr": 0.1}, {"recipe.optimizer.lr": 0.01}, {}]
    assert cli.main(["collect", str(tmp_path)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["sweep", "run", "seed", "recipe.optimizer.lr"]
    assert sorted(line.split()[2:4] for line in lines[:2]) == [["1", "0.01"], ["1", "0.1"]]
    assert cli.main(["collect", str(tmp_path), "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["recipe.optimizer.lr"] for row in rows] == ["0.1", "0.01", ""]


def test_runs_of_several_sweeps_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sweep in ("one", "two"):
        finished(tmp_path / sweep / "none-s1-0000000001")
    assert cli.main(["collect", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["sweep", "run"], ["one", "0000000001"], ["two", "0000000001"]]
    assert lines[-1] == "2 runs: 2 done"
    assert cli.main(["collect", str(tmp_path / "one")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["sweep", "run", "seed"]
    assert lines[1].split()[:2] == ["one", "0000000001"]
    assert lines[-1] == "1 run: 1 done"


def test_on_a_narrow_terminal_errors_are_cut_and_scores_are_not(tmp_path: Path) -> None:
    all_states(tmp_path / "runs")
    text = io.StringIO()
    listing.show(collect(tmp_path), Console(file=text, force_terminal=True, width=60, color_system=None))
    lines = text.getvalue().splitlines()
    assert "75.00%      90.00%  89.00% to 91.00%  3,589" in lines[1]
    failed = next(line for line in lines if line.startswith("failed"))
    assert failed.startswith("failed       runs   0000000003  se         3     Arith")
    assert (len(failed), failed[-1]) == (60, "…")


def test_names_are_never_cut(tmp_path: Path) -> None:
    all_states(tmp_path / ("long" * 20))
    text = io.StringIO()
    listing.show(collect(tmp_path), Console(file=text, force_terminal=True, width=40, color_system=None))
    lines = text.getvalue().splitlines()
    assert sum("long" * 20 in line for line in lines) == 8
    assert not any("…" in line for line in lines)


def test_json_has_everything_of_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = all_states(tmp_path)
    assert cli.main(["collect", str(tmp_path), "--json"]) == 1
    runs = json.loads(capsys.readouterr().out)
    assert {run["directory"]: run["state"] for run in runs} == {
        str(run.directory): run.state for run in collect(tmp_path)
    }
    better = next(run for run in runs if run["directory"] == str(made["better"]))
    assert better == {
        "directory": str(made["better"]),
        "state": "done",
        "run": "0000000002",
        "choices": {**CHOICES, "attention": "cbam"},
        "seed": 2,
        "settings": {},
        "metrics": {"val/accuracy": 0.75, "test/accuracy": 0.9, "test/macro_f1": None, "test/n": 3589},
        "accuracy_interval": [0.89, 0.91],
        "error": None,
        "attempts": 1,
        "started": Status.read(made["better"]).started,
        "finished": Status.read(made["better"]).finished,
        "training_flops": None,
        "tests": [],
        "code": None,
        "commit": None,
    }
    failed = next(run for run in runs if run["state"] == "failed")
    assert failed["error"] == {"type": "ArithmeticError", "message": 'the sky\nfell, on\t"us"'}


def test_csv_is_flat_and_quoted_by_the_rules(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    made = all_states(tmp_path)
    assert cli.main(["collect", str(tmp_path), "--csv"]) == 1
    text = capfdbinary.readouterr().out.decode()
    header, *rows = list(csv.reader(io.StringIO(text, newline="")))
    assert text.count("\r\n") == 9
    assert header == [
        *("directory", "state", "run", *CHOICES, "seed"),
        *("val/accuracy", "test/accuracy", "test/macro_f1", "test/n"),
        *("accuracy_interval_low", "accuracy_interval_high", "training_flops"),
        *("attempts", "started", "finished", "error_type", "error_message", "code", "commit"),
    ]
    assert [len(row) for row in rows] == [len(header)] * 8
    by_name = {Path(row[0]): dict(zip(header, row, strict=True)) for row in rows}
    better = by_name[made["better"]]
    assert (better["attention"], better["val/accuracy"], better["test/macro_f1"]) == ("cbam", "0.75", "")
    assert (better["test/n"], better["accuracy_interval_low"], better["error_type"]) == ("3589", "0.89", "")
    failed = by_name[made["failed"]]
    assert (failed["error_type"], failed["error_message"]) == ("ArithmeticError", 'the sky\nfell, on\t"us"')
    assert (failed["val/accuracy"], failed["seed"]) == ("", "3")
    assert '"the sky\nfell, on\t""us"""' in text


def test_where_there_are_no_runs_one_sentence_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for place, sentence in (
        (tmp_path / "nowhere", "There is no folder"),
        (tmp_path / "file", "There is no folder"),
        (tmp_path, "There are no runs in"),
    ):
        with pytest.raises(UserError, match=sentence):
            collect(place)
        assert cli.main(["collect", str(place), "--json"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"error: {sentence} {place}: ")
        assert captured.err.count("\n") == 1
