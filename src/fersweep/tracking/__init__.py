"""Experiment trackers: Weights & Biases, TensorBoard, or none besides a run's own files.

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
from fersweep.text import counted, did_you_mean

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

    from fersweep.tracking.pictures import Picture

os.environ.setdefault(
    "WANDB_ERROR_REPORTING", "false"
)  # else W&B sends telemetry even offline; it reads this on import

NAMES = ("csv", "wandb", "tensorboard")
MODES = ("auto", "online", "offline", "disabled")
MODELS = (None, "best")
"""Values of ``logger.log_model``."""

MOST_IMAGES = 10_000
"""Limit of ``logger.log_images``, that of the rows that W&B shows of a table."""

ENVIRONMENT_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""Values of ``WANDB_MODE`` that W&B knows."""

LONGEST_TAG, LONGEST_PROJECT, NOT_IN_PROJECT = 64, 128, "/\\#?%:"
"""Limits of W&B: characters of a tag and of a project, and those that a project cannot have."""


def check(logger_cfg: Mapping[str, Any], login: bool = False) -> None:
    """Raise UserError for settings of W&B that it would refuse once a run has begun; calls no service.

    Args:
        logger_cfg: as in `make_logger`.
        login: with ``mode: online``, also check that this machine has credentials.
    """
    if logger_cfg["name"] != "wandb":
        return
    mode, named, tags = logger_cfg["mode"], os.environ.get("WANDB_MODE"), logger_cfg["tags"]
    if mode not in MODES:
        raise UserError(
            f"logger.mode={mode} does not exist{did_you_mean(str(mode), MODES)}; choose {', '.join(MODES)}."
        )
    if named and named not in ENVIRONMENT_MODES:
        hint = did_you_mean(named, ENVIRONMENT_MODES)
        raise UserError(
            f"WANDB_MODE={named} does not exist{hint}; choose {', '.join(ENVIRONMENT_MODES[:3])}, or unset it."
        )
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        shown = "null" if tags is None else tags
        raise UserError(f"logger.tags={shown} is not a list: write logger.tags=[{'' if tags is None else tags}].")
    if wrong := [each for each in map(str, tags) if not 1 <= len(each) <= LONGEST_TAG]:
        length = counted(len(wrong[0]), "character")
        raise UserError(f"logger.tags: a tag has 1 to {LONGEST_TAG} characters, and {wrong[0]!r} has {length}.")
    project = str(logger_cfg["project"])
    if len(project) > LONGEST_PROJECT or set(project) & set(NOT_IN_PROJECT):
        raise UserError(
            f"logger.project={project} is not possible: at most {LONGEST_PROJECT} characters, none of {NOT_IN_PROJECT}"
        )
    _check_media(logger_cfg)
    if login and mode == "online":
        _resolved(mode)


def _check_media(logger_cfg: Mapping[str, Any]) -> None:
    """Raise UserError for wrong values of ``log_model`` and ``log_images``, which older configurations lack."""
    chosen, images = logger_cfg.get("log_model"), logger_cfg.get("log_images", 0)
    if chosen not in MODELS:
        hint = did_you_mean(str(chosen), ("best", "null"))
        raise UserError(f"logger.log_model={chosen} does not exist{hint}; choose best, or null for none.")
    if type(images) is not int or not 0 <= images <= MOST_IMAGES:
        raise UserError(f"logger.log_images={images} is not possible: give 0 (none) to {MOST_IMAGES} images.")


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
            return _wandb(logger_cfg, run_dir, run_id, name, group, config)
        case other:
            raise UserError(f"logger={other} does not exist{did_you_mean(other, NAMES)}; choose {', '.join(NAMES)}.")


def finish(logger: Logger | None, exit_code: int) -> None:
    """Close a logger of `make_logger`; any ``exit_code`` but 0 marks the run as failed in W&B."""
    if logger is None or not _is_rank_zero():
        return
    if _is_wandb(logger):
        logger.experiment.finish(exit_code=exit_code)
    else:
        logger.finalize("success" if exit_code == 0 else "failed")


