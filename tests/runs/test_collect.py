"""Every run is found once, with its state, in whatever condition its files are."""

from __future__ import annotations

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
from run_states import CHOICES, all_states, asked_for, finished, result_of

from fersweep.cli import main as cli
from fersweep.report import listing
from fersweep.runs import clean
from fersweep.runs import collect as module
from fersweep.runs.collect import Run, collect, read
from fersweep.runs.lock import claim
from fersweep.runs.status import (
    Status,
    mark_done,
    mark_failed,
    mark_pending,
    mark_pruned,
    mark_running,
    write_json,
)


def states(runs: list[Run]) -> dict[str, str]:
    return {run.directory.name: run.state for run in runs}


def test_a_pruned_run_is_listed_counted_and_can_be_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = asked_for(tmp_path / "none-s1-0000000001")
    mark_running(run)
    mark_pruned(run)
    assert read(run).state == "pruned"
    assert cli.main(["collect", str(tmp_path)]) == 0
    assert "1 run: 1 pruned" in capsys.readouterr().out
    with claim(run):
        assert read(run).state == "running"
    assert [each.state for each in clean.unfinished(tmp_path)] == ["pruned"]


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
        ("result.json", json.dumps(result_of() | {"training_flops": "many"}), "training_flops is 'many'"),
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
