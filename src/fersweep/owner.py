"""Names of processes that own locks and files: host, boot and PID namespace, where a process number means one process.

Two containers may share a hostname, and do with ``--network host``; the process numbers of one mean nothing in the
other.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import Protocol

TICKS = (1 << 64) - 1
"""Bits of filelock's start token that hold the start in ticks since the boot; the bits above them are the boot's id."""


class Owner(Protocol):
    """Owner of a lock, as filelock reads it; ``start`` is its token of the process's start, if known."""

    @property
    def pid(self) -> int: ...

    @property
    def hostname(self) -> str: ...

    @property
    def start(self) -> int | None: ...


@cache
def place() -> str:
    """Return boot id and PID namespace of this process (``1bcd092d-….4026531836``), or "" where Linux tells neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (not a file's path)
    except (OSError, ValueError):
        return ""
    return f"{boot}.{namespace.strip('pid:[]')}"


def with_place(hostname: str) -> str:
    """Return the name that this process writes into a lock: the hostname, and its `place`, if known, behind a slash."""
    return f"{hostname}/{place()}" if place() else hostname


def is_dead(owner: Owner) -> bool:
    """Return whether the owner of a lock is known to be dead.

    Only an owner of this boot and PID namespace can be judged by its process number. Of any other, and of one that an
    earlier version named by its hostname alone, nothing is known: its lease decides.
    """
    return owner.hostname == with_place(socket.gethostname()) and not _alive(owner.pid, owner.start)


def described(owner: Owner) -> str:
    """Return an owner for a sentence: ``process 7 on host``, or ``process 7 in another container on host``."""
    host, _, where = owner.hostname.partition("/")
    elsewhere = " in another container" if where and host == socket.gethostname() and where != place() else ""
    return f"process {owner.pid}{elsewhere} on {host}"


def sees_own_processes() -> bool:
    """Return whether ``/proc`` is of this process's PID namespace; in a new one it may still be the parent's."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115 (as above)
    except OSError:
        return False


def _alive(pid: int, start: int | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    if not sees_own_processes():
        return True
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        # A zombie is dead too: in a container its parent may never collect the exit code. Field 22 is the start.
        return fields[0] != "Z" and (start is None or int(fields[19]) == start & TICKS)
    except (OSError, ValueError, IndexError):  # it has just ended
        return True
