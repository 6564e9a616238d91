"""The lock of a run's directory, with real processes: one owner at a time, who learns when the lock is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lockers import HOLDER, ask, foreign, processes, wait_for

from fersweep.errors import UserError
from fersweep.runs import lock
from fersweep.runs.lock import LockedError, claim, is_locked


def test_of_two_that_come_at_once_one_gets_it_and_the_other_learns_who(tmp_path: Path) -> None:
    directory = tmp_path / "outputs" / "run"
    with processes(HOLDER, directory, number=2) as both:
        for each in both:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        answers = [each.stdout.readline().rstrip("\n") for each in both if each.stdout is not None]
        assert answers.count("held") == 1
        winner, loser = both if answers[0] == "held" else reversed(both)
        assert is_locked(directory)
        sentence = next(each for each in answers if each != "held")
        who = f"(process {winner.pid} on {socket.gethostname()})"
        assert sentence.startswith(f"{directory} is being trained by another process {who}: wait for it, or end it")
        assert ask(winner, "lost?") == "None"
        assert ask(winner, "end") == ""
        assert winner.wait(60) == loser.wait(60) == 0
    assert not is_locked(directory)
    assert list(directory.iterdir()) == []


def test_the_owner_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT", 0.02)
    path = tmp_path / ".lock"
    with claim(tmp_path) as held:
        os.utime(path, (1, 1))
        wait_for(lambda: time.time() - path.stat().st_mtime < lock.LEASE)
        assert held.lost is None


def test_who_loses_the_lock_is_told_and_leaves_it_to_its_new_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOOK", 0.0)
    with claim(tmp_path / "removed") as held:
        (tmp_path / "removed" / ".lock").unlink()
        assert held.lost == "its file was removed"
        foreign(tmp_path / "removed", age=0)
        assert held.lost == "its file was removed"  # the first loss is the one that counts
    with claim(tmp_path / "taken") as held:
        assert held.lost is None
        path = foreign(tmp_path / "elsewhere", age=0).rename(tmp_path / "taken" / ".lock")
        assert held.lost == "it was taken over by process 7 on elsewhere"
    assert "host=elsewhere" in path.read_text()
    assert is_locked(tmp_path / "taken")


def test_any_thread_may_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOOK", 0.0)
    with claim(tmp_path) as held, ThreadPoolExecutor(1) as other:
        assert other.submit(lambda: held.lost).result(60) is None
        (tmp_path / ".lock").unlink()
        assert other.submit(lambda: held.lost).result(60) == "its file was removed"


def test_the_file_is_not_read_at_every_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOOK", 3600.0)
    with claim(tmp_path) as held:
        (tmp_path / ".lock").unlink()
        assert held.lost is None
        monkeypatch.setattr(lock, "LOOK", 0.0)
        assert held.lost is not None


def test_a_lock_that_cannot_be_refreshed_is_lost_before_others_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(lock, "LEASE", 0.3)
    monkeypatch.setattr(lock, "HEARTBEAT", 0.1)
    monkeypatch.setattr(lock, "LOOK", 0.0)
    with claim(tmp_path) as held:
        monkeypatch.setattr(os, "utime", broken)
        wait_for(lambda: held.lost is not None)
        assert held.lost == "it could not be refreshed ([Errno 5] Input/output error)"


def test_a_process_that_was_stopped_for_too_long_learns_who_has_its_lock(tmp_path: Path) -> None:
    with processes(HOLDER, tmp_path) as (holder,):
        assert ask(holder, "") == "held"
        holder.send_signal(signal.SIGSTOP)
        os.utime(tmp_path / ".lock", (time.time() - lock.LEASE - 1,) * 2)
        with claim(tmp_path) as held:
            time.sleep(lock.LOOK)
            holder.send_signal(signal.SIGCONT)
            assert (
                ask(holder, "lost?") == f"it was taken over by process {os.getpid()} on {socket.gethostname()}"
            )  # at the first question, whatever the heartbeat
            ask(holder, "end")
            assert holder.wait(60) == 0
            assert is_locked(tmp_path)
            assert held.lost is None


def test_a_forked_child_does_not_release(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from fersweep.runs.lock import claim, is_locked

with claim(Path(sys.argv[1])) as held:
    if (child := os.fork()) == 0:
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert is_locked(Path(sys.argv[1]))
    assert held._seen() is None
print("good")
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("good\n", "")
    assert list(tmp_path.iterdir()) == []


def test_one_process_claims_a_directory_once(tmp_path: Path) -> None:
    with claim(tmp_path):
        with pytest.raises(LockedError, match=f"process {os.getpid()} on "), claim(tmp_path):
            pass
        assert is_locked(tmp_path)


def test_two_that_are_just_claiming_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TURN", 0.05)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match="is being claimed by another process: try again"):
            claim(tmp_path).__enter__()
    finally:
        os.close(descriptor)
    with claim(tmp_path) as held:
        assert held.lost is None


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with claim(tmp_path), pytest.raises(LockedError):
        claim(tmp_path).__enter__()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    directory = tmp_path / "file" / "run"
    sentence = re.escape(f"{directory} cannot be written (Not a directory): choose another place with outputs=PATH.")
    with pytest.raises(UserError, match=sentence):
        claim(directory).__enter__()
    assert not is_locked(directory)
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot be written \(Is a directory\)"):
        claim(tmp_path / "run").__enter__()


def test_an_error_in_the_block_stays_what_it_is_and_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no space"), claim(tmp_path):
        raise OSError("no space left on device")
    assert list(tmp_path.iterdir()) == []


def test_to_look_where_there_is_no_lock_needs_no_import(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from fersweep.runs.lock import is_locked\n"
    script += "print(is_locked(Path(sys.argv[1])), {'filelock', 'torch', 'hydra'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False set()\n"
