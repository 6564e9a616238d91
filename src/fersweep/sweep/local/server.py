"""What the server does before it forks the first run: import what runs need, and once what is slow the first time only.

Nothing here may start a thread: a process with threads cannot be forked safely. Only the server imports this module.
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
from fersweep.training.callbacks import COLUMNS


def draw_once() -> None:
    """Draw both figures of a run, somewhere: matplotlib then has its fonts, letters and formats at hand."""
    history = pd.DataFrame([dict.fromkeys(COLUMNS, 1.0)])
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as folder:  # a disk is full: a run will say so
        path = Path(folder) / "figure.png"
        figures.confusion_matrix(np.eye(len(CLASSES), dtype=int), CLASSES, path, "title", "subtitle")
        figures.learning_curves(history, path, best_epoch=1)


draw_once()
gc.collect()
gc.freeze()  # a run's collections then leave alone what it shares with the server, and do not copy it
atexit.register(gc.unfreeze)  # else libraries count what is frozen as leaked when the server ends, and print it
