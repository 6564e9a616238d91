"""The command line that started a process: as typed, although Hydra gets it quoted and completed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "FERSWEEP_TYPED"
"""Variable that tells the processes of a sweep what was typed, and for which arguments of Hydra."""

LARGEST = 50_000
"""Characters of a variable, of which Linux allows some 131,000."""


def remember(typed: Sequence[str], arguments: Sequence[str]) -> None:
    """Note what was typed, for this process and those that it starts.

    Args:
        typed: without the name of the program.
        arguments: what Hydra gets for it; values that an experiment sweeps count as if they had been typed.
    """
    keys = {_key(each) for each in typed}
    more = [each for each in arguments if _key(each) not in keys and not _key(each).startswith(("hydra", "-"))]
    note = json.dumps([[*typed, *more], list(arguments)])
    if len(note) <= LARGEST:
        os.environ[VARIABLE] = note
    else:
        os.environ.pop(VARIABLE, None)


def arguments() -> list[str]:
    """Return the arguments of this process as typed; as Hydra got them if that is not known."""
    here = sys.argv[1:]
    try:
        typed, its = json.loads(os.environ.get(VARIABLE, "[[], null]"))
    except ValueError:  # somebody else's variable
        return here
    return [str(each) for each in typed] if its == here else here


def program() -> list[str]:
    """Return the words that start the training: ``train.py``, ``fersweep train``, ``python -m fersweep train``."""
    started = Path(sys.argv[0])
    if started.stem == "fersweep":
        return ["fersweep", "train"]
    if (started.parent.name, started.name) == ("fersweep", "__main__.py"):
        return ["python", "-m", "fersweep", "train"]
    return [started.name]


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~")
