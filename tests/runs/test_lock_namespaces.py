"""Locks of processes with one hostname and different PID namespaces, such as containers of one host."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

import pytest
from lockers import HOLDER, NAMESPACE, ask, foreign, processes, require_namespaces
from run_states import asked_for

from fersweep import owner
from fersweep.runs import lock
from fersweep.runs.collect import collect
from fersweep.runs.lock import LockedError, claim, is_locked
from fersweep.runs.status import mark_running
from fersweep.tracking.sync import unsent

DEAD = 2**22 - 3
"""A process number that no process of a test machine has."""

ANOTHER = f"{socket.gethostname()}/{'0' * 36}.4026531999"
"""An owner's host, as a container with this hostname would name it."""

LOOKER = """
import sys
from pathlib import Path
from fersweep.runs.collect import collect
from fersweep.runs.lock import LockedError, claim

input()
for _ in range(3):
    try:
        with claim(Path(sys.argv[1])):
            print("stolen", end=" ")
    except LockedError as error:
        print(error, end=" ")
print(collect(Path(sys.argv[1]).parent)[0].state, flush=True)
input()
"""


def test_two_namespaces_do_not_take_a_live_run_from_each_other(tmp_path: Path) -> None:
    require_namespaces()
    run = asked_for(tmp_path / "none-s1-0000000001")
    mark_running(run)
    with processes(HOLDER, run, under=NAMESPACE) as (holder,), processes(LOOKER, run, under=NAMESPACE) as (looker,):
        assert ask(holder, "") == "held"
        for said in (ask(looker, ""), _seen_from_here(run)):
            assert "stolen" not in said
            assert re.search(r"\(process \d+ in another container on ", said)
            assert said.endswith(" running")
        time.sleep(lock.LOOK)
        assert ask(holder, "lost?") == "None"
        ask(holder, "end")
        assert holder.wait(60) == 0
    with claim(run):
        assert is_locked(run)


def _seen_from_here(run: Path) -> str:
    with pytest.raises(LockedError) as raised, claim(run):
        pass
    return f"{raised.value} {collect(run.parent)[0].state}"


def test_a_killed_owner_of_another_namespace_keeps_its_lock_for_the_lease(tmp_path: Path) -> None:
    require_namespaces()
    with processes(HOLDER, tmp_path, under=NAMESPACE) as (holder,):
        assert ask(holder, "") == "held"
        holder.kill()
        holder.wait(60)
    assert is_locked(tmp_path)
    os.utime(tmp_path / ".lock", (time.time() - lock.LEASE - 1,) * 2)
    assert not is_locked(tmp_path)
    with claim(tmp_path) as held:
        assert held.lost is None


@pytest.mark.parametrize("host", [ANOTHER, socket.gethostname()], ids=["another container", "an earlier version"])
def test_the_lease_alone_decides_where_a_process_number_says_nothing(tmp_path: Path, host: str) -> None:
    run = asked_for(tmp_path / "none-s1-0000000001")
    mark_running(run)
    (run / "wandb" / "offline-run-20260101_000000-abc").mkdir(parents=True)
    path = foreign(run, age=lock.LEASE / 3, host=host, pid=DEAD, start=1)
    before = path.read_text()
    where = " in another container" if host == ANOTHER else ""
    with pytest.raises(LockedError, match=rf"\(process {DEAD}{where} on {re.escape(socket.gethostname())}\): wait"):
        claim(run).__enter__()
    assert path.read_text() == before
    assert collect(tmp_path)[0].state == "running"
    assert [each.in_training for each in unsent(tmp_path)] == [True]
    os.utime(path, (time.time() - lock.LEASE - 1,) * 2)
    assert collect(tmp_path)[0].state == "interrupted"
    assert [each.in_training for each in unsent(tmp_path)] == [False]
    with claim(run) as held:
        assert held.lost is None


def test_a_process_number_that_was_given_again_is_not_the_owner(tmp_path: Path) -> None:
    here = owner.with_place(socket.gethostname())
    if here == socket.gethostname():
        pytest.skip("no /proc")
    foreign(tmp_path, age=0, host=here, pid=os.getpid(), start=1)
    assert not is_locked(tmp_path)
    with claim(tmp_path) as held:
        assert held.lost is None


def test_processes_that_are_not_listed_count_as_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a new PID namespace without a ``/proc`` of its own, where other processes have the same numbers."""
    monkeypatch.setattr(owner, "sees_own_processes", lambda: False)
    foreign(tmp_path, age=0, host=owner.with_place(socket.gethostname()), pid=os.getpid(), start=1)
    assert is_locked(tmp_path)
