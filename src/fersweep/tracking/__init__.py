"""Where a run's numbers go besides its own files: Weights & Biases, TensorBoard or nowhere else.

The life cycle of a W&B run: `make_logger` opens a fresh one on rank zero, with the hash of the run as its id, so that a
run that goes on after an interruption goes on in W&B too; `finish` closes it, in a ``finally``, with an exit code that
tells a failed run from a finished one. Ranks other than zero never open one. The packages of the services are imported
only where they are used: they take seconds.

`fersweep.tracking.sync` sends what was recorded offline, `fersweep.tracking.report` builds the page that compares runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from fersweep.errors import UserError
from fersweep.text import did_you_mean

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else W&B sends telemetry even offline; read on its import

NAMES = ("csv", "wandb", "tensorboard")
MODES = ("auto", "online", "offline", "disabled")


def make_logger(
    logger_cfg: Mapping[str, Any], run_dir: Path, run_id: str, name: str, group: str, config: dict[str, Any]
) -> Logger | None:
    """Return the Lightning logger of a run, or ``None`` for ``csv``, whose file every run writes anyway.

    Args:
        logger_cfg: the ``logger`` group: ``name`` (csv, wandb, tensorboard) and, for wandb, ``project``, ``entity``,
            ``group``, ``tags`` and ``mode`` (auto, online, offline, disabled).
        run_dir: the directory of the run; W&B writes to ``wandb`` and TensorBoard to ``tensorboard`` in it.
        run_id: the hash of the run; also the id of the W&B run.
        name: how W&B shows the run.
        group: the group of the W&B run unless ``logger_cfg`` names one: the name of the sweep.
        config: the resolved config, as plain containers, recorded with the run.

    Raises:
        UserError: for an unknown name or mode, and where W&B cannot be reached or refuses.
    """
    match logger_cfg["name"]:
        case "csv":
            return None
        case "tensorboard":
            return _tensorboard(run_dir, config)
        case "wandb":
            return _wandb(logger_cfg, run_dir, run_id, name, group, config)
        case other:
            raise UserError(f"logger={other} does not exist{did_you_mean(other, NAMES)}; choose {', '.join(NAMES)}.")


def finish(logger: Logger | None, exit_code: int) -> None:
    """Close what `make_logger` opened; call it in a ``finally``.

    Args:
        logger: what `make_logger` returned.
        exit_code: 0 for a finished run; anything else shows it as failed in W&B.
    """
    if logger is None or not _is_rank_zero():
        return
    if _is_wandb(logger):
        logger.experiment.finish(exit_code=exit_code)
    else:
        logger.finalize("success" if exit_code == 0 else "failed")


def log_figures(logger: Logger | None, figures: Mapping[str, Path]) -> None:
    """Log PNG files as images, by name; the files stay where they are."""
    if logger is None or not _is_rank_zero():
        return
    if _is_wandb(logger):
        import wandb

        logger.experiment.log({name: wandb.Image(str(path)) for name, path in figures.items()})
    elif _is_tensorboard(logger):
        from matplotlib.image import imread

        for name, path in figures.items():
            logger.experiment.add_image(name, imread(path)[..., :3], dataformats="HWC")


def log_confusion_matrix(
    logger: Logger | None, labels: Sequence[int], predicted: Sequence[int], class_names: Sequence[str]
) -> None:
    """Log W&B's interactive confusion matrix of the test part; nothing with other loggers, which have none.

    Args:
        logger: what `make_logger` returned.
        labels: the true class of each image, an index into ``class_names``.
        predicted: the predicted class of each image, likewise.
        class_names: the names of the classes, in order.
    """
    if not _is_wandb(logger) or not _is_rank_zero():
        return
    import wandb

    chart = wandb.plot.confusion_matrix(
        y_true=[int(label) for label in labels],
        preds=[int(label) for label in predicted],
        class_names=list(class_names),
        title="Confusion matrix (test)",
    )
    logger.experiment.log({"confusion_matrix": chart})


def log_summary(logger: Logger | None, values: Mapping[str, float]) -> None:
    """Set the numbers that stand for the run in W&B's table, e.g. those of the best epoch.

    Without this W&B shows the last value of each metric: of the last epoch, not of the weights that were tested.
    """
    if _is_wandb(logger) and _is_rank_zero():
        logger.experiment.summary.update(dict(values))


def _wandb(
    logger_cfg: Mapping[str, Any], run_dir: Path, run_id: str, name: str, group: str, config: dict[str, Any]
) -> WandbLogger:
    """Open a fresh W&B run (on rank zero) and return Lightning's logger for it."""
    mode = logger_cfg["mode"]
    if mode not in MODES:
        raise UserError(f"logger.mode={mode} does not exist{did_you_mean(mode, MODES)}; choose {', '.join(MODES)}.")
    from pytorch_lightning.loggers import WandbLogger

    project = logger_cfg["project"]
    if not _is_rank_zero():
        return WandbLogger(project=project, id=run_id, save_dir=run_dir)
    import wandb

    from fersweep.tracking.account import logged_in

    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
    elif mode == "online" and not logged_in():
        raise UserError(
            "logger.mode=online needs a key of Weights & Biases; run `wandb login` or set WANDB_API_KEY, "
            "or choose logger.mode=offline."
        )
    if wandb.run is not None:  # left open by whoever ran before in this process; W&B would log into it
        wandb.run.finish(exit_code=1)
    try:
        run = wandb.init(
            project=project,
            entity=logger_cfg["entity"],
            group=logger_cfg["group"] or group,
            tags=list(logger_cfg["tags"]),
            name=name,
            id=run_id,
            resume="allow" if mode == "online" else None,  # W&B warns of it offline, where syncing joins equal ids
            job_type="train",
            mode=mode,
            dir=run_dir,
            config=config,
            # console: the run's own log has what was printed, and wrapped streams break progress bars
            settings=wandb.Settings(console="off", save_code=False, quiet=True, silent=mode != "online"),
        )
    except (wandb.Error, OSError) as error:
        raise UserError(
            f"Weights & Biases did not open run {run_id} ({error}); check `wandb login` and the network, "
            "or choose logger.mode=offline."
        ) from error
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(project=project, id=run_id, save_dir=run_dir, experiment=run)


def _tensorboard(run_dir: Path, config: dict[str, Any]) -> TensorBoardLogger:
    """Return Lightning's TensorBoard logger for ``run_dir/tensorboard``, with the config in it."""
    from pytorch_lightning.loggers import TensorBoardLogger

    logger = TensorBoardLogger(run_dir, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams(config)
    return logger


def _is_rank_zero() -> bool:
    """Return whether this process is the one of its run that logs."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0


def _is_wandb(logger: Logger | None) -> TypeGuard[WandbLogger]:
    """Return whether this is the W&B logger; does not import it for the others."""
    return type(logger).__name__ == "WandbLogger"


def _is_tensorboard(logger: Logger) -> TypeGuard[TensorBoardLogger]:
    """Return whether this is the TensorBoard logger; does not import it for the others."""
    return type(logger).__name__ == "TensorBoardLogger"
