"""Directories that were removed, or cannot be written, while their run is trained: one sentence, no traceback."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fersweep.errors import LockLostError, UserError
from fersweep.text import first_line

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of writing alone."""

DENIED = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOENT)
"""Errors that name a file, which may be another's."""


@contextmanager
def writable(directory: Path) -> Iterator[None]:
    """Turn an error in the block that comes from the directory of a run into one sentence; others stay as they are.

    Raises:
        LockLostError: the directory no longer exists.
        UserError: it cannot be written: the disk is full, read-only or no longer accessible.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if directory.parent.exists() and not directory.exists():
            raise removed(directory) from error
        if isinstance(error, OSError) and (path := _unwritable(directory, error)) is not None:
            raise UserError(
                f"{path} cannot be written ({error.strerror or first_line(error)}): free or restore the disk, "
                "and run the same command to resume from the last complete epoch."
            ) from error
        raise


def removed(directory: Path) -> LockLostError:
    """Return the error for a directory that does not exist any more."""
    return LockLostError(
        f"{directory} was removed while its run was being trained: run the same command to start it afresh."
    )


def _unwritable(directory: Path, error: OSError) -> Path | None:
    """Return the place that an error is about, if it is about writing a run."""
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    inside = named is not None and named.absolute().is_relative_to(directory.absolute())
    if error.errno in FULL:
        return directory if named is None or inside else named
    return directory if error.errno in DENIED and inside else None
