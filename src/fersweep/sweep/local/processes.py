"""Processes of runs, forked in milliseconds from a server that has imported everything they need."""

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

from fersweep.errors import UserError
from fersweep.runs.lock import ELSEWHERE, claim, is_locked
from fersweep.runs.status import Status, mark_failed, mark_pending

NOT_INHERITED = (
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
"""Variables of another run's environment: with them a run would act as a rank of that one, or use its W&B process."""

SERVER = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Environment of the fork server, which must not start threads to be forked safely. Runs set theirs through torch."""

ERROR = re.compile(r"error: .|[A-Za-z_][\w.]*(Error|Exception)(: |$)")
"""Line of a log with the cause of a failure: a sentence for the user, or the last line of a traceback."""

LOST = 255
"""Exit code that multiprocessing gives a process whose end it cannot see, because the fork server has died."""

SERVER_DIED = "the fork server, which starts the processes of runs, was killed, perhaps out of memory"

GRACE = 15.0
"""Seconds between SIGTERM and SIGKILL."""


def warm_up() -> None:
    """Start the fork server unless it runs; it imports torch and Lightning in the background.

    Raises:
        UserError: it cannot create its socket.
    """
    multiprocessing.set_forkserver_preload(["fersweep.sweep.local.server"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the caller ends the server
    try:
        with environment(SERVER, without=NOT_INHERITED):
            forkserver.ensure_running()
    except OSError as error:
        raise UserError(
            f"The folder for temporary files, {tempfile.gettempdir()}, cannot hold a socket ({error}): "
            "set TMPDIR to a shorter path that can be written."
        ) from error
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def environment(values: Mapping[str, str], without: Iterable[str]) -> Iterator[None]:
    """Set and remove environment variables within the block."""
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
    """The processes of one run, one per rank; if one fails, all end.

    Args:
        config: resolved.
        directory: of the run.
        threads: per process; ``None`` leaves torch's default.
        gpus: ids for ``CUDA_VISIBLE_DEVICES``; ``None`` leaves it unchanged.
        console: leave rank zero's output on the terminal; all other output is appended to the run's ``train.log``.
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
        variables = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        port = _free_port()
        context = multiprocessing.get_context("forkserver")
        self.processes: list[Any] = []
        self._first_failed: list[int | None] = []
        self._asked: float | None = None
        log = directory / "train.log"
        self._log_start = log.stat().st_size if log.is_file() else 0
        for rank in range(count):
            output = None if console and rank == 0 else log
            if count > 1:
                variables = variables | _rank_environment(rank, count, port)
            process = context.Process(target=work, args=(dict(config), variables, threads, output, Path.cwd()))
            try:
                process.start()
                self.processes.append(process)
            except BaseException:
                self.end()  # the started ranks would wait for the others
                raise

    @property
    def sentinels(self) -> list[int]:
        """Handles of running processes for `multiprocessing.connection.wait`."""
        return [process.sentinel for process in self.processes if process.exitcode is None]

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def ended(self) -> bool:
        """Return whether all have ended; after one has failed, end the others, by SIGKILL after `GRACE`."""
        codes = [process.exitcode for process in self.processes]
        if any(codes) and not self._first_failed:
            self._first_failed = codes
            self.ask_to_end()
        if self._asked is not None and time.monotonic() - self._asked > GRACE:
            self._signal(signal.SIGKILL)
        return all(code is not None for code in codes) and not (LOST in codes and self._survives())

    def _survives(self) -> bool:
        """Return whether a process that outlived the fork server still owns the run; gives up after `GRACE`."""
        return is_locked(self.directory) and self._asked is not None and time.monotonic() - self._asked < 2 * GRACE

    def ask_to_end(self) -> None:
        """Send SIGTERM, on which a run closes its files and can be resumed later."""
        if self._asked is None:  # a second signal would interrupt the clean-up
            self._asked = time.monotonic()
            self._signal(signal.SIGTERM)

    def end(self) -> None:
        """Send SIGTERM, after `GRACE` SIGKILL, and wait."""
        self.ask_to_end()
        while not self.ended():
            connection.wait(self.sentinels, timeout=0.5)

    def failure(self, why: str | None = None) -> str | None:
        """Return why the ended run is not done, or ``None`` if it is; ``status.json`` records it too.

        Args:
            why: the caller's reason for ending it.
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
        if why is None and LOST in codes:
            why = SERVER_DIED
        if why is not None:
            _record_failure(self.directory, why)
            return why
        if news and status.error is not None:
            return f"{status.error['type']}: {status.error['message']}"
        code = next(code for code in (*codes, 0) if code is not None)
        why = self._last_error() or f"ended with exit code {code} and state {status.state}"
        if status.state == "running":  # it could not write its own status, as on a full disk
            _record_failure(self.directory, why)
        return why

    @property
    def elsewhere(self) -> bool:
        """True if the run ended because another process is training it."""
        return self.processes[0].exitcode == ELSEWHERE

    def _signal(self, number: int) -> None:
        for process in self.processes:
            if process.exitcode in (None, LOST):
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    try:
                        os.killpg(process.pid, number)
                    except ProcessLookupError:  # it has not yet created its process group
                        os.kill(process.pid, number)

    def _last_error(self) -> str:
        """Return the last error in the log, the only trace of one before the run began or after it ended."""
        log = self.directory / "train.log"
        if not log.is_file():
            return ""
        with log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode("utf-8", "replace").splitlines()
        return next((line.removeprefix("error: ") for line in reversed(lines) if ERROR.match(line)), "")


def _status(directory: Path) -> Status | str:
    """Return the status of a run, or the sentence that it cannot be read."""
    try:
        return Status.read(directory)
    except UserError as error:
        return str(error)


def _rank_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """Return torch's variables for one rank of ``count`` on this machine."""
    values = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "GROUP_RANK": 0}
    return {key: str(value) for key, value in {**values, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _killed(rank: int, code: int, count: int) -> str:
    who = "its process" if count == 1 else f"rank {rank} of {count}"
    name = signal.Signals(-code).name
    hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
    return f"{who} was killed by signal {-code} ({name}{hint})"


def _record_failure(directory: Path, why: str) -> None:
    """Record a failure that the run could not record itself, unless another process has claimed it."""
    with contextlib.suppress(UserError, OSError), claim(directory):  # claimed or not writable: the table shows it
        if Status.read(directory).state != "done":
            mark_pending(directory)  # replaces the error of a rank that only lost its peer
            mark_failed(directory, ("Ended", why))


def run_in_ranks(config: Mapping[str, Any], directory: Path) -> float:
    """Train one run in ``trainer.devices`` processes and return the best checkpoint's validation accuracy."""
    run = RunProcesses(config, directory, console=True, threads=share_of_cores(config["trainer"]["devices"]))
    try:
        while not run.ended():
            connection.wait(run.sentinels, timeout=1)
    except BaseException:
        run.end()
        raise
    if run.elsewhere:
        raise SystemExit(2)  # it has printed the reason
    why = run.failure()
    if why is None:
        result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
        return float(result["metrics"]["val/accuracy"])
    code = run.processes[0].exitcode
    if code != 2:
        print(f"error: {why}; log: {directory / 'train.log'}", file=sys.stderr)
    raise SystemExit(code if code == 2 else 1)


def share_of_cores(processes: int) -> int:
    """Return the threads for each of ``processes`` on this machine: ``OMP_NUM_THREADS``, or an equal share of cores."""
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    return max(1, cores() // processes)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
