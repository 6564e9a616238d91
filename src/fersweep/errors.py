"""The one exception type for what a user can put right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user got wrong: one sentence saying what, where and what to do.

    Commands print its message without a traceback and exit with a non-zero code.
    """


class NotFiniteError(UserError):
    """A loss that became NaN or infinite: what was trained is of no use."""


class LockLostError(UserError):
    """The run's directory is another process's now: this one was away for too long, and must leave it alone."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `` (did you mean X?)`` for the closest of ``choices``, in capitals or not, or an empty string."""
    named = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(word.casefold(), list(named), n=1, cutoff=0.6)
    return f" (did you mean {named[close[0]]}?)" if close else ""


def printable(text: str) -> str:
    """A sentence or a file's name for a terminal: what cannot be printed, such as a line end, is escaped."""
    return text if text.isprintable() else repr(text)[1:-1]
