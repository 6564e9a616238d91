"""Measure the parts one after the other, and show the figures of each as soon as it is done."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import PARTS, report, settings
from benchmarks.measure import Part
from benchmarks.settings import Settings
from fersweep.errors import UserError
from fersweep.files import write_json

WIDTH = 160
"""Columns of the tables where the output is no terminal."""


def bench(json: str | None, **asked: Any) -> None:
    """Measure what is asked for; print the machine and a table per part, or JSON.

    Args:
        json: a file for JSON (`benchmarks.report`), rewritten after each part; ``-`` for JSON on standard output in
            place of tables; or ``None``.
        asked: arguments of `benchmarks.settings.check`, except the folder.

    Raises:
        UserError: for what cannot be measured, before anything is, or where a run of the benchmark fails.
    """
    file = None if json in (None, "-") else Path(str(json))
    if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
        raise UserError(f"--json {file} cannot be written: name a file in a folder that exists.")
    with tempfile.TemporaryDirectory(prefix="fersweep-bench-") as folder:
        chosen = settings.check(**asked, folder=Path(folder))
        torch.set_num_threads(chosen.threads)
        _bench(chosen, file, tables=json != "-")


def _bench(chosen: Settings, file: Path | None, tables: bool) -> None:
    console = Console(quiet=not tables) if sys.stdout.isatty() else Console(quiet=not tables, width=WIDTH)
    parts: dict[str, Any] = {}
    found = {"machine": settings.machine(chosen), "settings": report.asked(chosen), "parts": parts}
    console.print(report.headline(found["machine"]), highlight=False, soft_wrap=True)
    for name in chosen.parts:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        begun = time.perf_counter()
        part = measure(name, chosen)
        parts[name] = report.as_dict(part, time.perf_counter() - begun)
        if chosen.device.type == "cuda":
            torch.cuda.empty_cache()  # for the processes of the next part
        console.print(report.table(f"{name}: {PARTS[name]}", parts[name]))
        if file is not None:
            write_json(file, found)
    if not tables:
        print(json.dumps(found, indent=2, ensure_ascii=False))


def measure(name: str, chosen: Settings) -> Part:
    """Measure one of `benchmarks.PARTS`."""
    part: Part = import_module(f"benchmarks.parts.{name}").measure(chosen)
    return part
