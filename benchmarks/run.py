"""Run the benchmark's parts, one after the other, and say what each found as soon as it is done."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import (
    ceiling,
    changes,
    data,
    efficiency,
    inference,
    memory,
    peers,
    pipeline,
    report,
    settings,
    startup,
    sweep,
    together,
)
from fersweep.errors import UserError
from fersweep.files import write_json

MEASURES = {
    "efficiency": efficiency.measure,
    "input": pipeline.measure,
    "startup": startup.measure,
    "together": together.measure,
    "sweep": sweep.measure,
    "data": data.measure,
    "memory": memory.measure,
    "inference": inference.measure,
    "changes": changes.measure,
    "ceiling": ceiling.measure,
    "peers": peers.measure,
}
WIDTH = 160
"""Columns of the tables where there is no terminal."""


def bench(target: str | None, **asked: Any) -> None:
    """Measure what is asked for; print the machine and a table a part, or JSON.

    Args:
        target: a file for JSON (`benchmarks.report`), written anew after each part; ``-`` for JSON on standard
            output in place of tables; or ``None``.
        asked: of `benchmarks.settings.check`, but the folder.

    Raises:
        UserError: for what cannot be measured, before anything is, or where a run of the benchmark fails.
    """
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    file = None if target in (None, "-") else Path(str(target))
    if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
        raise UserError(f"--json {file} cannot be written: name a file in a folder that exists.")
    with tempfile.TemporaryDirectory(prefix="fersweep-bench-") as folder:
        chosen = settings.check(**asked, folder=Path(folder))
        for name, refuse in (("startup", startup.refuse_without_script), ("memory", memory.refuse_without_proc)):
            if name in chosen.parts:
                refuse()
        torch.set_num_threads(chosen.threads)
        parts: dict[str, Any] = {}
        found = {"machine": settings.machine(chosen), "settings": report.asked(chosen), "parts": parts}
        if target != "-":
            console.print(report.headline(found["machine"]), highlight=False, soft_wrap=True)
        for name in chosen.parts:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            begun = time.perf_counter()
            part = MEASURES[name](chosen)
            parts[name] = report.as_dict(part, time.perf_counter() - begun)
            if chosen.device.type == "cuda":
                torch.cuda.empty_cache()  # for the processes of the next part
            if target != "-":
                console.print(report.table(name, parts[name]))
            if file is not None:
                write_json(file, found)
    if target == "-":
        print(json.dumps(found, indent=2, ensure_ascii=False))
