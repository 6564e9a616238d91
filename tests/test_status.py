"""``status.json``: what it says over the life of a run, and that a write is whole or did not happen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fersweep.errors import UserError
from fersweep.sweep.status import Status, atomic_path, mark_done, mark_failed, mark_pending, mark_running, write_json


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
