"""Send what runs recorded offline to Weights & Biases, once, in order of time.

Each start of a run that records offline leaves a directory ``<run>/wandb/offline-run-<time>-<id>``; a run that was
interrupted and went on has several with one id. ``wandb sync`` (0.31) sends one such directory. With
``WANDB_RESUME=allow`` it asks the server for the run of that id first and moves the steps of the directory behind the
last one there, so that a later part, whose own steps begin at 0 again, joins the earlier ones; without, the server
would drop every row with a step that it already has. What was sent is marked by a file ``run-<id>.wandb.synced``.
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
from fersweep.runs.lock import is_held
from fersweep.tracking import account

if TYPE_CHECKING:
    from rich.table import Table

LIMIT_S = 600.0
"""How long one directory may take; W&B itself tries for hours when the server answers with errors."""

NAME = re.compile(r"offline-run-(?P<time>\d{8}_\d{6})-(?P<run>.+)")
OF_A_RUN = ("RUN_ID", "RUN_GROUP", "NAME", "NOTES", "TAGS", "JOB_TYPE", "DISABLED", "SILENT", "QUIET")
"""Variables ``WANDB_…`` that are meant for a run that is being recorded, or that would hide what W&B says."""

State = Literal["sent", "unsent", "training", "failed", "waiting"]


@dataclass(frozen=True)
class Part:
    """An offline directory: one start of one run."""

    path: Path
    run: str
    time: str

    @property
    def in_training(self) -> bool:
        """Whether a process is at work in the run's directory."""
        return is_held(self.path.parents[1])

    @property
    def marker(self) -> Path:
        """The file that says that this part was sent, as W&B names it."""
        return self.path / f"run-{self.run}.wandb.synced"


@dataclass(frozen=True)
class Outcome:
    """What became of a part: ``sent``; ``unsent`` (a dry run); ``training`` (left for later); ``failed``;
    ``waiting`` (for an earlier part of its run, or for the server)."""

    part: Part
    state: State
    detail: str = ""


def sync(outputs: Path, *, dry_run: bool = False) -> list[Outcome]:
    """Send every offline part below a directory that was not sent yet, oldest first.

    A part that cannot be sent keeps back the later ones of its run, no others. A run that is being trained is left
    alone.

    Args:
        outputs: a directory with runs at any depth.
        dry_run: only look; needs no login.

    Returns:
        What became of each part, in order of time; see `render` and `exit_code`.

    Raises:
        UserError: where there is no such directory, no login, or no answer; then nothing was sent.
    """
    if not outputs.is_dir():
        raise UserError(f"{outputs} is no directory: name the one that holds the runs, by default outputs.")
    parts = unsent(outputs)
    if dry_run or not parts:
        return [Outcome(part, "training" if part.in_training else "unsent") for part in parts]
    account.require_account()

    from rich.console import Console
    from rich.progress import track

    outcomes: list[Outcome] = []
    held: set[str] = set()
    problem: str | None = None
    console = Console(stderr=True)
    for part in track(parts, "Sending", console=console, transient=True, disable=not console.is_terminal):
        if problem:
            outcome = Outcome(part, "waiting", problem)
        elif part.in_training:
            outcome = Outcome(part, "training", "left for later")
        elif part.run in held:
            outcome = Outcome(part, "waiting", "for the earlier part of this run")
        else:
            outcome = _send(part)
        if outcome.state != "sent":
            held.add(part.run)
        if outcome.state == "failed":
            problem = account.unreachable()
        outcomes.append(outcome)
    return outcomes


def unsent(outputs: Path) -> list[Part]:
    """Return the offline parts below ``outputs`` without the mark of having been sent, oldest first."""
    found = [
        Part(path, named["run"], named["time"])
        for path in outputs.rglob("wandb/offline-run-*")
        if (named := NAME.fullmatch(path.name)) and path.is_dir()
    ]
    return sorted((part for part in found if not part.marker.exists()), key=lambda part: (part.time, part.path))


def render(outcomes: Iterable[Outcome], outputs: Path) -> Table:
    """Return a table with a row for each part."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("run", "recorded", "directory", "state", "detail")
    for each in outcomes:
        part, time = each.part, each.part.time
        when = f"{time[:4]}-{time[4:6]}-{time[6:8]} {time[9:11]}:{time[11:13]}:{time[13:]}"
        where = part.path.relative_to(outputs).parents[1]
        table.add_row(part.run, when, escape(str(where)), each.state, escape(each.detail))
    return table


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return 1 if a part could not be sent that should have been, else 0."""
    return int(any(each.state in ("failed", "waiting") for each in outcomes))


def _send(part: Part) -> Outcome:
    """Send one part with ``wandb sync``, whose exit code is 0 whatever happened: its words and its mark count."""
    try:
        said = _wandb_sync(part.path)
    except subprocess.TimeoutExpired:
        return Outcome(part, "failed", f"not done in {LIMIT_S:.0f} s")
    errors = re.findall(r"^wandb: ERROR (?:\[[^\]]*\] )?(.*)$", said, flags=re.MULTILINE)
    if errors and all(_cut_off(error) for error in errors):
        part.marker.touch()
        return Outcome(part, "sent", "up to where the recording was cut off")
    if not errors and part.marker.exists():
        return Outcome(part, "sent")
    part.marker.unlink(missing_ok=True)  # W&B sets it also when the server refused the numbers
    lines = [line.removeprefix("wandb: ") for line in said.splitlines() if line.strip()]
    return Outcome(part, "failed", errors[0] if errors else lines[-1] if lines else "W&B said nothing")


def _cut_off(error: str) -> bool:
    """Return whether W&B complains that a file ends early: its process was killed, and there will never be more."""
    return "incomplete record" in error or ("transactionlog" in error and "EOF" in error)


def _wandb_sync(directory: Path) -> str:
    """Run ``wandb sync`` for one directory, without a terminal; return what it says, the key blotted out.

    Raises:
        subprocess.TimeoutExpired: after `LIMIT_S`; it is killed then, and its own helper process ends by itself.
    """
    left_out = {f"WANDB_{name}" for name in OF_A_RUN}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    with tempfile.TemporaryDirectory(prefix="fersweep-") as logs:
        ours = {"RESUME": "allow", "MODE": "online", "DIR": logs, "BASE_URL": account.base_url()}
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", str(directory.resolve())],
            env=kept | {f"WANDB_{name}": value for name, value in ours.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    key = account.api_key()
    return done.stdout.replace(key, "…") if key else done.stdout
