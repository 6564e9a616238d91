"""Errors that a user can correct."""

from __future__ import annotations


class UserError(ValueError):
    """Mistake of the user, in one sentence: what, where, and what to do.

    Commands print it without a traceback and exit with a non-zero code.
    """


class NotFiniteError(UserError):
    """Loss that became NaN or infinite: the weights are useless."""


class LockLostError(UserError):
    """Lock of a run's directory that another process has taken over."""
