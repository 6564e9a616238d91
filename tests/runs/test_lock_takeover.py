"""Locks of dead owners and of other hosts: when they are respected, and who takes them over."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from pathlib import Path

import pytest
from lockers import HOLDER, ask, foreign, processes

from fersweep.errors import UserError
from fersweep.runs import lock
from fersweep.runs.lock import LockedError, claim, is_locked

HAMMER = """
import os, random, signal, sys, time
from pathlib import Path
from fersweep.runs import lock

directory, until = Path(sys.argv[1]), int(sys.argv[2])
rename = Path.rename

def late(path, target):  # between finding a lock stale and removing it a process may have to wait
    time.sleep(random.random() * 0.03)
    return rename(path, target)

Path.rename = late
def inside():
    try:
        os.close(os.open(directory / "inside", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        (directory / "overlap").touch()
    time.sleep(0.005)
    (directory / "inside").unlink(missing_ok=True)
    with (directory / "counter").open("a") as file:
        file.write("x")

while not (directory / "overlap").exists() and os.stat(directory / "counter").st_size < until:
    child = os.fork()
    if child == 0:
        try:
            with lock.claim(directory):
                inside()
                os.kill(os.getpid(), signal.SIGKILL)
        except lock.LockedError:
            os._exit(0)
    os.waitpid(child, 0)
"""
"""Claims again and again, each time in a process that dies inside, so that every lock found is a stale one."""


def test_a_killed_owner_holds_nothing_from_the_next_moment_on(tmp_path: Path) -> None:
    with processes(HOLDER, tmp_path) as (holder,):
        assert ask(holder, "") == "held"
        with pytest.raises(LockedError, match=rf"\(process {holder.pid} on "), claim(tmp_path):
            pass
        assert is_locked(tmp_path)
        holder.kill()
        holder.wait(60)
        assert (tmp_path / ".lock").exists()
        assert not is_locked(tmp_path)
        with claim(tmp_path) as held:
            assert held.lost is None
            assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_killed_owner_that_nobody_waits_for_holds_nothing_either(tmp_path: Path) -> None:
    """As in a container whose first process collects no others."""
    with processes(HOLDER, tmp_path) as (holder,):
        assert ask(holder, "go") == "held"
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is left as it is
        assert Path(f"/proc/{holder.pid}").exists()
        assert not is_locked(tmp_path)
        with claim(tmp_path):
            assert is_locked(tmp_path)


def test_another_host_is_respected_while_it_gives_signs_of_life(tmp_path: Path) -> None:
    path = foreign(tmp_path, age=lock.LEASE / 3)
    before = path.read_text()
    assert is_locked(tmp_path)
    with pytest.raises(LockedError, match=r"another process \(process 7 on elsewhere\): .*delete .*\.lock\."):
        claim(tmp_path).__enter__()
    assert path.read_text() == before
    os.utime(path, (time.time() - lock.LEASE - 1,) * 2)
    assert not is_locked(tmp_path)
    with claim(tmp_path) as held:
        assert is_locked(tmp_path)
        assert held.lost is None
    assert list(tmp_path.iterdir()) == []


def test_of_two_hosts_that_take_over_at_once_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(tmp_path, age=lock.LEASE + 1)
    slept = []

    def sleep(seconds: float) -> None:  # meanwhile the other host removes what it still takes for the stale lock
        slept.append(seconds)
        foreign(tmp_path / "aside", age=0, host="third").rename(tmp_path / ".lock")

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(LockedError, match="process 7 on third"):
        claim(tmp_path).__enter__()
    assert slept == [lock.SETTLE]
    assert "host=third" in (tmp_path / ".lock").read_text()


def test_a_clock_that_is_ahead_takes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(tmp_path, age=5)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    assert is_locked(tmp_path)
    with pytest.raises(LockedError, match="process 7 on elsewhere"):
        claim(tmp_path).__enter__()
    os.utime(tmp_path / ".lock", (now() - lock.LEASE - 1,) * 2)
    assert not is_locked(tmp_path)
    with claim(tmp_path) as held:
        assert held.lost is None


def test_who_may_only_read_can_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = foreign(tmp_path, age=5)
    monkeypatch.setattr(tempfile, "TemporaryFile", closed)
    assert is_locked(tmp_path)
    os.utime(path, (time.time() - lock.LEASE - 1,) * 2)
    assert not is_locked(tmp_path)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        claim(tmp_path).__enter__()


def test_a_lock_with_other_terms_is_not_broken(tmp_path: Path) -> None:
    foreign(tmp_path, age=10 * lock.LEASE, duration=20 * lock.LEASE)
    with pytest.raises(LockedError, match="process 7 on elsewhere"):
        claim(tmp_path).__enter__()


def test_a_file_without_content_holds_only_while_it_may_be_being_written(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.touch()
    os.utime(path, (time.time() + 30,) * 2)  # by the clock of a file server
    assert is_locked(tmp_path)
    with pytest.raises(LockedError, match="is being trained by another process: wait"):
        claim(tmp_path).__enter__()
    os.utime(path, (time.time() - lock.WRITING - 1,) * 2)
    assert not is_locked(tmp_path)
    with claim(tmp_path):
        assert path.stat().st_size > 0


def test_eight_that_hammer_a_stale_lock_are_inside_one_at_a_time(tmp_path: Path) -> None:
    until = 12
    (tmp_path / "counter").touch()
    with processes(HAMMER, tmp_path, until, number=8) as all_of_them:
        assert [each.wait(120) for each in all_of_them] == [0] * 8
    assert (tmp_path / "counter").stat().st_size >= until
    assert {path.name for path in tmp_path.iterdir()} <= {"counter", ".lock"}  # no overlap, and nothing moved aside
