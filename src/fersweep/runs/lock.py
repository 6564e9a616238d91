"""The lock of a run's directory: one process at a time trains there, also on file systems that have no locks.

The lock is the existence of ``.lock``, which names its owner's host and process (`filelock.SoftFileLease`). The owner
touches it every `HEARTBEAT` seconds. A contender takes it over at once when the owner is a dead process of the same
host, and otherwise when it was not touched for `LEASE` seconds: the owner's host died, or the owner was stopped. An
owner that lives on after that learns it from `Claim.lost`.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fersweep.errors import UserError

if TYPE_CHECKING:
    from filelock import SoftFileLease

FILE_NAME = ".lock"

LEASE = 60.0
"""Seconds without a sign of life after which a lock may be taken over; the same in every process, on every host."""

HEARTBEAT = LEASE / 3
"""Seconds between the owner's signs of life."""

LOOK = 1.0
"""Seconds for which `Claim.lost` believes what it saw: a system call a batch would be too many on a network."""

WRITING = 2.0
"""Seconds for which a lock without content counts as one that its owner is just writing."""

TURN = 5.0
"""Seconds to wait for another process of this host that is just claiming the same directory."""

SETTLE = 0.2
"""Seconds after which a lock that was taken over must still be there: another host may have taken it over as well."""

ELSEWHERE = 75
"""Exit code of a run that another process is training (``EX_TEMPFAIL`` of sysexits.h)."""


class LockedError(UserError):
    """The directory is being trained by another process."""


class Claim:
    """The lock that `claim` holds.

    Whoever trains asks `lost` now and then, and stops when it is not ``None``: somebody else may be at work then.
    """

    def __init__(self, lease: SoftFileLease) -> None:
        self._lease = lease
        self._lost: str | None = None
        self._looked = time.monotonic()

    @property
    def lost(self) -> str | None:
        """Why the lock is no longer held, as a part of a sentence ("it was taken over by …"), or ``None``."""
        if self._lost is None and (compromise := self._lease.compromise) is not None:
            self._lost = self._seen() or f"it could not be refreshed ({compromise.error or compromise.reason})"
        elif self._lost is None and time.monotonic() - self._looked >= LOOK:
            self._lost = self._seen()
            self._looked = time.monotonic()
        return self._lost

    def _seen(self) -> str | None:
        """What the file itself says; the heartbeat notices too, but late after the process was stopped."""
        owner = self._lease.owner
        if owner is not None:
            taken = owner.token != self._lease.token
            return f"it was taken over by process {owner.pid} on {owner.hostname}" if taken else None
        return None if os.path.lexists(self._lease.lock_file) else "its file was removed"


@contextmanager
def claim(directory: Path) -> Iterator[Claim]:
    """Make ``directory`` and hold its lock for the block.

    Raises:
        LockedError: where another process holds it; names its host and number.
        UserError: where the directory cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lease = _lease(directory)
        with _turn(directory):
            _acquire(lease, directory)
    except OSError as error:
        raise UserError(
            f"{directory} cannot be written ({error.strerror}): choose another place with outputs=PATH."
        ) from error
    try:
        yield Claim(lease)
    finally:
        lease.release()


def is_held(directory: Path) -> bool:
    """Return whether a live process holds the lock of ``directory``; one system call where there is no lock.

    A process of this host that was killed holds nothing. One of another host holds the lock for `LEASE` seconds after
    its last sign of life, by the clock of this host or of the file system.
    """
    sign = _sign_of_life(directory)
    if sign is None:
        return False
    if sign.counts_at(time.time()):
        return True
    try:
        return sign.counts_at(_clock(directory))
    except OSError:  # to us it can only be read
        return False


class Sign(NamedTuple):
    """When an owner gave its last sign of life, by the clock of the file system, and for how many seconds it counts."""

    time: float
    seconds: float

    def counts_at(self, now: float) -> bool:
        return now - self.time < self.seconds


def _sign_of_life(directory: Path) -> Sign | None:
    """Return the last sign of life of the lock's owner, ``None`` where it has none or a dead one of this host."""
    try:
        seen = (directory / FILE_NAME).lstat()
    except OSError:  # there is no lock, or no directory
        return None
    if seen.st_size == 0:  # also what an unclean end or an older kind of lock leaves behind
        return Sign(seen.st_mtime, WRITING)
    owner = _lease(directory).owner
    if owner is not None and owner.hostname == socket.gethostname() and not _alive(owner.pid):
        return None
    return Sign(seen.st_mtime, LEASE)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    try:  # killed, and whoever started it has not asked for its exit code: in a container perhaps nobody ever does
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (OSError, ValueError, IndexError):  # not Linux, or it has ended by now
        return True


def _lease(directory: Path) -> SoftFileLease:
    from filelock import SoftFileLease

    return SoftFileLease(
        directory / FILE_NAME,
        lease_duration=LEASE,
        heartbeat_interval=HEARTBEAT,
        thread_local=False,  # so that any thread may ask for the token and release
        close_error_policy="suppress",  # a network that ends when the work is done spoils nothing
    )


def _acquire(lease: SoftFileLease, directory: Path) -> None:
    """Take the lock, from an owner who is gone if need be.

    Raises:
        LockedError: where it is held.
        OSError: where the directory cannot be written.
    """
    from filelock import LeaseSettingsMismatch, Timeout

    left = False
    for _ in range(3):  # the first try may only clear away what an owner who is gone has left
        left = left or os.path.lexists(lease.lock_file)
        sign = _sign_of_life(directory)
        if sign is not None and not sign.counts_at(time.time()) and sign.counts_at(_clock(directory)):
            break  # its owner lives; it is this host's clock that is ahead
        owner = lease.owner
        if owner is not None and owner.hostname == socket.gethostname() and not _alive(owner.pid):
            Path(lease.lock_file).unlink(missing_ok=True)  # filelock takes one that nobody has waited for as alive
        try:
            lease.acquire(timeout=0)
        except Timeout:
            continue
        except LeaseSettingsMismatch:
            break
        if left:
            time.sleep(SETTLE)
        if (owner := lease.owner) is not None and owner.token == lease.token:
            return
        lease.release()
    owner = lease.owner
    who = "" if owner is None else f" (process {owner.pid} on {owner.hostname})"
    raise LockedError(
        f"{directory} is being trained by another process{who}: wait for it, or end it; "
        f"if it is gone, delete {lease.lock_file}."
    )


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """Let the processes of this host claim ``directory`` one after the other.

    Without it two that find the same dead owner get in both: one removes what the other has just written.
    The kernel's lock of the directory itself needs no file, and most file systems have it, at least within a host.
    """
    try:
        import fcntl
    except ImportError:  # not Unix, where nobody can remove what another has open
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        end = time.monotonic() + TURN
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise LockedError(f"{directory} is being claimed by another process: try again.") from error
                time.sleep(0.01)
            except OSError:  # this file system does not have it
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)


def _clock(directory: Path) -> float:
    """The time by the clock that dates the files of ``directory``, which may be a file server's."""
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_mtime
