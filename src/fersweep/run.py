"""One run of ``train.py``: check it, decide how many processes it takes, and start them."""

from __future__ import annotations

import signal
import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fersweep.errors import UserError
from fersweep.sweep.local.processes import run_in_ranks
from fersweep.training import fit, ranks
from fersweep.training.attempt import attempt, prepare, stop


def run(cfg: DictConfig) -> float:
    """Run what ``train.py`` was asked for; a user's mistake ends it with one sentence and exit code 2.

    Returns:
        The best checkpoint's validation accuracy: what a sweeper may optimise. Never a test score.
    """
    signal.signal(signal.SIGTERM, stop)
    try:
        return run_one(cfg)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except SystemExit as end:  # Lightning's: 1 on Ctrl-C; on SIGTERM no code, which would read as success
        raise SystemExit(130 if isinstance(end.__context__, KeyboardInterrupt) else end.code or 143) from None


def run_one(cfg: DictConfig) -> float:
    """Check one configuration, then train and test it, in this process or, where it asks for several, in theirs.

    Raises:
        UserError: for what the user can put right; ``status.json`` then says ``failed``, if the run had begun.
    """
    config, directory = prepare(cfg)
    processes = fit.processes(cfg)
    if processes > 1 and ranks.expected() == 1:
        if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise UserError("A sweep whose runs take several devices needs hydra/launcher=local or slurm.")
        if cfg.trainer.num_nodes > 1:
            raise UserError("trainer.num_nodes needs a cluster: use -m hydra/launcher=slurm, also for a single run.")
        return run_in_ranks(config, directory)
    return attempt(cfg, config, directory, (), console=True)
