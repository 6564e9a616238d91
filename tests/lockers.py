"""Processes that own the lock of a directory, and locks of other hosts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fersweep.runs.lock import claim

HOLDER = """
import sys
from pathlib import Path
from fersweep.runs.lock import LockedError, claim

input()
try:
    with claim(Path(sys.argv[1])) as held:
        print("held", flush=True)
        while input() == "lost?":
            print(held.lost, flush=True)
except LockedError as error:
    print(error, flush=True)
"""
"""Claims on the first line of its input, answers "lost?", and lets go on any other line."""


NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Command that runs another in a PID namespace of its own, as a container does."""


def require_namespaces() -> None:
    """Skip the test where this process may not create PID namespaces."""
    if (
        not shutil.which(NAMESPACE[0])
        or subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("PID namespaces are not allowed here")


@contextmanager
def processes(
    script: str, *arguments: object, number: int = 1, under: Sequence[str] = ()
) -> Iterator[list[subprocess.Popen[str]]]:
    """Python processes that run ``script``, each ``under`` another command; none outlives the block."""
    command = [*under, sys.executable, "-c", script, *map(str, arguments)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)
    ]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
            each.communicate(timeout=60)


def ask(process: subprocess.Popen[str], line: str) -> str:
    """Write a line to the process and return the line it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().rstrip("\n")


def foreign(directory: Path, age: float, **changes: object) -> Path:
    """Leave a lock as process 7 of another host would, which last gave a sign of life ``age`` seconds ago."""
    with claim(directory):
        text = (directory / ".lock").read_text()
    for key, value in {"host": "elsewhere", "pid": 7, "token": "f" * 32, **changes}.items():
        text, found = re.subn(rf"(?m)^{key}=.*$", f"{key}={value}", text)
        assert found == 1
    written = directory / "another"
    written.write_text(text)
    os.utime(written, (time.time() - age,) * 2)
    return written.rename(directory / ".lock")


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
