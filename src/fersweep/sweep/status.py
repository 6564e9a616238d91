"""The state of one run on disk, ``status.json``, and the atomic writes that the files of a run go through."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from fersweep.errors import UserError

FILE_NAME = "status.json"

State = Literal["pending", "running", "done", "failed"]
STATES: tuple[State, ...] = get_args(State)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what was written there becomes ``path`` when the block succeeds.

    A reader sees the old file or the whole new one, never a part, also after a power cut (``fsync``). When the block
    raises, ``path`` stays as it was and the temporary file is removed. The temporary name is hidden and keeps the
    suffix, so writers that go by it (images) work.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, obj: object) -> None:
    """Write ``obj`` to ``path`` as indented JSON, atomically.

    Raises:
        ValueError: for NaN or an infinity, which JSON does not have.
        TypeError: for an object JSON cannot hold.
    """
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Status:
    """What ``status.json`` of a run's directory says.

    Attributes:
        state: ``pending`` (not started, or interrupted), ``running``, ``done`` or ``failed``. A run that was killed
            still reads ``running``; whether somebody holds the lock of its directory tells the two apart.
        attempts: how often the run was started.
        started: when the latest attempt began, ISO 8601 in UTC; ``None`` before the first.
        finished: when it ended, likewise; ``None`` while it runs.
        error: ``{"type": ..., "message": ...}`` of a failed run, else ``None``.
    """

    state: State = "pending"
    attempts: int = 0
    started: str | None = None
    finished: str | None = None
    error: dict[str, str] | None = None

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """Return the status in ``run_dir``; a directory without ``status.json`` (or no directory) is pending.

        Raises:
            UserError: where the file cannot be read or is not a status.
        """
        path = run_dir / FILE_NAME
        try:
            return cls(**_checked(json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is not a readable status file ({error}); delete it to have the run start afresh."
            ) from error

    def write(self, run_dir: Path) -> None:
        """Write ``status.json`` into ``run_dir``, which must exist, atomically."""
        write_json(run_dir / FILE_NAME, asdict(self))


def _checked(raw: Any) -> dict[str, Any]:
    """Return the fields of a decoded ``status.json``; unknown ones are dropped (a later version may add some)."""
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    values = {field.name: raw[field.name] for field in fields(Status) if field.name in raw}
    if values.get("state") not in STATES:
        raise ValueError(f"state is {values.get('state')!r}, not one of {', '.join(STATES)}")
    if type(values.get("attempts")) is not int or values["attempts"] < 0:
        raise ValueError(f"attempts is {values.get('attempts')!r}, not a count")
    for name in ("started", "finished"):
        if not isinstance(values.get(name), str | None):
            raise ValueError(f"{name} is {values[name]!r}, not a time")
    error = values.get("error")
    if error is not None and not (isinstance(error, dict) and error.keys() >= {"type", "message"}):
        raise ValueError(f"error is {error!r}, not an object with type and message")
    return values


def mark_running(run_dir: Path) -> Status:
    """Record that an attempt begins now: one attempt more, no end, no error. Returns what was written."""
    status = Status(state="running", attempts=Status.read(run_dir).attempts + 1, started=_now())
    status.write(run_dir)
    return status


def mark_pending(run_dir: Path) -> Status:
    """Record that nobody works on the run and that it may be started again. Returns what was written."""
    status = replace(Status.read(run_dir), state="pending", finished=None, error=None)
    status.write(run_dir)
    return status


def mark_done(run_dir: Path) -> Status:
    """Record that the run is done; call it after ``result.json`` is written. Returns what was written."""
    status = replace(Status.read(run_dir), state="done", finished=_now(), error=None)
    status.write(run_dir)
    return status


def mark_failed(run_dir: Path, exc: BaseException) -> Status:
    """Record that the run failed with ``exc``. Returns what was written."""
    error = {"type": type(exc).__name__, "message": str(exc)}
    status = replace(Status.read(run_dir), state="failed", finished=_now(), error=error)
    status.write(run_dir)
    return status


def _now() -> str:
    """Return the time as ISO 8601 in UTC, to the second: ``2025-03-01T12:00:00+00:00``."""
    return datetime.now(UTC).isoformat(timespec="seconds")
