"""Check of ``trainer.lightning``, further arguments of Lightning's Trainer."""

from __future__ import annotations

from inspect import signature

import pytorch_lightning as pl
from omegaconf import DictConfig

from fersweep.errors import UserError
from fersweep.text import did_you_mean

OWNED = {
    "accelerator": "trainer.accelerator",
    "strategy": "trainer.strategy",
    "devices": "trainer.devices",
    "num_nodes": "trainer.num_nodes",
    "precision": "trainer.precision",
    "accumulate_grad_batches": "trainer.auto_microbatch",
    "callbacks": "callbacks",
    "logger": "logger",
    "profiler": "trainer.profiler",
    "overfit_batches": "trainer.overfit_batches",
    "enable_progress_bar": "trainer.progress_bar",
    "enable_model_summary": "callbacks=summary",
    "default_root_dir": "outputs",
    "max_time": "hydra.launcher.timeout",
    "fast_dev_run": "experiment=debug_batch",
    "sync_batchnorm": "trainer=ddp",
    **dict.fromkeys(("max_epochs", "min_epochs", "max_steps", "min_steps"), "recipe.max_epochs"),
    **dict.fromkeys(("gradient_clip_val", "gradient_clip_algorithm"), "recipe.gradient_clip"),
    **{f"limit_{part}_batches": "trainer.limit_batches" for part in ("train", "val", "test", "predict")},
    **dict.fromkeys(("val_check_interval", "check_val_every_n_epoch", "enable_checkpointing", "inference_mode"), ""),
    **dict.fromkeys(("log_every_n_steps", "num_sanity_val_steps", "plugins", "barebones"), ""),
    **dict.fromkeys(("reload_dataloaders_every_n_epochs", "use_distributed_sampler"), ""),
}
"""Arguments of Lightning's Trainer that fersweep sets, with the setting that controls each (empty: none)."""


def check_trainer_arguments(cfg: DictConfig) -> None:
    """Raise UserError for an argument in ``trainer.lightning`` that is unknown to Lightning or set by fersweep."""
    known = [name for name in signature(pl.Trainer.__init__).parameters if name != "self"]
    for name in cfg.trainer.lightning:
        if name not in known:
            free = [each for each in known if each not in OWNED]
            hint = did_you_mean(str(name), free)
            raise UserError(f"Lightning's Trainer has no argument {name!r}{hint}; choices: {', '.join(free)}.")
        if name in OWNED:
            advice = f": set {OWNED[name]} instead" if OWNED[name] else ""
            raise UserError(f"trainer.lightning.{name} cannot be set, because fersweep controls it{advice}.")
