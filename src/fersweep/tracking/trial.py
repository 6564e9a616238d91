"""The trial of a search that a run belongs to, as trackers show it: ``trial/number`` and ``trial/state``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Literal

from fersweep.errors import UserError
from fersweep.runs import trials

log = logging.getLogger("fersweep")

JOB = "trial"
"""Job type of the runs of a search in W&B."""

NUMBER, STATE = "trial/number", "trial/state"

State = Literal["running", "done", "pruned", "failed", "interrupted"]


def of(run_dir: Path) -> trials.Trial | None:
    """Return the trial of a run, from the journal in the folder of its sweep; ``None`` without a search.

    A damaged journal costs no training: the log says that the trial is unknown.
    """
    try:
        found = trials.read(run_dir.absolute().parent)
    except UserError as error:
        log.warning("the trial of this run is unknown: %s", error)
        return None
    every = () if found is None else found.trials
    return next((trial for trial in every if run_dir.name in trial.runs), None)


def state(trial: trials.Trial, exit_code: int) -> State:
    """Return the state in which a trial leaves its run; called while the exception that ended the run is handled."""
    if exit_code == 0:
        return "done"
    if trial.ending:
        return "pruned"
    return "failed" if isinstance(sys.exception(), Exception) else "interrupted"
