"""Experiment trackers: Weights & Biases, MLflow, TensorBoard, or none besides a run's own files.

`make_logger` opens a W&B run on rank zero, with the hash of the run as its id, so that a resumed run continues in W&B
too. `finish` closes it in a ``finally``, with an exit code that marks failed runs. Other ranks never open one. The
packages of the services take seconds to import, and are imported only when used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from fersweep.errors import UserError
from fersweep.text import did_you_mean
from fersweep.tracking import trial, wandb_run
from fersweep.tracking.ranks import is_rank_zero

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

    from fersweep.tracking.mlflow_run import MlflowRun
    from fersweep.tracking.pictures import Picture

os.environ.setdefault(
    "WANDB_ERROR_REPORTING", "false"
)  # else W&B sends telemetry even offline; it reads this on import

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

NAMES = ("csv", "wandb", "tensorboard", "mlflow")


def check(logger_cfg: Mapping[str, Any], login: bool = False) -> None:
    """Raise UserError for settings that a tracker would refuse once a run has begun; calls no service.

    Args:
        logger_cfg: as in `make_logger`.
        login: with W&B's ``mode: online``, also check that this machine has credentials.
    """
    if logger_cfg["name"] == "wandb":
        wandb_run.check(logger_cfg, login)
    elif logger_cfg["name"] == "mlflow":
        from fersweep.tracking import mlflow_run

        mlflow_run.check(logger_cfg)


def make_logger(
    logger_cfg: Mapping[str, Any], run_dir: Path, run_id: str, name: str, group: str, config: dict[str, Any]
) -> Logger | None:
    """Return the Lightning logger of a run, or ``None`` for ``csv``, as every run writes ``history.csv`` anyway.

    Args:
        logger_cfg: the ``logger`` group: ``name`` (csv, wandb, tensorboard) and, for wandb, ``project``, ``entity``,
            ``group``, ``tags`` and ``mode`` (auto, online, offline, disabled).
        run_dir: directory of the run, in which W&B writes to ``wandb`` and TensorBoard to ``tensorboard``.
        run_id: hash of the run, used as the id of the W&B run.
        name: display name of the W&B run.
        group: group of the W&B run unless ``logger_cfg`` names one: the sweep.
        config: the resolved configuration as plain containers, recorded with the run.

    Raises:
        UserError: the name or mode is unknown, or W&B is unreachable or refuses.
    """
    match logger_cfg["name"]:
        case "csv":
            return None
        case "tensorboard":
            return _tensorboard(run_dir, config)
        case "wandb":
            return wandb_run.open_run(logger_cfg, run_dir, run_id, name, group, config)
        case "mlflow":
            return _mlflow(logger_cfg, run_dir, run_id, name, group, config)
        case other:
            raise UserError(f"logger={other} does not exist{did_you_mean(other, NAMES)}; choose {', '.join(NAMES)}.")


def finish(logger: Logger | None, exit_code: int, run_dir: Path | None = None) -> None:
    """Close a logger of `make_logger`, in the ``finally`` of a training.

    Args:
        logger: of `make_logger`.
        exit_code: any but 0 marks the run as failed, unless a search ended it early.
        run_dir: the directory of the run, if a search may have started it: the state of its trial is then recorded.
    """
    if logger is None or not is_rank_zero():
        return
    found = None if run_dir is None else trial.of(run_dir)
    state = None if found is None else trial.state(found, exit_code)
    if _is_wandb(logger):
        wandb_run.close(logger.experiment, exit_code, state)
    elif _is_mlflow(logger):
        from fersweep.tracking import mlflow_run

        mlflow_run.close(logger, exit_code, state)
    else:
        logger.finalize("success" if exit_code == 0 else "failed")


def log_figures(logger: Logger | None, figures: Mapping[str, Path]) -> None:
    """Log PNG files as images under their names."""
    if logger is None or not is_rank_zero():
        return
    if _is_wandb(logger):
        import wandb

        logger.experiment.log({name: wandb.Image(str(path)) for name, path in figures.items()})
    elif _is_tensorboard(logger):
        from matplotlib.image import imread

        for name, path in figures.items():
            logger.experiment.add_image(name, imread(path)[..., :3], dataformats="HWC")
    elif _is_mlflow(logger):
        for path in figures.values():
            logger.log_file(path, "figures")


def log_confusion_matrix(
    logger: Logger | None, labels: Sequence[int], predicted: Sequence[int], class_names: Sequence[str]
) -> None:
    """Log the confusion matrix of the test part as a W&B chart; other loggers have none.

    Args:
        logger: of `make_logger`.
        labels: true class of each image, ``(n,)``, an index into ``class_names``.
        predicted: predicted class of each image, ``(n,)``.
        class_names: in order.
    """
    if not _is_wandb(logger) or not is_rank_zero():
        return
    from fersweep.tracking import media

    media.confusion_matrix(logger.experiment, labels, predicted, class_names)


def log_per_class(logger: Logger | None, per_class: Mapping[str, Mapping[str, Any]]) -> None:
    """Log precision, recall and F1 of each class: ``test/recall/happy`` in the summary, and in W&B a bar chart.

    Args:
        logger: of `make_logger`.
        per_class: as in ``result.json``.
    """
    from fersweep.tracking import media

    if _is_wandb(logger) and is_rank_zero():
        media.per_class(logger.experiment, per_class)
    elif _is_mlflow(logger):
        logger.log_metrics(media.class_scores(per_class))


def log_predictions(logger: Logger | None, shown: Iterable[Picture]) -> None:
    """Log a table of test images with their labels and predictions in W&B."""
    if _is_wandb(logger) and is_rank_zero():
        from fersweep.tracking import media

        media.predictions(logger.experiment, shown)


def log_model(logger: Logger | None, checkpoint: Path, config: Path, metadata: Mapping[str, Any]) -> None:
    """Log the best checkpoint of a finished run as an artifact, see `fersweep.tracking.media.model`.

    Args:
        logger: of `make_logger`.
        checkpoint: ``best.ckpt``.
        config: ``config.yaml``.
        metadata: scalars that describe the network.
    """
    if _is_wandb(logger) and is_rank_zero():
        from fersweep.tracking import media

        media.model(logger.experiment, checkpoint, config, metadata)
    elif _is_mlflow(logger):
        for path in (checkpoint, config):
            logger.log_file(path, "model")


def log_summary(logger: Logger | None, values: Mapping[str, float]) -> None:
    """Set the run's summary in W&B, which otherwise shows the last epoch instead of the tested one.

    In MLflow, which shows the last value of a metric too, those of validation have ``best/`` before their name.
    """
    if _is_wandb(logger) and is_rank_zero():
        logger.experiment.summary.update(dict(values))
    elif _is_mlflow(logger):
        logger.log_metrics({f"best/{key}" if key.startswith("val/") else key: value for key, value in values.items()})


def _mlflow(
    logger_cfg: Mapping[str, Any], run_dir: Path, run_id: str, name: str, group: str, config: dict[str, Any]
) -> MlflowRun | None:
    """Open a run in MLflow on rank zero; other ranks have no logger."""
    from fersweep.tracking import mlflow_run

    return mlflow_run.open_run(logger_cfg, run_dir, run_id, name, group, config) if is_rank_zero() else None


def _tensorboard(run_dir: Path, config: dict[str, Any]) -> TensorBoardLogger:
    """Return a TensorBoard logger for ``run_dir/tensorboard`` that has recorded the configuration."""
    from pytorch_lightning.loggers import TensorBoardLogger

    logger = TensorBoardLogger(run_dir, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams(config)
    return logger


def _is_wandb(logger: Logger | None) -> TypeGuard[WandbLogger]:
    """Return whether this is the W&B logger, without importing it for others."""
    return type(logger).__name__ == "WandbLogger"


def _is_mlflow(logger: Logger | None) -> TypeGuard[MlflowRun]:
    return type(logger).__name__ == "MlflowRun"


def _is_tensorboard(logger: Logger) -> TypeGuard[TensorBoardLogger]:
    return type(logger).__name__ == "TensorBoardLogger"
