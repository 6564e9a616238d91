"""Preload of the fork server: imports everything that runs need, and does once what is slow the first time.

Only the server imports this module. Nothing here may start a thread: a process with threads cannot be forked safely.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet  # noqa: F401 (pandas imports it when it writes predictions)

from fersweep.data.samples import CLASSES
from fersweep.report import figures
from fersweep.sweep.local import worker  # noqa: F401 (imports the rest)
from fersweep.training import code
from fersweep.training.callbacks import COLUMNS


def draw_once() -> None:
    """Draw both figures of a run, so that matplotlib has loaded its fonts and formats."""
    history = pd.DataFrame([dict.fromkeys(COLUMNS, 1.0)])
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as folder:  # a full disk, which the runs report
        path = Path(folder) / "figure.png"
        figures.confusion_matrix(np.eye(len(CLASSES), dtype=int), CLASSES, path, "title", "subtitle")
        figures.learning_curves(history, path, best_epoch=1)


draw_once()
code.project()  # once for all runs: what they have in memory, whatever happens to the files later
gc.collect()
gc.freeze()  # a run's garbage collections then do not touch, and so copy, what it shares with the server
atexit.register(gc.unfreeze)  # else libraries report frozen objects as leaks at exit
