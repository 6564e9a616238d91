"""Upload of offline recordings to a fake W&B server, which drops rows as the real one does."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from wandb_server import KEY, Server, account

from fersweep.errors import UserError
from fersweep.runs.lock import claim
from fersweep.tracking import sync as syncing
from fersweep.tracking.sync import exit_code, render, sync

RECORD = """
import sys, time
from pathlib import Path
import numpy as np
from fersweep.tracking import finish, log_model, log_per_class, log_predictions, log_summary, make_logger
from fersweep.tracking.pictures import Picture

cfg = {"name": "wandb", "project": "faces", "entity": None, "group": None, "tags": ["a tag"], "mode": "offline"}
for run, epochs, code in (("aaaa1111", (1, 2, 3), 1), ("bbbb2222", (1, 2), 0), ("aaaa1111", (4, 5), 0)):
    run_dir = Path(sys.argv[1]) / "my-sweep" / f"resnet50-{run}"
    run_dir.mkdir(parents=True, exist_ok=True)
    logger = make_logger(cfg, run_dir, run, f"resnet50-{run}", "my-sweep", {"seed": 42})
    for epoch in epochs:
        logger.log_metrics({"val/accuracy": epoch / 10}, step=7 * epoch)
    log_summary(logger, {"test/accuracy": 0.75})
    if run == "bbbb2222":
        (run_dir / "best.ckpt").write_bytes(b"weights")
        (run_dir / "config.yaml").write_text("seed: 42")
        log_model(logger, run_dir / "best.ckpt", run_dir / "config.yaml", {"run": run, "test/accuracy": 0.75})
        log_per_class(logger, {"happy": {"precision": None, "recall": 0.5, "f1": 0.25, "n": 4}})
        image = np.full((4, 4), 9, np.uint8)
        log_predictions(logger, [Picture(image, "faces/1.png", "happy", "sad", 0.25, 0.75, "mistake")])
    finish(logger, code)
    time.sleep(1.1)  # directories are named by the second
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, the first failed after three epochs and resumed for two; copy it, do not change it."""
    home = tmp_path_factory.mktemp("recorded")
    subprocess.run(
        [sys.executable, "-c", RECORD, str(home / "outputs")],
        check=True,
        cwd=home,
        env={**os.environ, "HOME": str(home), "WANDB_CONFIG_DIR": str(home), "WANDB_CACHE_DIR": str(home)},
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    return home / "outputs"


@pytest.fixture
def outputs(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `recorded` in a new working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(recorded, tmp_path / "outputs", symlinks=True)
    return tmp_path / "outputs"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with a login."""
    with account(tmp_path / "home") as running:
        yield running


def states(outcomes: list[syncing.Outcome]) -> list[tuple[str, str]]:
    return [(each.part.run, each.state) for each in outcomes]


