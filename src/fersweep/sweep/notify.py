"""Notification at the end of a sweep or search: a command of the user's, ``hydra.launcher.on_end``.

It is run without a shell by the process that has waited for the runs, and never changes its exit code.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fersweep.config.combinations import plain_value
from fersweep.errors import UserError
from fersweep.runs.collect import collect, read
from fersweep.text import visible
from fersweep.training import typed

LIMIT_S = 60.0
"""Seconds after which the command is ended."""

SETTING = "hydra.launcher.on_end"

State = Literal["done", "failed", "interrupted"]


@dataclass
class Begun:
    """Runs that have begun, by their directories or else by the folders of their sweeps; nothing while none has."""

    runs: Sequence[Path] = ()
    folders: Sequence[Path] = ()

    def variables(self, state: State) -> dict[str, str]:
        """Return the command's environment: folder, state, and numbers of runs."""
        found = list(map(read, self.runs))
        for folder in () if self.runs else self.folders:
            with suppress(UserError):  # it has no run
                found += collect(folder)
        states = Counter(run.state for run in found)
        folders = dict.fromkeys(str(folder.absolute()) for folder in self.folders)
        return {
            "FERSWEEP_SWEEP": os.pathsep.join(folders),
            "FERSWEEP_STATE": state,
            "FERSWEEP_RUNS": str(len(found)),
            **{f"FERSWEEP_{each.upper()}": str(states[each]) for each in ("done", "failed", "pruned")},
        }


def words(on_end: Any, waits: bool = True) -> list[str]:
    """Return the command as words, none if there is none; a text is split as a shell would, but nothing is expanded.

    Raises:
        UserError: it is not a command, its program does not exist here, or nobody ``waits`` for the end.
    """
    if on_end is None:
        return []
    if not waits:
        raise UserError(
            f"{SETTING} has no effect with hydra.launcher.wait=false, as nobody waits for the end: leave out one of "
            "them."
        )
    plain = plain_value(on_end)
    if not isinstance(plain, str) and not (
        isinstance(plain, list) and all(isinstance(each, str | int | float) for each in plain)
    ):
        raise UserError(f"{SETTING}={plain} is not a command: write a program and its arguments.")
    try:
        found = shlex.split(plain) if isinstance(plain, str) else [str(each) for each in plain]
    except ValueError as error:
        raise UserError(f"{SETTING} is not a command ({error}): write a program and its arguments.") from error
    if not found:
        raise UserError(f"{SETTING} is empty: write a program and its arguments, or null for none.")
    found[0] = os.path.expanduser(found[0])  # noqa: PTH111 - a name without a folder must stay one
    if shutil.which(found[0]) is None:
        raise UserError(f"{SETTING}: there is no program {found[0]} here: write one that exists, with its path.")
    return found


@contextmanager
def at_end(command: Sequence[str]) -> Iterator[Begun]:
    """Run the command when the block ends, however it ends, if it has noted runs or folders that have begun."""
    begun = Begun()
    state: State = "failed"
    try:
        yield begun
        state = "done"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    except SystemExit as end:
        if end.code in (None, 0):
            state = "done"
        elif end.code in (130, 143):
            state = "interrupted"
        raise
    finally:
        if command and (begun.runs or begun.folders):
            with suppress(OSError):  # nobody reads the output any more
                _tell(command, begun, state)


def _tell(command: Sequence[str], begun: Begun, state: State) -> None:
    """Run the command, and print a line if it fails."""
    sys.stdout.flush()
    try:
        why = run(command, begun.variables(state))
    except (OSError, UserError) as error:
        why = f"could not be told of the end: {error}"
    if why:
        print(f"warning: {SETTING} ({visible(command[0])}) {visible(why)}", file=sys.stderr, flush=True)


def run(command: Sequence[str], variables: dict[str, str]) -> str:
    """Run a command with further variables; return why it failed, empty if it did not. Its output is not shown."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                env={key: value for key, value in os.environ.items() if key != typed.VARIABLE} | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"could not be started: {error}"
        try:
            code = process.wait(LIMIT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            took = isinstance(error, subprocess.TimeoutExpired)
            return f"was ended after {LIMIT_S:g} seconds" if took else "was interrupted"
        output.seek(0)
        said = output.read().decode("utf-8", "replace").strip().splitlines()[-1:]
    return "" if code == 0 else ": ".join([f"failed with exit code {code}", *(line[:200] for line in said)])
