"""One run of ``train.py``, in this process or in several."""

from __future__ import annotations

import signal
import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fersweep.errors import UserError
from fersweep.sweep.local.processes import run_in_ranks
from fersweep.text import shortened, visible
from fersweep.training.attempt import attempt, prepare, stop
from fersweep.training.devices import num_processes
from fersweep.training.distributed import env_world_size


def run(cfg: DictConfig) -> float:
    """Run a composed configuration; print a user's mistake as one sentence and exit with code 2.

    Returns:
        Validation accuracy of the best checkpoint, for sweepers that optimise; never a test score.
    """
    signal.signal(signal.SIGTERM, stop)
    try:
        return run_one(cfg)
    except UserError as error:
        print(f"error: {visible(shortened(error))}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except SystemExit as end:  # Lightning exits with 1 on Ctrl-C and without a code, read as success, on SIGTERM
        raise SystemExit(130 if isinstance(end.__context__, KeyboardInterrupt) else end.code or 143) from None


def run_one(cfg: DictConfig) -> float:
    """Check a configuration, then train and test it, in this process or in those it asks for.

    Raises:
        UserError: a mistake of the user; ``status.json`` then says ``failed`` if the run had begun.
    """
    config, directory = prepare(cfg)
    if num_processes(cfg) > 1 and env_world_size() == 1:
        if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise UserError("A sweep of runs on several devices needs hydra/launcher=local or slurm.")
        if cfg.trainer.num_nodes > 1:
            raise UserError("trainer.num_nodes needs a cluster: use -m hydra/launcher=slurm, also for a single run.")
        return run_in_ranks(config, directory)
    return attempt(cfg, config, directory, (), console=True)
