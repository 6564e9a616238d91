"""`fersweep collect`: every run is listed once, with its state, whatever its files look like at that moment."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from fersweep.cli import main as cli
from fersweep.config.schema import GROUPS
from fersweep.errors import UserError
from fersweep.report import listing
from fersweep.runs import collect as module
from fersweep.runs.collect import Run, collect, read
from fersweep.runs.lock import claim
from fersweep.runs.status import (
    Status,
    mark_done,
    mark_failed,
    mark_pending,
    mark_running,
    write_config,
    write_json,
)

CHOICES = dict.fromkeys(GROUPS, "none") | {"backbone": "resnet50", "attention": "se"}


def asked_for(directory: Path, seed: int = 1, **choices: str) -> Path:
    """Make the directory of a run that nobody has begun."""
    directory.mkdir(parents=True)
    mark_pending(directory, {**CHOICES, **choices}, seed)
    return directory


def result_of(seed: int = 1, accuracy: float = 0.5, **choices: str) -> dict[str, Any]:
    metrics = {"val/accuracy": accuracy, "test/accuracy": 0.9, "test/macro_f1": None, "test/n": 3589}
    about = {"run": f"{seed:010x}", "choices": {**CHOICES, **choices}, "seed": seed}
    return {**about, "metrics": metrics, "accuracy_interval": [0.89, 0.91]}


def finished(directory: Path, seed: int = 1, accuracy: float = 0.5, **choices: str) -> Path:
    """Make the directory of a run that is done, with the files of one."""
    asked_for(directory, seed, **choices)
    mark_running(directory)
    write_config(directory, {group: {"name": name} for group, name in {**CHOICES, **choices}.items()} | {"seed": seed})
    (directory / "checkpoints").mkdir()
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "history.csv", "predictions.parquet", "train.log"):
        (directory / name).write_bytes(b"x")
    write_json(directory / "result.json", result_of(seed, accuracy, **choices))
    mark_done(directory)
    return directory


def all_states(outputs: Path) -> dict[str, Path]:
    """A sweep of which a run is in each state that needs no live process."""
    runs = {
        "done": finished(outputs / "none-s1-0000000001", 1, accuracy=0.25),
        "better": finished(outputs / "none-s2-0000000002", 2, accuracy=0.75, attention="cbam"),
        "failed": asked_for(outputs / "none-s3-0000000003", 3),
        "killed": asked_for(outputs / "none-s4-0000000004", 4),
        "stopped": asked_for(outputs / "none-s5-0000000005", 5),
        "robbed": finished(outputs / "none-s6-0000000006", 6),
        "pending": asked_for(outputs / "none-s7-0000000007", 7),
        "unreadable": finished(outputs / "none-s8-0000000008", 8),
    }
    mark_running(runs["failed"])
    mark_failed(runs["failed"], ArithmeticError('the sky\nfell, on\t"us"'))
    mark_running(runs["killed"])
    mark_running(runs["stopped"])
    mark_pending(runs["stopped"])
    (runs["robbed"] / "result.json").unlink()
    (runs["unreadable"] / "result.json").write_text('{"run": "0000')
    return runs


def states(runs: list[Run]) -> dict[str, str]:
    return {run.directory.name: run.state for run in runs}


def test_each_state_is_told_from_the_others(tmp_path: Path) -> None:
    made = all_states(tmp_path)
    found = {run.directory: run for run in collect(tmp_path)}
    assert set(found) == set(made.values())
    assert {name: found[directory].state for name, directory in made.items()} == {
        "done": "done",
        "better": "done",
        "failed": "failed",
        "killed": "interrupted",
        "stopped": "interrupted",
        "robbed": "interrupted",
        "pending": "pending",
        "unreadable": "unreadable",
    }
    assert [run.seed for run in found.values()] == [1, 2, 3, 4, 5, 6, 7, 8]
    done = found[made["better"]]
    assert done.run == "0000000002"
    assert done.choices == {**CHOICES, "attention": "cbam"}
    assert done.metrics == {"val/accuracy": 0.75, "test/accuracy": 0.9, "test/macro_f1": None, "test/n": 3589}
    assert done.accuracy_interval == (0.89, 0.91)
    assert (done.attempts, done.error) == (1, None)
    failed = found[made["failed"]]
    assert failed.error == {"type": "ArithmeticError", "message": 'the sky\nfell, on\t"us"'}
    assert (failed.choices, failed.metrics, failed.accuracy_interval) == (CHOICES, {}, None)
    assert found[made["pending"]].attempts == 0
    assert found[made["robbed"]].metrics == {}


def test_a_run_is_running_while_a_live_process_holds_its_lock(tmp_path: Path) -> None:
    directory = asked_for(tmp_path / "none-s1-0000000001")
    script = "import sys; from pathlib import Path; from fersweep.runs.lock import claim\n"
    script += "with claim(Path(sys.argv[1])): print('held', flush=True); input()"
    command = [sys.executable, "-c", script, directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            for record in (mark_running, lambda run: mark_failed(run, ("A", "b")), mark_pending):
                record(directory)  # whatever its status says at that moment
                assert states(collect(tmp_path)) == {directory.name: "running"}
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait(60)
        assert states(collect(tmp_path)) == {directory.name: "interrupted"}
    with claim(directory):
        assert states(collect(tmp_path)) == {directory.name: "running"}


def test_a_claimed_directory_without_files_is_a_run_too(tmp_path: Path) -> None:
    with claim(tmp_path / "runs" / "new"):
        (run,) = collect(tmp_path)
        assert (run.state, run.run, run.choices, run.seed) == ("running", "new", {}, None)


def test_choices_come_from_the_configuration_where_nothing_else_has_them(tmp_path: Path) -> None:
    directory = finished(tmp_path / "none-s4-0000000004", 4, attention="eca")
    (directory / "result.json").unlink()
    write_json(directory / "status.json", {"state": "running", "attempts": 1})
    run = read(directory)
    assert (run.state, run.choices, run.seed) == ("interrupted", {**CHOICES, "attention": "eca"}, 4)
    for text in ("seed: [", "seed: 1", "- 1", "", "attention: none\nseed: 1", "\x00"):
        (directory / "config.yaml").write_text(text)
        assert (read(directory).state, read(directory).choices) == ("interrupted", {})


def test_a_run_whose_status_was_deleted_had_begun(tmp_path: Path) -> None:
    directory = finished(tmp_path / "none-s4-0000000004", 4)
    (directory / "result.json").unlink()
    (directory / "status.json").unlink()
    (run,) = collect(tmp_path)
    assert (run.state, run.seed) == ("interrupted", 4)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("status.json", "", "status.json is not a readable status file (Expecting value"),
        ("status.json", '{"state": "dreaming", "attempts": 1}', "state is 'dreaming'"),
        ("status.json", '{"state": "done", "attempts": 1, "choices": {"backbone": 5}}', "choices is {'backbone': 5}"),
        ("status.json", '{"state": "done", "attempts": 1, "seed": "1"}', "seed is '1', not a whole number"),
        ("result.json", "\x00" * 300, "result.json is not a readable result"),
        ("result.json", "[]", "not a JSON object"),
        ("result.json", "{}", "choices is None"),
        ("result.json", json.dumps(result_of() | {"seed": None}), "seed is None"),
        ("result.json", json.dumps(result_of() | {"metrics": {"val/accuracy": "0.5"}}), "not a number for each name"),
        ("result.json", json.dumps(result_of() | {"metrics": {"val/accuracy": float("nan")}}), "NaN is not a number"),
        ("result.json", json.dumps(result_of() | {"accuracy_interval": [0.1]}), "not two numbers"),
        ("result.json", '"' + "\udcff" + '"', "can't decode byte"),
    ],
)
def test_a_damaged_file_costs_its_run_alone(tmp_path: Path, name: str, text: str, reason: str) -> None:
    finished(tmp_path / "none-s1-0000000001")
    damaged = finished(tmp_path / "none-s2-0000000002", 2)
    (damaged / name).write_bytes(text.encode(errors="surrogateescape"))
    good, bad = collect(tmp_path)
    assert (good.state, bad.state) == ("done", "unreadable")
    assert bad.error is not None
    assert str(damaged / name) in bad.error["message"]
    assert reason in bad.error["message"]
    assert "delete it" in bad.error["message"]
    assert (bad.choices, bad.seed, bad.metrics) == (CHOICES, 2, {})


def test_runs_are_found_wherever_they_lie_and_nothing_else(tmp_path: Path) -> None:
    places = ("one/none-s1-0000000001", "two/none-s1-0000000001", "two/deep/er/none-s2-0000000002")
    made = [finished(tmp_path / place) for place in places]
    for other in (".submitit/job", "wandb/run-1/files", "one/.hidden-0000000003", "empty"):
        (tmp_path / other).mkdir(parents=True)
        (tmp_path / other / "config.yaml").write_text("seed: 1")
    (tmp_path / "one" / "multirun.yaml").write_text("")
    (made[0] / "inner").mkdir()
    mark_done(made[0] / "inner")  # within a run nobody looks for runs
    (tmp_path / "one" / "circle").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "one" / "again").symlink_to(made[0], target_is_directory=True)
    (tmp_path / "one" / "nowhere").symlink_to(tmp_path / "nowhere")
    assert {run.directory.resolve() for run in collect(tmp_path)} == set(made)
    assert len(collect(tmp_path)) == 3
    assert [run.directory for run in collect(made[0])] == [made[0]]
    (tmp_path.parent / f"{tmp_path.name}-linked").symlink_to(tmp_path / "two")
    assert len(collect(tmp_path.parent / f"{tmp_path.name}-linked")) == 2


def test_what_is_removed_meanwhile_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, gone = finished(tmp_path / "a" / "x-0000000001"), finished(tmp_path / "b" / "x-0000000002")
    scan = os.scandir

    def scandir(folder: str) -> Any:
        if Path(folder) == gone:
            raise FileNotFoundError(folder)
        if Path(folder) == kept:
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(module.os, "scandir", scandir)
    assert [run.directory for run in collect(tmp_path)] == [kept]  # closed, but known: listed with what can be read


def test_a_run_that_begins_between_two_looks_is_not_taken_for_an_interrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = asked_for(tmp_path / "none-s1-0000000001")
    looks = []

    def is_locked(run: Path) -> bool:
        looks.append(run)
        if len(looks) == 1:
            mark_running(run)
            return False
        return True

    monkeypatch.setattr(module, "is_locked", is_locked)
    assert read(directory).state == "running"
    assert looks == [directory] * 2


def test_runs_may_go_on_meanwhile(tmp_path: Path) -> None:
    """A run that is done, cleared and done again: whoever looks sees nothing but ``running`` and ``done``."""
    directory = finished(tmp_path / "none-s1-0000000001")
    stop = threading.Event()

    def again_and_again() -> None:
        while not stop.is_set():
            with claim(directory):
                (directory / "result.json").unlink()
                mark_pending(directory)
                mark_running(directory)
                write_json(directory / "result.json", result_of())
                mark_done(directory)

    writer = threading.Thread(target=again_and_again)
    writer.start()
    try:
        begun = time.monotonic()
        seen = set()
        while time.monotonic() - begun < (1.5 if seen == {"running", "done"} else 30):
            seen.add(read(directory).state)
    finally:
        stop.set()
        writer.join(60)
    assert seen == {"running", "done"}
    assert Status.read(directory).attempts > 3


def test_to_look_at_a_run_takes_a_fraction_of_a_millisecond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = finished(tmp_path / "template" / "none-s1-0000000001")
    texts = {path.name: path.read_bytes() for path in template.iterdir() if path.is_file()}
    for number in range(300):
        directory = tmp_path / "outputs" / "runs" / f"none-s{number}-{number:010x}"
        (directory / "checkpoints").mkdir(parents=True)
        for name, text in texts.items():
            (directory / name).write_bytes(text)
    monkeypatch.delattr(module, "_configured")  # to read a config.yaml takes longer than all the rest
    begun = time.process_time()
    runs = collect(tmp_path / "outputs")
    seconds = time.process_time() - begun
    assert listing.count(runs) == "300 runs: 300 done"
    assert seconds < 0.5  # 0.03 s is usual


def test_the_table_shows_scores_best_first_and_then_what_is_not_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    all_states(tmp_path / "outputs" / "runs")
    assert cli.main(["collect", str(tmp_path / "outputs")]) == 1
    scores, rest, counts = capsys.readouterr().out.split("\n\n")
    assert [line.split() for line in scores.splitlines()] == [
        ["run", "attention", "seed", "validation", "test", "95", "%", "interval", "n"],
        ["0000000002", "cbam", "2", "75.00%", "90.00%", "89.00%", "to", "91.00%", "3,589"],
        ["0000000001", "se", "1", "25.00%", "90.00%", "89.00%", "to", "91.00%", "3,589"],
    ]
    header, failed, unreadable, *others = rest.splitlines()
    assert header.split() == ["state", "run", "attention", "seed", "error"]
    assert failed == 'failed       0000000003  se         3     ArithmeticError: the sky fell, on "us"'
    place = tmp_path / "outputs" / "runs" / "none-s8-0000000008" / "result.json"
    assert unreadable.startswith(f"unreadable   0000000008  se         8     {place} is not a readable result (")
    assert [tuple(line.split()) for line in others] == [
        *(("interrupted", f"000000000{number}", "se", str(number)) for number in (4, 5, 6)),
        ("pending", "0000000007", "se", "7"),
    ]
    assert counts == "8 runs: 2 done, 1 failed, 1 unreadable, 3 interrupted, 1 pending\n"


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
    assert header.split()[:3] == ["run", "seed", "recipe.optimizer.lr"]
    assert sorted(line.split()[1:3] for line in lines[:2]) == [["1", "0.01"], ["1", "0.1"]]
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
    assert lines[0].split()[:2] == ["run", "seed"]
    assert lines[-1] == "1 run: 1 done"


def test_on_a_narrow_terminal_errors_are_cut_and_scores_are_not(tmp_path: Path) -> None:
    all_states(tmp_path)
    text = io.StringIO()
    listing.show(collect(tmp_path), Console(file=text, force_terminal=True, width=60, color_system=None))
    lines = text.getvalue().splitlines()
    assert "75.00%      90.00%  89.00% to 91.00%  3,589" in lines[1]
    failed = next(line for line in lines if line.startswith("failed"))
    assert failed.startswith("failed       0000000003  se         3     ArithmeticError: ")
    assert (len(failed), failed[-1]) == (60, "…")


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
        *("accuracy_interval_low", "accuracy_interval_high"),
        *("attempts", "started", "finished", "error_type", "error_message"),
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
