"""The state of one run on disk, ``status.json``, and the atomic writes that the files of a run go through."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from fersweep.errors import UserError
from fersweep.files import as_json, atomic_path, create, write_json

FILE_NAME = "status.json"

State = Literal["pending", "running", "done", "failed"]
STATES: tuple[State, ...] = get_args(State)


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
        choices: ``{group: option}`` of the run, so that one that never finished can be listed; ``None`` if not known.
        seed: its seed, likewise.
    """

    state: State = "pending"
    attempts: int = 0
    started: str | None = None
    finished: str | None = None
    error: dict[str, str] | None = None
    choices: dict[str, str] | None = None
    seed: int | None = None

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
    choices = values.get("choices")
    if choices is not None and not (
        isinstance(choices, dict) and all(isinstance(each, str) for each in choices.values())
    ):
        raise ValueError(f"choices is {choices!r}, not an option for each group")
    if values.get("seed") is not None and type(values["seed"]) is not int:
        raise ValueError(f"seed is {values['seed']!r}, not a whole number")
    return values


def mark_running(run_dir: Path) -> Status:
    """Record that an attempt begins now: one attempt more, no end, no error. Returns what was written."""
    before = Status.read(run_dir)
    return _written(
        replace(before, state="running", attempts=before.attempts + 1, started=_now(), finished=None, error=None),
        run_dir,
    )


def mark_pending(run_dir: Path, choices: dict[str, str] | None = None, seed: int | None = None) -> Status:
    """Record that nobody works on the run and that it may be started again. Returns what was written.

    Args:
        run_dir: the directory of the run, which must exist.
        choices: ``{group: option}`` of the run; what was known before stays where it is not given.
        seed: its seed, likewise.
    """
    before = Status.read(run_dir)
    return _written(
        replace(
            before,
            state="pending",
            finished=None,
            error=None,
            choices=before.choices if choices is None else choices,
            seed=before.seed if seed is None else seed,
        ),
        run_dir,
    )


def mark_done(run_dir: Path) -> Status:
    """Record that the run is done; call it after ``result.json`` is written. Returns what was written."""
    return _written(replace(Status.read(run_dir), state="done", finished=_now(), error=None), run_dir)


def mark_failed(run_dir: Path, cause: BaseException | tuple[str, str]) -> Status:
    """Record that the attempt failed, unless it has failed already: of several reports the first names the cause.

    Args:
        run_dir: the directory of the run, which must exist.
        cause: what was raised, or a type and a message.

    Returns:
        What ``status.json`` says now.
    """
    before = Status.read(run_dir)
    if before.state == "failed":
        return before
    kind, message = cause if isinstance(cause, tuple) else (type(cause).__name__, str(cause))
    message = message.encode(errors="backslashreplace").decode()  # names of files may hold what UTF-8 does not
    error = {"type": kind, "message": message}
    return _written(replace(before, state="failed", finished=_now(), error=error), run_dir)


def _written(status: Status, run_dir: Path) -> Status:
    status.write(run_dir)
    return status


def freeze(directory: Path, config: dict[str, Any]) -> None:
    """Put a run down as asked for: ``config.yaml`` and a pending status, with which it can be started anywhere, later.

    A directory that has a status is left alone, whoever has put it there, also at the same moment.

    Args:
        directory: the directory of the run, which must exist.
        config: the resolved configuration, as `fersweep.config.schema.to_dict` gives it.

    Raises:
        OSError: where the directory cannot be written.
    """
    from fersweep.config.schema import choices_of

    asked_for = Status(choices=choices_of(config), seed=config["seed"])
    is_new = create(directory / FILE_NAME, as_json(asdict(asked_for)))
    if is_new or not (directory / "config.yaml").exists():  # as when whoever made it died in between
        write_config(directory, config)


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """Write ``config.yaml`` into ``directory``, which must exist, atomically; keys stay in their order."""
    import yaml

    with atomic_path(directory / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _now() -> str:
    """Return the time as ISO 8601 in UTC, to the second: ``2025-03-01T12:00:00+00:00``."""
    return datetime.now(UTC).isoformat(timespec="seconds")
