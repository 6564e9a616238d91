"""Full and read-only disks, and directories removed during a run: one sentence, and a status if it can be written."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pytest
import torch
from omegaconf import DictConfig

from fersweep import logs
from fersweep.errors import LockLostError, UserError
from fersweep.run import run_one
from fersweep.runs import lock
from fersweep.runs.lock import claim
from fersweep.runs.status import Status, mark_failed, mark_interrupted, mark_running
from fersweep.training.checkpoint import save
from fersweep.training.disk import writable
from fersweep.training.job import Job


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_recording_a_failure_never_hides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = {"type": "ValueError", "message": "boom"}
    assert mark_failed(tmp_path / "removed", ValueError("boom")).error == failure
    assert not (tmp_path / "removed").exists()
    (tmp_path / "status.json").write_text("{")
    assert mark_failed(tmp_path, ValueError("boom")).error == failure
    assert (tmp_path / "status.json").read_text() == "{"
    (tmp_path / "status.json").unlink()
    mark_running(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    assert mark_failed(tmp_path, ValueError("boom")).state == "failed"
    mark_interrupted(tmp_path)
    monkeypatch.undo()
    assert Status.read(tmp_path).state == "running"
    mark_interrupted(tmp_path)
    assert Status.read(tmp_path).state == "pending"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_nothing_is_one_sentence(tmp_path: Path, code: int) -> None:
    with pytest.raises(UserError) as raised, writable(tmp_path):
        raise OSError(code, os.strerror(code))
    assert str(raised.value).startswith(f"{tmp_path} cannot be written ({os.strerror(code)}): free or restore the disk")
    elsewhere = "/elsewhere/file"
    with pytest.raises(UserError, match=f"^{elsewhere} cannot be written"), writable(tmp_path):
        raise OSError(code, os.strerror(code), elsewhere)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    for error in (OSError(errno.EACCES, "denied", "/elsewhere"), OSError("no number"), ValueError("x"), UserError("y")):
        with pytest.raises(type(error)) as raised, writable(tmp_path):
            raise error
        assert raised.value is error
    inside = str(tmp_path / "history.csv")
    with pytest.raises(UserError, match="cannot be written"), writable(tmp_path):
        raise OSError(errno.EACCES, "denied", inside)


def test_a_directory_that_was_removed_is_named_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOOK", 0.0)
    run: Any = tmp_path / "run"
    sentence = f"^{run} was removed while its run was being trained: run the same command"
    config: Any = {}
    with claim(run) as held:
        job = Job(config, config, run, torch.device("cpu"), progress_bar=False, claim=held, callbacks=())
        job.check_claim()
        shutil.rmtree(run)
        with pytest.raises(LockLostError, match=sentence):
            job.check_claim()
        with pytest.raises(LockLostError, match=sentence), writable(run):
            (run / "history.csv").write_text("")
    assert not run.exists()


def test_a_checkpoint_on_a_full_disk_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="PytorchStreamWriter"):
        save({}, tmp_path / "last.ckpt")
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left") as raised:
        save({}, tmp_path / "last.ckpt")
    assert raised.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_log_on_a_full_disk_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "train.log").symlink_to("/dev/full")
    with logs.to_run(tmp_path, echo=False) as log:
        log.warning("lost")
    assert logging.getLogger("fersweep").handlers == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize(
    ("classes", "per_class", "sentence"),
    [(("Anger", "Sad"), 1, "leaves the validation part empty"), (("Anger", "label"), 20, "has a class named label")],
)
def test_wrong_data_leave_no_run(
    small: Callable[..., DictConfig], tmp_path: Path, classes: tuple[str, ...], per_class: int, sentence: str
) -> None:
    root = fakes.folder(tmp_path / "faces", classes, per_class)
    options = f"dataset.root={root}", f"dataset.source.classes=[{','.join(classes)}]"
    with pytest.raises(UserError, match=sentence):
        run_one(small("dataset=folder", "split=random", *options))
    assert not (tmp_path / "outputs").exists()
