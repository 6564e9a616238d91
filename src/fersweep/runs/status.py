"""The state of a run on disk (``status.json``), and the files that describe a run before it starts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from fersweep.errors import UserError
from fersweep.files import INTEGER, OPTIONS, Field, as_json, atomic_path, create, read_json, write_json
from fersweep.text import visible

log = logging.getLogger("fersweep")

FILE_NAME = "status.json"

State = Literal["pending", "running", "done", "failed", "pruned"]
STATES: tuple[State, ...] = get_args(State)

_TIME = Field("a time", lambda value: isinstance(value, str), optional=True)

_ERROR = Field(
    "an object with type and message",
    lambda value: isinstance(value, dict) and value.keys() >= {"type", "message"},
    optional=True,
)

CODE = Field(
    "a list of objects with a digest",
    lambda value: (
        isinstance(value, list) and all(isinstance(each, dict) and _is_text(each.get("digest")) for each in value)
    ),
    optional=True,
)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | None)


FIELDS = {
    "state": Field(f"one of {', '.join(STATES)}", STATES.__contains__),
    "attempts": Field("a count", lambda value: type(value) is int and value >= 0),
    "started": _TIME,
    "finished": _TIME,
    "error": _ERROR,
    "choices": replace(OPTIONS, optional=True),
    "seed": replace(INTEGER, optional=True),
    "code": CODE,
}
"""The fields of ``status.json``."""


@dataclass(frozen=True)
class Status:
    """The content of ``status.json``.

    Attributes:
        state: ``pending`` (not started, or interrupted), ``running``, ``done``, ``failed``, or ``pruned`` (a search
            ended it early; it resumes like an interrupted one). A run that was killed still reads ``running``; the lock
            of its directory distinguishes the two (`fersweep.runs.lock.is_locked`).
        attempts: number of times the run was started.
        started: start of the latest attempt, ISO 8601 in UTC.
        finished: its end; ``None`` while it runs.
        error: ``{"type": ..., "message": ...}`` of a failed run.
        choices: ``{group: option}``, so that an unfinished run can be listed.
        code: records of the code that trained it (`fersweep.training.code`), the latest last; ``None`` if unknown.
    """

    state: State = "pending"
    attempts: int = 0
    started: str | None = None
    finished: str | None = None
    error: dict[str, str] | None = None
    choices: dict[str, str] | None = None
    seed: int | None = None
    code: list[dict[str, Any]] | None = None

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """Return the status in ``run_dir``; without ``status.json``, or a directory, the run is pending.

        Raises:
            UserError: the file cannot be read or is not a status.
        """
        found = read_json(run_dir / FILE_NAME, FIELDS, "status file", "delete it to start the run afresh") or {}
        known = {each.name: found[each.name] for each in fields(cls) if each.name in found}
        if known.get("error") is not None:
            known["error"] = {key: visible(str(known["error"][key])) for key in ("type", "message")}
        return cls(**known)

    def write(self, run_dir: Path) -> None:
        """Write ``status.json`` into ``run_dir``, which must exist, atomically."""
        write_json(run_dir / FILE_NAME, asdict(self))


def mark_running(run_dir: Path, code: list[dict[str, Any]] | None = None) -> Status:
    """Record that an attempt begins now, with `Status.code`; return the new status."""
    attempts = Status.read(run_dir).attempts + 1
    now = {"state": "running", "attempts": attempts, "started": _now(), "finished": None, "error": None}
    return _update(run_dir, **now, code=code)


def mark_pending(run_dir: Path, choices: dict[str, str] | None = None, seed: int | None = None) -> Status:
    """Record that nobody works on the run and that it may be started again; return the new status.

    Choices (``{group: option}``) and seed stay as they are unless given.
    """
    given = {name: value for name, value in (("choices", choices), ("seed", seed)) if value is not None}
    return _update(run_dir, state="pending", finished=None, error=None, **given)


def mark_done(run_dir: Path) -> Status:
    """Record that the run is done, after its ``result.json`` was written; return the new status."""
    return _update(run_dir, state="done", finished=_now(), error=None)


def mark_interrupted(run_dir: Path) -> None:
    """Record that a running run was interrupted, unless a failure is recorded; never raises, as `mark_failed`."""
    with _reported(run_dir):
        if Status.read(run_dir).state == "running":
            mark_pending(run_dir)


def mark_pruned(run_dir: Path) -> None:
    """Record that a search ended an unfinished run early; a run that is done or failed stays so."""
    if Status.read(run_dir).state in ("pending", "running"):
        _update(run_dir, state="pruned", finished=_now(), error=None)


def mark_failed(run_dir: Path, cause: BaseException | tuple[str, str]) -> Status:
    """Record that the attempt failed; return the new status.

    The ``cause`` is an exception, or a type and a message. A failure that is recorded already stays: the first report
    names the cause. This never raises, which would hide the cause: in a directory that was removed or cannot be
    written, or with a damaged status, nothing is recorded, and the log says so.
    """
    kind, message = cause if isinstance(cause, tuple) else (type(cause).__name__, str(cause))
    message = visible(message)  # it may hold anything, such as file names that are not UTF-8
    failure: dict[str, Any] = {"state": "failed", "finished": _now(), "error": {"type": kind, "message": message}}
    status = Status(**failure)
    with _reported(run_dir):
        before = Status.read(run_dir)
        status = before if before.state == "failed" else _update(run_dir, **failure)
    return status


@contextmanager
def _reported(run_dir: Path) -> Iterator[None]:
    """Turn an error of reading or writing the status into a line of the log."""
    try:
        yield
    except (OSError, UserError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        log.debug("the status of %s could not be recorded (%s)", run_dir, reason)


def _update(run_dir: Path, **changes: Any) -> Status:
    status = replace(Status.read(run_dir), **changes)
    status.write(run_dir)
    return status


def freeze(directory: Path, config: dict[str, Any]) -> None:
    """Write a run's ``config.yaml`` and a pending status, from which any process can start it later.

    A directory with a status is left alone, even if another process writes it at the same moment.

    Raises:
        OSError: the directory does not exist or cannot be written.
    """
    from fersweep.config.schema import choices_of

    asked_for = Status(choices=choices_of(config), seed=config["seed"])
    is_new = create(directory / FILE_NAME, as_json(asdict(asked_for)))
    if is_new or not (directory / "config.yaml").exists():  # its creator may have died in between
        write_config(directory, config)


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """Write ``config.yaml`` into ``directory``, which must exist, atomically; in the order of its keys."""
    import yaml

    with atomic_path(directory / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _now() -> str:
    """Return the current time as ISO 8601 in UTC: ``2025-03-01T12:00:00+00:00``."""
    return datetime.now(UTC).isoformat(timespec="seconds")
