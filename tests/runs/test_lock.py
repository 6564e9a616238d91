"""The lock of a run's directory, with real processes: one at a time inside, and no dead owner keeps anybody out."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fersweep.errors import UserError
from fersweep.runs import lock
from fersweep.runs.lock import LockedError, claim, is_locked

HOLDER = """
import sys
from pathlib import Path
from fersweep.runs.lock import LockedError, claim

input()
try:
    with claim(Path(sys.argv[1])) as held:
        print("held", flush=True)
        while input() == "lost?":
            print(held.lost, flush=True)
except LockedError as error:
    print(error, flush=True)
"""
"""Claims on the first line of its input, answers "lost?", and lets go on any other line."""

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


@contextmanager
def processes(script: str, *arguments: object, number: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Python processes that run ``script``; none outlives the block."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)
    ]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
            each.communicate(timeout=60)


def ask(process: subprocess.Popen[str], line: str) -> str:
    """Write a line to the process and return the line it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().rstrip("\n")


def foreign(directory: Path, age: float, **changes: object) -> Path:
    """Leave a lock as process 7 of another host would, which last gave a sign of life ``age`` seconds ago."""
    with claim(directory):
        text = (directory / ".lock").read_text()
    for key, value in {"host": "elsewhere", "pid": 7, "token": "f" * 32, **changes}.items():
        text, found = re.subn(rf"(?m)^{key}=.*$", f"{key}={value}", text)
        assert found == 1
    written = directory / "another"
    written.write_text(text)
    os.utime(written, (time.time() - age,) * 2)
    return written.rename(directory / ".lock")


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


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


def test_eight_that_hammer_a_stale_lock_are_inside_one_at_a_time(tmp_path: Path) -> None:
    until = 12
    (tmp_path / "counter").touch()
    with processes(HAMMER, tmp_path, until, number=8) as all_of_them:
        assert [each.wait(120) for each in all_of_them] == [0] * 8
    assert (tmp_path / "counter").stat().st_size >= until
    assert {path.name for path in tmp_path.iterdir()} <= {"counter", ".lock"}  # no overlap, and nothing moved aside
