"""The one exception type for what a user can put right."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user got wrong: one sentence saying what, where and what to do.

    Commands print its message without a traceback and exit with a non-zero code.
    """


class NotFiniteError(UserError):
    """A loss that became NaN or infinite: what was trained is of no use."""


class LockLostError(UserError):
    """The run's directory is another process's now: this one was away for too long, and must leave it alone."""
