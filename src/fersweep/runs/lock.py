"""The lock of a run's directory: one process at a time trains there, also on file systems without locks.

The lock is a file, ``.lock``, which names its owner (`filelock.SoftFileLease`, `fersweep.owner`). The owner
touches it every `HEARTBEAT` seconds. Another process takes it over at once if the owner is a dead process of the same
host and container, and otherwise if the file was not touched for `LEASE` seconds: the owner's host failed, or the owner
was suspended. An owner that resumes after that learns of it from `Claim.lost`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fersweep import compat
from fersweep.errors import UserError
from fersweep.owner import described, is_dead, sees_own_processes, with_place

if TYPE_CHECKING:
    from filelock import SoftFileLease

FILE_NAME = ".lock"

LEASE = 60.0
"""Seconds without a heartbeat after which a lock may be taken over; the same in every process, on every host."""

HEARTBEAT = LEASE / 3
"""Seconds between two heartbeats."""

LOOK = 1.0
"""Seconds for which `Claim.lost` caches its answer: a system call per batch is too slow on a network file system."""

WRITING = 2.0
"""Seconds for which an empty lock file counts as being written."""

TURN = 5.0
"""Seconds to wait for another process of this host that is claiming the same directory."""

SETTLE = 0.2
"""Seconds for which a lock must survive its take-over: another host may have taken it over as well."""

ELSEWHERE = 75
"""Exit code of a run that another process is training (``EX_TEMPFAIL`` of sysexits.h)."""


class LockedError(UserError):
    """The directory is being trained by another process."""


class Claim:
    """Ownership of a directory's lock, from `claim`.

    Training checks `lost` between batches and stops if it is not ``None``: another process may be training then.
    """

    def __init__(self, lease: SoftFileLease) -> None:
        self._lease = lease
        self._lost: str | None = None
        self._looked = time.monotonic()

    @property
    def lost(self) -> str | None:
        """The reason why the lock was lost, as part of a sentence ("it was taken over by …"), or ``None``."""
        if self._lost is None and (compromise := self._lease.compromise) is not None:
            self._lost = self._seen() or f"it could not be refreshed ({compromise.error or compromise.reason})"
        elif self._lost is None and time.monotonic() - self._looked >= LOOK:
            self._lost = self._seen()
            self._looked = time.monotonic()
        return self._lost

    def _seen(self) -> str | None:
        """Return the reason from the file; the heartbeat of a process that was suspended notices it only later."""
        owner = self._lease.owner
        if owner is not None:
            taken = owner.token != self._lease.token
            return f"it was taken over by {described(owner)}" if taken else None
        return None if os.path.lexists(self._lease.lock_file) else "its file was removed"


@contextmanager
def claim(directory: Path) -> Iterator[Claim]:
    """Create ``directory`` and own its lock for the duration of the block.

    Raises:
        LockedError: another process owns it; the message names its host and process number.
        UserError: the directory cannot be created or written.
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


def is_locked(directory: Path) -> bool:
    """Return whether a live process owns the lock of ``directory``; one system call if there is no lock.

    A killed process of this host and container owns nothing. Any other owns the lock for `LEASE` seconds after its last
    heartbeat, by the clock of this host or of the file system.
    """
    beat = _last_heartbeat(directory)
    if beat is None:
        return False
    if beat.is_valid_at(time.time()):
        return True
    try:
        return beat.is_valid_at(_clock(directory))
    except OSError:  # a directory that is read-only for us
        return False


class Heartbeat(NamedTuple):
    """An owner's last heartbeat: its time by the clock of the file system, and the seconds for which it is valid."""

    time: float
    seconds: float

    def is_valid_at(self, now: float) -> bool:
        return now - self.time < self.seconds


def _last_heartbeat(directory: Path) -> Heartbeat | None:
    """Return the last heartbeat of the lock's owner; ``None`` if none exists or it is known to be dead."""
    try:
        seen = (directory / FILE_NAME).lstat()
    except OSError:  # no lock, or no directory
        return None
    if seen.st_size == 0:  # also left behind by an unclean end or an older kind of lock
        return Heartbeat(seen.st_mtime, WRITING)
    if _has_dead_owner(_lease(directory)):
        return None
    return Heartbeat(seen.st_mtime, LEASE)


def _has_dead_owner(lease: SoftFileLease) -> bool:
    return (owner := lease.owner) is not None and is_dead(owner)


def _lease(directory: Path) -> SoftFileLease:
    return compat.lease_with_place(with_place, sees_own_processes)(
        directory / FILE_NAME,
        lease_duration=LEASE,
        heartbeat_interval=HEARTBEAT,
        thread_local=False,  # any thread may read the token and release the lock
        close_error_policy="suppress",  # a network failure after the work is done is harmless
    )


def _acquire(lease: SoftFileLease, directory: Path) -> None:
    """Take the lock, also from a dead owner.

    Raises:
        LockedError: a live process owns it.
        OSError: the directory cannot be written.
    """
    from filelock import LeaseSettingsMismatch, Timeout

    left = False
    for _ in range(3):  # the first try may only remove the file of a dead owner
        left = left or os.path.lexists(lease.lock_file)
        beat = _last_heartbeat(directory)
        named = lease.owner is not None  # else filelock removes a damaged file, or reports what is in its place
        if named and beat is not None and any(map(beat.is_valid_at, (time.time(), _clock(directory)))):
            break  # its owner lives, also if this host's clock is ahead
        if _has_dead_owner(lease):
            Path(lease.lock_file).unlink(missing_ok=True)  # filelock counts a zombie as alive
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
    who = "" if owner is None else f" ({described(owner)})"
    raise LockedError(
        f"{directory} is being trained by another process{who}: wait for it, or end it; "
        f"if it no longer exists, delete {lease.lock_file}."
    )


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """Let the processes of this host claim ``directory`` one after the other, with a kernel lock of the directory.

    Otherwise two processes that find the same dead owner both succeed: one removes the file that the other has just
    written. Most file systems support such locks, at least within a host.
    """
    try:
        import fcntl
    except ImportError:  # not Unix, where an open file cannot be removed
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
            except OSError:  # not supported by this file system
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)


def _clock(directory: Path) -> float:
    """Return the time by the clock that dates the files of ``directory``, which may be a file server's."""
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_mtime
