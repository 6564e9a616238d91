"""The folder of a test: ``result.json``, ``predictions.parquet``, ``confusion_matrix.png`` and ``test.yaml``."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import DictConfig

from fersweep.config.schema import to_dict
from fersweep.data.twins import Mask
from fersweep.files import write_json, writing
from fersweep.report import figures
from fersweep.runs import tests
from fersweep.training import artifacts, results


def write(place: Path, cfg: DictConfig, result: dict[str, Any], tested: results.Tested, twin: Mask | None) -> None:
    """Write the folder of a test, complete or not at all.

    Args:
        place: the folder; an earlier test in it is replaced.
        cfg: of the run, with the data tested.
        result: content of ``result.json``.
        tested: the test.
        twin: as for `fersweep.training.artifacts.write_predictions`.

    Raises:
        UserError: it cannot be written.
    """
    config = to_dict(cfg)
    settings = {"dataset": config["dataset"], "split": config["split"] if result["split"] else None}
    counts = np.asarray(result["confusion_matrix"])
    subtitle = f"tested on {tests.titled(result)}; trained on {result['trained_on']}, seed {result['seed']}"
    with writing(place, advice="choose another folder with -o DIR"), _new_folder(place) as folder:
        (folder / tests.SETTINGS).write_text(
            yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
        artifacts.write_predictions(folder / "predictions.parquet", tested, twin)
        figures.confusion_matrix(
            counts, tuple(result["per_class"]), folder / "confusion_matrix.png", result["title"], subtitle
        )
        write_json(folder / tests.FILE, result)


DEAD_S = 3600
"""Seconds after which the writer of an unfinished folder is dead: it writes for seconds."""


def tidy(folder: Path) -> None:
    """Put back each test that a killed writer has left aside, and remove what it had not finished.

    What cannot be moved or removed stays; readers find a test that is aside (`fersweep.runs.tests.of_run`).

    Args:
        folder: of the tests; it need not exist.
    """
    with contextlib.suppress(OSError):
        for each in folder.glob(".*"):
            if tests.ASIDE in each.name:
                _settle(each.with_name(tests.place(each)), each)
            elif _UNFINISHED.fullmatch(each.name) and time.time() - each.stat().st_mtime > DEAD_S:
                shutil.rmtree(each, ignore_errors=True)


def _settle(place: Path, aside: Path) -> None:
    """Put back a test that is aside if nothing has taken its place, or else remove it."""
    if place.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.rename(place)


_UNFINISHED = re.compile(r"\..+-[0-9a-f]{10}-[0-9a-f]{8}")
"""Name of a hidden folder: that of a test, which ends in its hash, and a word by chance."""


@contextlib.contextmanager
def _new_folder(place: Path) -> Iterator[Path]:
    """Yield a hidden folder that becomes ``place`` when the block succeeds, and is removed when it fails.

    An earlier ``place`` is complete, there or aside, until the new one is there.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    word = secrets.token_hex(4)
    temporary, aside = place.with_name(f".{place.name}-{word}"), place.with_name(f".{place.name}{tests.ASIDE}{word}")
    temporary.mkdir()
    try:
        yield temporary
        if place.exists():
            place.rename(aside)
        try:
            temporary.rename(place)
        finally:
            if aside.exists():
                _settle(place, aside)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
