"""A run in Weights & Biases: its settings, opened on rank zero, closed with the state of its trial."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.errors import UserError
from fersweep.text import counted, did_you_mean
from fersweep.tracking import trial
from fersweep.tracking.ranks import is_rank_zero

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger
    from wandb import Run

MODES = ("auto", "online", "offline", "disabled")
MODELS = (None, "best")
"""Values of ``logger.log_model``."""

MOST_IMAGES = 10_000
"""Limit of ``logger.log_images``, that of the rows that W&B shows of a table."""

FINISH_S = 600.0
"""Seconds that the end of a run waits for uploads, unless ``WANDB_FINISH_TIMEOUT`` says otherwise; 0 has no limit."""

ENVIRONMENT_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""Values of ``WANDB_MODE`` that W&B knows."""

LONGEST_TAG, LONGEST_PROJECT, NOT_IN_PROJECT = 64, 128, "/\\#?%:"
"""Limits of W&B: characters of a tag and of a project, and those that a project cannot have."""


def check(logger_cfg: Mapping[str, Any], login: bool) -> None:
    """Raise UserError for settings of W&B that it would refuse once a run has begun; calls no service.

    Args:
        logger_cfg: as in `fersweep.tracking.make_logger`.
        login: with ``mode: online``, also check that this machine has credentials.
    """
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
    _patience()
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


def close(run: Run, exit_code: int, state: trial.State | None) -> None:
    """Close a run; any ``exit_code`` but 0 marks it as failed, unless it belongs to a trial that was pruned.

    Args:
        run: to close.
        exit_code: of the training.
        state: of its trial, if a search started it.
    """
    if state is not None:
        run.summary.update({trial.STATE: state})
    run.finish(exit_code=0 if state == "pruned" else exit_code)


def open_run(
    logger_cfg: Mapping[str, Any], run_dir: Path, run_id: str, name: str, group: str, config: dict[str, Any]
) -> WandbLogger:
    """Open a W&B run on rank zero and return its Lightning logger; see `fersweep.tracking.make_logger`."""
    from pytorch_lightning.loggers import WandbLogger

    check(logger_cfg, login=False)
    project = logger_cfg["project"]
    if not is_rank_zero():
        return WandbLogger(project=project, id=run_id, save_dir=run_dir)
    import wandb

    mode, found = _resolved(logger_cfg["mode"]), trial.of(run_dir)
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
            job_type="train" if found is None else trial.JOB,
            mode=mode,
            dir=run_dir,
            config=config,
            # console="off": train.log has the output, and W&B's wrapped streams break progress bars
            settings=wandb.Settings(
                console="off", save_code=False, quiet=True, silent=mode != "online", finish_timeout=_patience()
            ),
        )
    except (wandb.Error, OSError) as error:
        raise UserError(
            f"Weights & Biases did not open run {run_id} ({error}); check `wandb login` and the network, "
            "or choose logger.mode=offline."
        ) from error
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    if found is not None:
        run.summary.update({trial.NUMBER: found.number, trial.STATE: "running"})
    return WandbLogger(project=project, id=run_id, save_dir=run_dir, experiment=run)


def _patience() -> float:
    """Return the seconds that the end of a run waits for uploads; without a limit W&B retries for hours."""
    named = os.environ.get("WANDB_FINISH_TIMEOUT", "")
    try:
        return float(named or FINISH_S)
    except ValueError as error:
        raise UserError(f"WANDB_FINISH_TIMEOUT={named} is not a number of seconds: correct or unset it.") from error


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
