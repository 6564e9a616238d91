"""The verdict on commands that got damaged input: they succeed or refuse in one sentence, in time and memory."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from fersweep import build
from fersweep.cli.main import main
from fersweep.config import options
from fersweep.config.command_line import check_command_line
from fersweep.config.compose import compose_config
from fersweep.errors import UserError
from fersweep.text import SENTENCE, shortened, visible
from fersweep.training.attempt import prepare

MEMORY = 2**30
"""Bytes that an input may take beyond what the process had before."""

SILENT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Warnings that Python does not show to users."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of one input.

    Attributes:
        refused: a command ended with code 2.
        faults: what must not happen, in words; empty if nothing did.
    """

    refused: bool
    faults: tuple[str, ...] = ()


def begin(arguments: Sequence[str]) -> int:
    """Do what ``train.py`` does before its first training step: check, compose, build, read and split; return its code.

    Of a sweep the first run is composed alone, as the command line's check does.
    """
    try:
        checked = check_command_line(arguments)
        if any(each.startswith("-") for each in checked):
            return 0
        cfg = compose_config(checked)
        prepare(cfg, here=False)
        build.datamodule(cfg, build.samples(cfg))
    except UserError as error:
        print(f"error: {visible(shortened(error))}", file=sys.stderr)
        return 2
    return 0


@dataclass(frozen=True)
class Trial:
    """One input.

    Attributes:
        commands: arguments of ``fersweep``; ``train`` only begins.
        check: a test of this input alone, which returns a fault or ``None``.
        passes: the input is not damaged, and must be accepted.
    """

    commands: Sequence[Sequence[str]]
    check: Callable[[], str | None] | None = None
    passes: bool = False


def judge(trial: Trial) -> Verdict:
    """Run the commands of a trial in this process and return the verdict."""
    refused, faults, before = False, [], memory(reset=True)
    for command in trial.commands:
        options._added.clear()  # folders of options of an earlier command, as a new process has none
        GlobalHydra.instance().clear()
        code, out, told, fault = _run(command)
        faults += [f"{_line(command)}: {each}" for each in (*_faults(code, out, told), fault) if each]
        if trial.passes and code != 0:
            faults.append(f"{_line(command)}: valid input is refused: {told[:300]!r}")
        refused |= code == 2
    if trial.check is not None and (fault := trial.check()):
        faults.append(fault)
    taken = memory() - before
    if taken > MEMORY:
        faults.append(f"{_line(trial.commands[0])}: took {taken / 2**20:.0f} MiB")
    return Verdict(refused, tuple(faults))


def _run(command: Sequence[str]) -> tuple[int, str, str, str | None]:
    """Return exit code, output, errors and what a warning or exception said."""
    fault = None
    with _captured() as (out, told), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            code = begin(command[1:]) if command[0] == "train" else main(list(command))
        except SystemExit as end:  # of argparse
            code = end.code if isinstance(end.code, int) else 1
        except BaseException as error:  # this is what is searched for
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)
            ours = next((each for each in reversed(where) if "fersweep" in each.filename), where[-1])
            place = f"{Path(ours.filename).name}:{ours.lineno}"
            return 3, "", "", f"{type(error).__name__} at {place}: {visible(str(error))[:300]!r}"
    loud = [each for each in warned if not issubclass(each.category, SILENT)]
    if loud:
        fault = f"{loud[0].category.__name__}: {visible(str(loud[0].message))[:200]!r}"
    return code, out(), told(), fault


def _faults(code: int, out: str, told: str) -> Iterator[str]:
    """Yield what is wrong with the end and the output of a command."""
    if code not in (0, 1, 2, 3):
        yield f"exit code {code}"
    if "Traceback (most recent call last)" in out + told:
        yield f"a traceback is printed: {told[-300:]!r}"
    if code == 2:
        lines = told.splitlines()
        last = lines[-1] if lines else ""
        usage = told.startswith("usage: ")  # of argparse
        if not usage and not (
            last.startswith("error: ") and [each for each in lines if each.startswith("error: ")] == [last]
        ):
            yield f"no single sentence: {told[:300]!r}"
        if len(last) > 2 * SENTENCE:
            yield f"a sentence of {len(last)} characters: {last[:200]!r}"
    shown = (out + told).replace("\r\n", "\n")  # as CSV ends its lines
    if strange := next((each for each in shown if not each.isprintable() and each not in "\n\t"), None):
        yield f"prints the character {strange!r}: {(told or out)[:300]!r}"


@contextlib.contextmanager
def _captured() -> Iterator[tuple[Callable[[], str], Callable[[], str]]]:
    """Capture both outputs in streams that encode as those of a process do."""
    out, told = io.BytesIO(), io.BytesIO()
    streams = io.TextIOWrapper(out, "utf-8"), io.TextIOWrapper(told, "utf-8", errors="backslashreplace")
    handlers = list(logging.getLogger().handlers)
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        yield lambda: _text(out, streams[0]), lambda: _text(told, streams[1])
    logging.getLogger().handlers[:] = handlers


def _text(written: io.BytesIO, stream: io.TextIOWrapper) -> str:
    stream.flush()
    return written.getvalue().decode()


def memory(reset: bool = False) -> int:
    """Return the peak of this process's memory in bytes, since the last reset; 0 where Linux does not tell."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        fields = Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()
    except OSError:
        return 0
    return int(fields[0]) * 1024


def _line(command: Sequence[str]) -> str:
    return visible(" ".join(each if len(each) < 60 else f"{each[:30]}…" for each in command)).replace(
        str(Path.cwd()), "."
    )