def helpers(pid: int) -> list[str]:
    """Return the processes that W&B started for process ``pid``."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True, timeout=30).stdout
    return [line for line in listed.splitlines() if "wandb-core" in line and line.endswith(f"--pid {pid}")]


def test_parts_of_a_run_are_joined_in_order_of_time_and_nothing_is_dropped(outputs: Path, server: Server) -> None:
    planned = sync(outputs, dry_run=True)
    assert states(planned) == [("aaaa1111", "unsent"), ("bbbb2222", "unsent"), ("aaaa1111", "unsent")]
    assert server.calls == []
    assert list(outputs.rglob("*.synced")) == []

    (outputs.parent / "home" / "settings").write_text("[default]\nmode = disabled\n")  # left by `wandb disabled`
    outcomes = sync(outputs)
    assert states(outcomes) == [("aaaa1111", "sent"), ("bbbb2222", "sent"), ("aaaa1111", "sent")]
    assert exit_code(outcomes) == 0
    first = server.runs["aaaa1111"]
    assert [row["val/accuracy"] for row in first["history"]] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [row["trainer/global_step"] for row in first["history"]] == [7, 14, 21, 28, 35]
    assert [row["_step"] for row in first["history"]] == [0, 1, 2, 3, 4]
    assert first["dropped"] == 0
    assert first["summary"]["test/accuracy"] == 0.75
    assert (first["exitcode"], first["config"]["seed"]["value"]) == (0, 42)
    assert (first["groupName"], first["jobType"], first["tags"]) == ("my-sweep", "train", ["a tag"])
    second = server.runs["bbbb2222"]["history"]
    assert [row["val/accuracy"] for row in second if "val/accuracy" in row] == [0.1, 0.2]
    assert all(each.part.marker.is_file() for each in outcomes)
    assert {path.name for path in Path.cwd().iterdir()} <= {"outputs", "home"}  # no logs in the working directory

    calls = len(server.calls)
    assert sync(outputs) == []
    assert len(server.calls) == calls


def test_a_part_that_is_refused_holds_back_its_own_run_only(outputs: Path, server: Server) -> None:
    server.refused.add("aaaa1111")
    outcomes = sync(outputs)
    assert states(outcomes) == [("aaaa1111", "failed"), ("bbbb2222", "sent"), ("aaaa1111", "waiting")]
    assert exit_code(outcomes) == 1
    assert "Fatal error while uploading" in outcomes[0].detail
    assert [path.name for path in outputs.rglob("*.synced")] == ["run-bbbb2222.wandb.synced"]

    server.refused = {"!aaaa1111"}
    again = sync(outputs)
    assert states(again) == [("aaaa1111", "failed"), ("aaaa1111", "waiting")]
    assert again[0].detail == "… may not"
    printed = io.StringIO()
    Console(width=200, file=printed).print(render(again, outputs))
    shown = printed.getvalue()
    assert "my-sweep/resnet50-aaaa1111" in shown
    assert KEY not in shown

    server.refused.clear()
    assert states(sync(outputs)) == [("aaaa1111", "sent"), ("aaaa1111", "sent")]
    assert [row["val/accuracy"] for row in server.runs["aaaa1111"]["history"]] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert server.runs["aaaa1111"]["dropped"] == 0


@pytest.mark.parametrize(("left", "rows"), [(0.8, 2), (0.02, 0), (0, 0)])
def test_a_recording_that_was_cut_off_is_sent_as_far_as_it_goes(
    outputs: Path, server: Server, left: float, rows: int
) -> None:
    part = min(outputs.rglob("offline-run-*-aaaa1111"))
    recording = part / "run-aaaa1111.wandb"
    os.truncate(recording, int(recording.stat().st_size * left))
    outcomes = sync(part.parents[1])
    assert states(outcomes) == [("aaaa1111", "sent"), ("aaaa1111", "sent")]
    assert "cut off" in outcomes[0].detail
    sent = [row["val/accuracy"] for row in server.runs["aaaa1111"]["history"]]
    assert sent == [*[0.1, 0.2, 0.3][:rows], 0.4, 0.5]
    assert sync(part.parents[1]) == []


def test_models_tables_and_pictures_are_sent_until_all_have_arrived(
    outputs: Path, recorded: Path, server: Server
) -> None:
    run_dir = next(outputs.glob("*/resnet50-bbbb2222"))
    versions = server.artifacts.versions
    server.artifacts.refused.add("best.ckpt")
    first = sync(run_dir)
    assert (states(first), exit_code(first)) == ([("bbbb2222", "incomplete")], 1)
    assert "the same command tries again" in first[0].detail
    assert versions["model-bbbb2222"] == []
    (table,) = versions["run-bbbb2222-predictions"]
    (named,) = [content for name, content in table["files"].items() if name.endswith(".json")]
    (row,) = json.loads(named)["data"]
    assert row[1:] == ["faces/1.png", "happy", "sad", 0.25, 0.75, "mistake"]

    recorded_from = recorded / run_dir.relative_to(outputs) / "best.ckpt"  # a copy of a recording names the original
    moved = recorded_from.rename(recorded_from.with_name("elsewhere.ckpt"))
    server.artifacts.refused.clear()
    assert states(sync(run_dir)) == [("bbbb2222", "incomplete")]
    moved.rename(recorded_from)
    assert states(sync(run_dir)) == [("bbbb2222", "sent")]
    (model,) = versions["model-bbbb2222"]
    assert (model["type"], model["aliases"]) == ("model", ["best", "latest"])
    assert model["metadata"] == {"run": "bbbb2222", "test/accuracy": 0.75}
    assert model["files"] == {"best.ckpt": b"weights", "config.yaml": b"seed: 42"}
    assert len(versions["run-bbbb2222-predictions"]) == 1
    run = server.runs["bbbb2222"]
    assert [row["val/accuracy"] for row in run["history"] if "val/accuracy" in row] == [0.1, 0.2]
    assert (run["summary"]["test/recall/happy"], run["summary"]["test/f1/happy"]) == (0.5, 0.25)
    assert "test/precision/happy" not in run["summary"]
    calls = len(server.calls)
    assert (sync(run_dir), len(server.calls)) == ([], calls)


def test_a_run_in_training_is_left_alone(outputs: Path, server: Server) -> None:
    run_dir = next(outputs.glob("*/resnet50-bbbb2222"))
    with claim(run_dir):
        assert states(sync(run_dir)) == [("bbbb2222", "training")]
        assert "stream bbbb2222" not in server.calls
        assert exit_code(sync(run_dir)) == 0
    assert states(sync(run_dir)) == [("bbbb2222", "sent")]


def test_a_server_that_stops_answering_ends_it(outputs: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    class Watched(subprocess.Popen[str]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if "sync" in args[0]:
                started.append(self)

    monkeypatch.setattr(syncing.subprocess, "Popen", Watched)
    monkeypatch.setattr(syncing, "LIMIT_S", 4)
    server.gone = True
    outcomes = sync(outputs)
    assert states(outcomes) == [("aaaa1111", "failed"), ("bbbb2222", "waiting"), ("aaaa1111", "waiting")]
    assert outcomes[0].detail == "not done in 4 s"
    assert "does not answer" in outcomes[1].detail
    assert exit_code(outcomes) == 1
    (process,) = started
    assert process.returncode == -signal.SIGKILL
    until = time.monotonic() + 30
    while helpers(process.pid) and time.monotonic() < until:
        time.sleep(0.1)  # W&B's helper process has a session of its own, and ends when it misses the other
    assert helpers(process.pid) == []


def test_without_login_key_or_network_one_sentence_at_once(
    outputs: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", "b" * 40)
    with pytest.raises(UserError, match=rf"^Weights & Biases at {server.url} refuses the key: run `wandb login --rel"):
        sync(outputs)
    monkeypatch.delenv("WANDB_API_KEY")
    wandb.teardown()
    with pytest.raises(UserError, match=r"^Weights & Biases needs a login: run `wandb login` or set WANDB_API_KEY\.$"):
        sync(outputs)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.teardown()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"does not answer at http://127\S+ \(ConnectionError\): check the network"):
        sync(outputs)
    assert time.monotonic() - begun < 30
    assert list(outputs.rglob("*.synced")) == []
    with pytest.raises(UserError, match="elsewhere is not a directory"):
        sync(Path("elsewhere"))
