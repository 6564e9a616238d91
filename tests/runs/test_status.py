"""``status.json``: what it says over the life of a run, and that a write is whole or did not happen."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from fersweep.config.schema import GROUPS
from fersweep.errors import UserError
from fersweep.runs.status import (
    Status,
    atomic_path,
    freeze,
    mark_done,
    mark_failed,
    mark_pending,
    mark_pruned,
    mark_running,
    write_config,
    write_json,
)

CONFIG = {"seed": 3} | {group: {"name": f"some {group}"} for group in GROUPS} | {"outputs": "outputs"}


def test_life_of_a_run(tmp_path: Path) -> None:
    assert Status.read(tmp_path) == Status("pending", 0, None, None, None)
    mark_running(tmp_path)
    running = json.loads((tmp_path / "status.json").read_text())
    assert {**running, "started": None} == {
        "state": "running",
        "attempts": 1,
        "started": None,
        "finished": None,
        "error": None,
        "choices": None,
        "seed": None,
        "code": None,
    }
    started = datetime.fromisoformat(running["started"])
    assert started.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - started) < timedelta(minutes=1)

    mark_failed(tmp_path, RuntimeError("the loss is NaN"))
    failed = Status.read(tmp_path)
    assert (failed.state, failed.attempts) == ("failed", 1)
    assert failed.error == {"type": "RuntimeError", "message": "the loss is NaN"}
    assert failed.finished is not None

    assert mark_running(tmp_path) == Status.read(tmp_path)
    again = Status.read(tmp_path)
    assert (again.state, again.attempts, again.finished, again.error) == ("running", 2, None, None)
    mark_done(tmp_path)
    done = Status.read(tmp_path)
    assert (done.state, done.attempts, done.started, done.error) == ("done", 2, again.started, None)
    assert done.finished is not None


def test_an_interrupted_run_waits_to_go_on(tmp_path: Path) -> None:
    running = mark_running(tmp_path)
    mark_pending(tmp_path)
    assert Status.read(tmp_path) == Status("pending", 1, running.started, None, None)
    assert mark_running(tmp_path).attempts == 2


def test_a_pruned_run_can_go_on_and_a_finished_one_is_not_pruned(tmp_path: Path) -> None:
    mark_running(tmp_path)
    mark_pruned(tmp_path)
    pruned = Status.read(tmp_path)
    assert (pruned.state, pruned.attempts, pruned.error) == ("pruned", 1, None)
    assert pruned.finished is not None
    assert mark_running(tmp_path).attempts == 2
    for mark in (mark_done, lambda run: mark_failed(run, ("A", "b"))):
        mark(tmp_path)
        before = Status.read(tmp_path)
        mark_pruned(tmp_path)
        assert Status.read(tmp_path) == before


def test_choices_and_seed_are_kept_whatever_becomes_of_the_run(tmp_path: Path) -> None:
    choices = {"backbone": "vgg19", "attention": "cbam"}
    mark_pending(tmp_path, choices, 7)
    for mark in (mark_running, lambda run: mark_failed(run, ("A", "b")), mark_running, mark_pending, mark_done):
        mark(tmp_path)
        assert (Status.read(tmp_path).choices, Status.read(tmp_path).seed) == (choices, 7)
    mark_pending(tmp_path, seed=8)
    assert (Status.read(tmp_path).choices, Status.read(tmp_path).seed) == (choices, 8)


def test_the_first_failure_of_an_attempt_is_its_cause(tmp_path: Path) -> None:
    mark_running(tmp_path)
    first = mark_failed(tmp_path, MemoryError("the GPU is full"))
    assert mark_failed(tmp_path, ("RuntimeError", "rank 0 is gone")) == first
    assert Status.read(tmp_path) == first
    assert first.error == {"type": "MemoryError", "message": "the GPU is full"}
    mark_running(tmp_path)
    mark_failed(tmp_path, ("SIGKILL", "ended from outside"))
    assert Status.read(tmp_path).error == {"type": "SIGKILL", "message": "ended from outside"}


def test_a_failure_that_utf8_cannot_spell_is_recorded(tmp_path: Path) -> None:
    mark_failed(tmp_path, ValueError("no image: caf\udce9.png"))
    assert Status.read(tmp_path).error == {"type": "ValueError", "message": r"no image: caf\udce9.png"}


def test_a_frozen_run_has_its_configuration_and_waits(tmp_path: Path) -> None:
    freeze(tmp_path, CONFIG)
    choices = {group: f"some {group}" for group in GROUPS}
    assert Status.read(tmp_path) == Status("pending", 0, choices=choices, seed=3)
    text = (tmp_path / "config.yaml").read_text()
    assert yaml.safe_load(text) == CONFIG
    assert [line.partition(":")[0] for line in text.splitlines() if line[0] != " "] == list(CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "status.json"]


def test_what_was_begun_or_frozen_before_is_left_alone(tmp_path: Path) -> None:
    freeze(tmp_path, CONFIG)
    for mark in (lambda run: Status.read(run), mark_running, mark_pending, mark_done):
        mark(tmp_path)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        freeze(tmp_path, CONFIG | {"seed": 4})
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_freeze_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    mark_pending(tmp_path, {"attention": "se"}, 3)
    freeze(tmp_path, CONFIG)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == CONFIG
    (tmp_path / "status.json").unlink()
    freeze(tmp_path, CONFIG | {"seed": 4})  # without a status nobody has begun
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seed"] == 4
    assert Status.read(tmp_path).seed == 4


@pytest.mark.parametrize("links", [True, False])
def test_a_run_that_begins_at_the_same_moment_is_not_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    def begun_meanwhile(_: int) -> None:
        monkeypatch.undo()
        if not links:
            monkeypatch.setattr(Path, "hardlink_to", none)
        write_config(tmp_path, CONFIG | {"seed": 4})
        mark_running(tmp_path)

    monkeypatch.setattr(os, "fsync", begun_meanwhile)
    freeze(tmp_path, CONFIG)
    assert Status.read(tmp_path).state == "running"
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seed"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "status.json"]


def test_many_may_freeze_at_once_also_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    for links in (True, False):
        if not links:
            monkeypatch.setattr(Path, "hardlink_to", none)
        directory = tmp_path / str(links)
        directory.mkdir()
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _, place=directory: freeze(place, CONFIG), range(32))) == [None] * 32
        assert sorted(path.name for path in directory.iterdir()) == ["config.yaml", "status.json"]
        assert Status.read(directory).seed == 3
        assert yaml.safe_load((directory / "config.yaml").read_text()) == CONFIG


def test_a_failed_freeze_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        freeze(tmp_path, CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_is_written_whole(tmp_path: Path) -> None:
    write_config(tmp_path, {"b": "ä", "a": [1, {"c": None}]})
    assert (tmp_path / "config.yaml").read_text(encoding="utf-8") == "b: ä\na:\n- 1\n- c: null\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"state": "runn',
        "[]",
        '{"state": "finished", "attempts": 1}',
        '{"state": "done", "attempts": "two"}',
        '{"state": "done", "attempts": 1, "started": 5}',
        '{"state": "failed", "attempts": 1, "error": "boom"}',
        '{"state": "pending", "attempts": 0, "choices": ["se"]}',
        '{"state": "pending", "attempts": 0, "choices": {"attention": null}}',
        '{"state": "pending", "attempts": 0, "seed": true}',
        "\xff\xfe",
    ],
)
def test_a_corrupt_status_names_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        Status.read(tmp_path)
    assert str(path) in str(error.value)
    assert "delete it" in str(error.value)


def test_fields_of_a_later_version_are_no_corruption(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": "done", "attempts": 3, "host": "a"}')
    assert Status.read(tmp_path) == Status("done", 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), [{"a": -float("inf")}]])
def test_write_json_refuses_what_json_does_not_have(tmp_path: Path, bad: object) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"accuracy": bad})
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def half_written() -> None:
        with atomic_path(path) as temporary:
            assert temporary.suffix == ".png"
            assert temporary.parent == tmp_path
            temporary.write_bytes(b"ne")
            assert path.read_bytes() == b"old"
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        half_written()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_mode_the_umask_gives(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {})
    (tmp_path / "plain").touch()
    assert (tmp_path / "result.json").stat().st_mode == (tmp_path / "plain").stat().st_mode
