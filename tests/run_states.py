"""Directories of runs in every state, with files of untrained runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fersweep.config.schema import GROUPS
from fersweep.runs.status import (
    mark_done,
    mark_failed,
    mark_pending,
    mark_running,
    write_config,
    write_json,
)

CHOICES = dict.fromkeys(GROUPS, "none") | {"backbone": "resnet50", "attention": "se"}


def asked_for(directory: Path, seed: int = 1, **choices: str) -> Path:
    """Make the directory of a run that nobody has begun."""
    directory.mkdir(parents=True)
    mark_pending(directory, {**CHOICES, **choices}, seed)
    return directory


def result_of(seed: int = 1, accuracy: float = 0.5, **choices: str) -> dict[str, Any]:
    metrics = {"val/accuracy": accuracy, "test/accuracy": 0.9, "test/macro_f1": None, "test/n": 3589}
    about = {"run": f"{seed:010x}", "choices": {**CHOICES, **choices}, "seed": seed}
    return {**about, "metrics": metrics, "accuracy_interval": [0.89, 0.91]}


def finished(directory: Path, seed: int = 1, accuracy: float = 0.5, **choices: str) -> Path:
    """Make the directory of a run that is done, with the files of one."""
    asked_for(directory, seed, **choices)
    mark_running(directory)
    write_config(directory, {group: {"name": name} for group, name in {**CHOICES, **choices}.items()} | {"seed": seed})
    (directory / "checkpoints").mkdir()
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "history.csv", "predictions.parquet", "train.log"):
        (directory / name).write_bytes(b"x")
    write_json(directory / "result.json", result_of(seed, accuracy, **choices))
    mark_done(directory)
    return directory


def all_states(outputs: Path) -> dict[str, Path]:
    """A sweep of which a run is in each state that needs no live process."""
    runs = {
        "done": finished(outputs / "none-s1-0000000001", 1, accuracy=0.25),
        "better": finished(outputs / "none-s2-0000000002", 2, accuracy=0.75, attention="cbam"),
        "failed": asked_for(outputs / "none-s3-0000000003", 3),
        "killed": asked_for(outputs / "none-s4-0000000004", 4),
        "stopped": asked_for(outputs / "none-s5-0000000005", 5),
        "robbed": finished(outputs / "none-s6-0000000006", 6),
        "pending": asked_for(outputs / "none-s7-0000000007", 7),
        "unreadable": finished(outputs / "none-s8-0000000008", 8),
    }
    mark_running(runs["failed"])
    mark_failed(runs["failed"], ArithmeticError('the sky\nfell, on\t"us"'))
    mark_running(runs["killed"])
    mark_running(runs["stopped"])
    mark_pending(runs["stopped"])
    (runs["robbed"] / "result.json").unlink()
    (runs["unreadable"] / "result.json").write_text('{"run": "0000')
    return runs