def log_figures(logger: Logger | None, figures: Mapping[str, Path]) -> None:
    """Log PNG files as images under their names."""
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
    """Log the confusion matrix of the test part as a W&B chart; other loggers have none.

    Args:
        logger: of `make_logger`.
        labels: true class of each image, ``(n,)``, an index into ``class_names``.
        predicted: predicted class of each image, ``(n,)``.
        class_names: in order.
    """
    if not _is_wandb(logger) or not _is_rank_zero():
        return
    from fersweep.tracking import media

    media.confusion_matrix(logger.experiment, labels, predicted, class_names)


def log_per_class(logger: Logger | None, per_class: Mapping[str, Mapping[str, Any]]) -> None:
    """Log precision, recall and F1 of each class: ``test/recall/happy`` in the summary, and in W&B a bar chart.

    Args:
        logger: of `make_logger`.
        per_class: as in ``result.json``.
    """
    if _is_wandb(logger) and _is_rank_zero():
        from fersweep.tracking import media

        media.per_class(logger.experiment, per_class)


def log_predictions(logger: Logger | None, shown: Iterable[Picture]) -> None:
    """Log a table of test images with their labels and predictions in W&B."""
    if _is_wandb(logger) and _is_rank_zero():
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
    if _is_wandb(logger) and _is_rank_zero():
        from fersweep.tracking import media

        media.model(logger.experiment, checkpoint, config, metadata)


def log_summary(logger: Logger | None, values: Mapping[str, float]) -> None:
    """Set the run's summary in W&B, which otherwise shows the last epoch instead of the tested one."""
    if _is_wandb(logger) and _is_rank_zero():
        logger.experiment.summary.update(dict(values))


def _wandb(
    logger_cfg: Mapping[str, Any], run_dir: Path, run_id: str, name: str, group: str, config: dict[str, Any]
) -> WandbLogger:
    """Open a W&B run on rank zero and return its Lightning logger."""
    from pytorch_lightning.loggers import WandbLogger

    check(logger_cfg)
    project = logger_cfg["project"]
    if not _is_rank_zero():
        return WandbLogger(project=project, id=run_id, save_dir=run_dir)
    import wandb

    mode = _resolved(logger_cfg["mode"])
    if wandb.run is not None:  # left open by an earlier run of this process
        wandb.run.finish(exit_code=1)
    try:
        run = wandb.init(
            project=project,
            entity=logger_cfg["entity"],
            group=logger_cfg["group"] or group,
            tags=list(logger_cfg["tags"]),
            name=name,
            id=run_id,
            resume="allow" if mode == "online" else None,  # offline W&B warns of it, and syncing joins equal ids
            job_type="train",
            mode=mode,
            dir=run_dir,
            config=config,
            # console="off": train.log has the output, and W&B's wrapped streams break progress bars
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


def _resolved(mode: str) -> Any:
    """Replace ``auto`` by ``WANDB_MODE``, or by ``online`` with a login and ``offline`` without."""
    from fersweep.tracking.account import logged_in

    if mode == "auto":
        return os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
    if mode == "online" and not logged_in():
        raise UserError(
            "logger.mode=online needs a login to Weights & Biases: run `wandb login` or set WANDB_API_KEY, "
            "or choose logger.mode=offline."
        )
    return mode


def _tensorboard(run_dir: Path, config: dict[str, Any]) -> TensorBoardLogger:
    """Return a TensorBoard logger for ``run_dir/tensorboard`` that has recorded the configuration."""
    from pytorch_lightning.loggers import TensorBoardLogger

    logger = TensorBoardLogger(run_dir, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams(config)
    return logger


def _is_rank_zero() -> bool:
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0


def _is_wandb(logger: Logger | None) -> TypeGuard[WandbLogger]:
    """Return whether this is the W&B logger, without importing it for others."""
    return type(logger).__name__ == "WandbLogger"


def _is_tensorboard(logger: Logger) -> TypeGuard[TensorBoardLogger]:
    return type(logger).__name__ == "TensorBoardLogger"
