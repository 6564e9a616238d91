"""Upload of offline recordings to Weights & Biases, each once, in order of time.

Each start of a run that records offline leaves a part, a directory ``<run>/wandb/offline-run-<time>-<id>``; a resumed
run has several parts with one id. ``wandb sync`` (0.31) uploads one part. With ``WANDB_RESUME=allow`` it moves the
steps of the part, which begin at 0, behind the last step on the server; without, the server drops rows with steps that
it has. An uploaded part is marked by a file ``run-<id>.wandb.synced``. One whose numbers arrived, but not all of its
artifacts (tables, pictures, models), also by ``run-<id>.artifacts.unsent``; it is sent again without that variable, so
that the server drops the rows it has, and recognises artifacts that it has by their digest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fersweep.errors import UserError
from fersweep.runs.lock import is_locked
from fersweep.tracking import account

if TYPE_CHECKING:
    from rich.table import Table

LIMIT_S = 600.0
"""Time-out of one part; W&B retries for hours if the server answers with errors."""

NAME = re.compile(r"offline-run-(?P<time>\d{8}_\d{6})-(?P<run>.+)")
OF_A_RUN = ("RUN_ID", "RESUME", "RUN_GROUP", "NAME", "NOTES", "TAGS", "JOB_TYPE", "DISABLED", "SILENT", "QUIET")
"""Variables ``WANDB_…`` for recording, or that would silence W&B."""

LOST = "failed to log artifact"
"""Text in the log of ``wandb sync`` for an artifact that was not uploaded; its output and exit code do not tell."""

State = Literal["sent", "unsent", "training", "failed", "incomplete", "waiting"]


@dataclass(frozen=True)
class Part:
    """An offline recording of one start of a run."""

    path: Path
    run: str
    time: str

    @property
    def in_training(self) -> bool:
        """True while the run is being trained."""
        return is_locked(self.path.parents[1])

    @property
    def marker(self) -> Path:
        """W&B's marker file of an uploaded part."""
        return self.path / f"run-{self.run}.wandb.synced"

    @property
    def lacking(self) -> Path:
        """Our marker file of a part whose artifacts are not all uploaded."""
        return self.path / f"run-{self.run}.artifacts.unsent"


@dataclass(frozen=True)
class Outcome:
    """Outcome of a part.

    ``waiting`` is for an earlier part of its run or for the server, ``unsent`` for a dry run; of an ``incomplete`` part
    the numbers are sent, but not all artifacts.
    """

    part: Part
    state: State
    detail: str = ""


def sync(outputs: Path, *, dry_run: bool = False) -> list[Outcome]:
    """Upload the unsent parts below a directory, oldest first.

    A part that fails holds back the later parts of its run only. Runs in training are skipped.

    Args:
        outputs: directory with runs at any depth.
        dry_run: only list them; needs no login.

    Returns:
        The outcome of each part, in order of time.

    Raises:
        UserError: the directory does not exist, there is no login, or the server does not answer; nothing is sent.
    """
    if not outputs.is_dir():
        raise UserError(f"{outputs} is not a directory: name the one that holds the runs, by default outputs.")
    parts = unsent(outputs)
    if dry_run or not parts:
        return [Outcome(part, "training" if part.in_training else "unsent") for part in parts]
    account.require_account()

    from rich.console import Console
    from rich.progress import track

    outcomes: list[Outcome] = []
    problem: str | None = None
    console = Console(stderr=True)
    for part in track(parts, "Sending", console=console, transient=True, disable=not console.is_terminal):
        if problem:
            outcome = Outcome(part, "waiting", problem)
        elif part.in_training:
            outcome = Outcome(part, "training", "left for later")
        elif any(each.part.run == part.run and each.state not in ("sent", "incomplete") for each in outcomes):
            outcome = Outcome(part, "waiting", "for the earlier part of this run")
        else:
            outcome = _send(part)
        if outcome.state == "failed":
            problem = account.unreachable()
        outcomes.append(outcome)
    return outcomes


def unsent(outputs: Path) -> list[Part]:
    """Return the parts below ``outputs`` that are not marked as sent, or as incomplete, oldest first."""
    found = [
        Part(path, named["run"], named["time"])
        for path in outputs.rglob("wandb/offline-run-*")
        if (named := NAME.fullmatch(path.name)) and path.is_dir()
    ]
    left = (part for part in found if not part.marker.exists() or part.lacking.exists())
    return sorted(left, key=lambda part: (part.time, part.path))


def render(outcomes: Iterable[Outcome], outputs: Path) -> Table:
    """Return a table with one row per part."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("run", "recorded", "directory", "state", "detail", box=None, header_style="dim", pad_edge=False)
    for each in outcomes:
        part, time = each.part, each.part.time
        when = f"{time[:4]}-{time[4:6]}-{time[6:8]} {time[9:11]}:{time[11:13]}:{time[13:]}"
        where = part.path.relative_to(outputs).parents[1]
        table.add_row(part.run, when, escape(str(where)), each.state, escape(each.detail))
    return table


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return 1 if a part failed, is incomplete or waits, else 0."""
    return int(any(each.state in ("failed", "incomplete", "waiting") for each in outcomes))


def _send(part: Part) -> Outcome:
    """Upload one part with ``wandb sync``, and judge by its output, log and marker: its exit code is always 0."""
    again = part.marker.exists()
    try:
        said, lost = _wandb_sync(part.path, again)
    except subprocess.TimeoutExpired:
        return Outcome(part, "failed", f"not done in {LIMIT_S:.0f} s")
    errors = re.findall(r"^wandb: ERROR (?:\[[^\]]*\] )?(.*)$", said, flags=re.MULTILINE)
    cut_off = bool(errors) and all(map(_cut_off, errors))
    if cut_off:
        part.marker.touch()
    if (errors and not cut_off) or not part.marker.exists():
        if not again:  # W&B sets it even if the server refused the metrics
            part.marker.unlink(missing_ok=True)
        lines = [line.removeprefix("wandb: ") for line in said.splitlines() if line.strip()]
        return Outcome(part, "failed", errors[0] if errors else lines[-1] if lines else "no message from W&B")
    if lost:
        part.lacking.touch()
        return Outcome(part, "incomplete", "a model, table or picture was not uploaded; the same command tries again")
    part.lacking.unlink(missing_ok=True)
    return Outcome(part, "sent", "up to where the recording was cut off" if cut_off else "")


def _cut_off(error: str) -> bool:
    """Return whether W&B reports that a file ends early, as that of a killed process does."""
    return "incomplete record" in error or ("transactionlog" in error and "EOF" in error)


def _wandb_sync(directory: Path, again: bool) -> tuple[str, bool]:
    """Run ``wandb sync`` for one directory; return its output without the key, and whether it lost an artifact.

    Args:
        directory: of a part.
        again: its numbers are on the server.

    Raises:
        subprocess.TimeoutExpired: after `LIMIT_S`.
    """
    removed = {f"WANDB_{name}" for name in OF_A_RUN}
    kept = {name: value for name, value in os.environ.items() if name not in removed}
    with tempfile.TemporaryDirectory(prefix="fersweep-") as logs:
        ours = {"MODE": "online", "DIR": logs, "BASE_URL": account.base_url()}
        ours |= {} if again else {"RESUME": "allow"}
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", "--include-synced", str(directory.resolve())],
            env=kept | {f"WANDB_{name}": value for name, value in ours.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
        lost = any(LOST in log.read_text(encoding="utf-8", errors="replace") for log in Path(logs).rglob("*.log"))
    key = account.api_key()
    return done.stdout.replace(key, "…") if key else done.stdout, lost
