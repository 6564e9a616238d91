"""The folder of a test: ``result.json``, ``predictions.parquet``, ``confusion_matrix.png`` and ``test.yaml``."""

from __future__ import annotations

import contextlib
import secrets
import shutil
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


@contextlib.contextmanager
def _new_folder(place: Path) -> Iterator[Path]:
    """Yield a hidden folder that becomes ``place`` when the block succeeds, and is removed when it fails."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary, before = (place.with_name(f".{place.name}-{secrets.token_hex(4)}") for _ in range(2))
    temporary.mkdir()
    try:
        yield temporary
        if place.exists():
            place.rename(before)
        temporary.rename(place)
    finally:
        for each in (temporary, before):
            shutil.rmtree(each, ignore_errors=True)
