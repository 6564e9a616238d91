"""Fresh processes for runs, forked in milliseconds from a server that has imported everything they need."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

from fersweep.errors import UserError
from fersweep.runs.lock import ELSEWHERE, claim
from fersweep.runs.status import Status, mark_failed, mark_pending

NOT_HANDED_DOWN = (
    "RANK",
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "WANDB_SERVICE",
)
"""What another run leaves in the environment: a run that inherits it would think it is a rank of that one, or would
look for W&B's helper process of that one, which ends with it."""

SERVER = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""The fork server's own: a process with threads cannot be forked safely. Runs set theirs through torch."""

ERROR = re.compile(r"error: .|[A-Za-z_][\w.]*(Error|Exception)(: |$)")
"""The line of a log that says what went wrong: a sentence for the user, or the last of a traceback."""

GRACE = 15.0
"""Seconds between asking a process to end and ending it."""


def warm_up() -> None:
    """Start the server, if there is none yet; it imports torch and Lightning while the caller does something else.

    Raises:
        UserError: where it cannot make its socket.
    """
    multiprocessing.set_forkserver_preload(["fersweep.sweep.local.server"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's, who ends the server
    try:
        with _environment(SERVER, without=NOT_HANDED_DOWN):
            forkserver.ensure_running()
    except OSError as error:
        raise UserError(
            f"The folder for temporary files, {tempfile.gettempdir()}, cannot hold a socket ({error}): "
            "set TMPDIR to a shorter path that can be written."
        ) from error
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _environment(values: Mapping[str, str], without: Sequence[str] = ()) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    for name in without:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class RunProcesses:
    """The process of one run, or those of its ranks; what ends one of them ends all.

    Args:
        config: resolved.
        directory: the run's.
        threads: that each computes with; ``None`` leaves it to torch.
        gpus: the ids they may see (``CUDA_VISIBLE_DEVICES``); ``None`` leaves it as it is.
        console: leave rank zero's output on the terminal; otherwise it is appended to the run's ``train.log``, as that
            of the other ranks always is.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        directory: Path,
        threads: int | None = None,
        gpus: Sequence[str] | None = None,
        console: bool = False,
    ) -> None:
        from fersweep.sweep.local.worker import work

        warm_up()
        self.directory, self.begun, self._before = directory, time.monotonic(), _status(directory)
        count = config["trainer"]["devices"]
        seen = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        port = str(_free_port())
        context = multiprocessing.get_context("forkserver")
        self.processes: list[Any] = []
        self._first_failed: list[int | None] = []
        self._asked: float | None = None
        log = directory / "train.log"
        self._log_start = log.stat().st_size if log.is_file() else 0
        for rank in range(count):
            output = None if console and rank == 0 else log
            environment = seen if count == 1 else {**seen, **_place(rank, count, port)}
            process = context.Process(target=work, args=(dict(config), environment, threads, output, Path.cwd()))
            try:
                process.start()
                self.processes.append(process)
            except BaseException:
                self.end()  # or those that have begun would wait for the others
                raise

    @property
    def sentinels(self) -> list[int]:
        """What becomes ready when one of the processes ends, for `multiprocessing.connection.wait`."""
        return [process.sentinel for process in self.processes if process.exitcode is None]

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.begun

    def ended(self) -> bool:
        """Whether all have ended; where one has failed, the others are asked to, and made to after `GRACE`."""
        codes = [process.exitcode for process in self.processes]
        if any(codes) and not self._first_failed:
            self._first_failed = codes
            if self._asked is None:
                self.ask_to_end()
        if self._asked is not None and time.monotonic() - self._asked > GRACE:
            self._signal(signal.SIGKILL)
        return all(code is not None for code in codes)

    def ask_to_end(self) -> None:
        """Send SIGTERM: what is open is closed, and the run can go on another time."""
        if self._asked is None:  # a second signal would break into what the first has begun
            self._asked = time.monotonic()
            self._signal(signal.SIGTERM)

    def end(self) -> None:
        """Ask, wait for `GRACE`, and make them."""
        self.ask_to_end()
        while not self.ended():
            connection.wait(self.sentinels, timeout=0.5)

    def failure(self, why: str | None = None) -> str | None:
        """Why the run is not done now that its processes have ended, or ``None`` where it is; its status says it too.

        Args:
            why: what is known to whoever ended them.
        """
        status = _status(self.directory)
        if isinstance(status, str):
            return status
        codes = self._first_failed or [0]
        news = status != self._before
        if status.state == "done" and (news or not any(codes)):
            return None
        killed = [(rank, code) for rank, code in enumerate(codes) if code is not None and code < 0]
        if why is None and killed:
            why = _killed(*killed[0], len(self.processes))
        if why is not None:
            _record_failure(self.directory, why)
            return why
        if news and status.error is not None:
            return f"{status.error['type']}: {status.error['message']}"
        code = next(code for code in (*codes, 0) if code is not None)
        why = self._last_error() or f"ended with exit code {code} and state {status.state}"
        if status.state == "running":  # whoever was there could not even say this much, as when the disk is full
            _record_failure(self.directory, why)
        return why

    @property
    def elsewhere(self) -> bool:
        """Whether they ended because another process is training the run."""
        return self.processes[0].exitcode == ELSEWHERE

    def _signal(self, number: int) -> None:
        for process in self.processes:
            if process.exitcode is None:
                with contextlib.suppress(ProcessLookupError):  # it ends at this moment
                    try:
                        os.killpg(process.pid, number)
                    except ProcessLookupError:  # it has not come to make a group of its own
                        os.kill(process.pid, number)

    def _last_error(self) -> str:
        """Of what the processes printed: what went wrong before the run began, or after, stands there alone."""
        log = self.directory / "train.log"
        if not log.is_file():
            return ""
        with log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode("utf-8", "replace").splitlines()
        return next((line.removeprefix("error: ") for line in reversed(lines) if ERROR.match(line)), "")


def _status(directory: Path) -> Status | str:
    """What ``status.json`` says, or the sentence that it cannot be read."""
    try:
        return Status.read(directory)
    except UserError as error:
        return str(error)


def _place(rank: int, count: int, port: str) -> dict[str, str]:
    """Torch's variables of one rank among ``count`` on this machine."""
    of_all = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0"}
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **of_all}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _killed(rank: int, code: int, count: int) -> str:
    who = "its process" if count == 1 else f"rank {rank} of {count}"
    name = signal.Signals(-code).name
    hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"{who} was killed by signal {-code} ({name}{hint})"


def _record_failure(directory: Path, why: str) -> None:
    """Say in the run's status what its own processes could not, unless it is another's by now."""
    with contextlib.suppress(UserError, OSError), claim(directory):  # held or not writable: it is said in the table
        if Status.read(directory).state != "done":
            mark_pending(directory)  # what a rank said that only lost its neighbour gives way to the cause
            mark_failed(directory, ("Ended", why))


def run_in_ranks(config: Mapping[str, Any], directory: Path) -> float:
    """Train one run in as many processes as ``trainer.devices`` says, this one only looking after them.

    Returns:
        The best checkpoint's validation accuracy.
    """
    run = RunProcesses(config, directory, console=True, threads=share_of_cores(config["trainer"]["devices"]))
    try:
        while not run.ended():
            connection.wait(run.sentinels, timeout=1)
    except BaseException:
        run.end()
        raise
    if run.elsewhere:
        raise SystemExit(2)  # it has said so itself
    why = run.failure()
    if why is None:
        result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
        return float(result["metrics"]["val/accuracy"])
    code = run.processes[0].exitcode
    if code != 2:
        print(f"error: {why}; log: {directory / 'train.log'}", file=sys.stderr)
    raise SystemExit(code if code == 2 else 1)


def share_of_cores(processes: int) -> int:
    """How many threads each of so many processes computes with, so that they do not fight for cores.

    ``OMP_NUM_THREADS`` is heeded where it is set.
    """
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    return max(1, cores() // processes)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
