"""The setting that was probably meant by a name that no setting has."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from fersweep.config.options import groups, option_file
from fersweep.config.schema import GROUPS, dotted

ALIASES = {
    "recipe.max_epochs": "epoch epochs n_epochs num_epochs nb_epochs total_epochs train_epochs",
    "recipe.batch_size": "batch batchsize bs train_batch_size mini_batch_size",
    "recipe.optimizer.lr": "learning_rate learningrate base_lr init_lr",
    "recipe.optimizer.weight_decay": "wd decay",
    "recipe/optimizer": "optim opt",
    "recipe.schedule": "scheduler lr_scheduler lr_schedule",
    "recipe.warmup_epochs": "warmup warm_up",
    "recipe.early_stopping_patience": "patience early_stopping",
    "recipe.gradient_clip": "clip grad_clip clip_grad gradient_clip_val max_grad_norm",
    "recipe.gradient_clip_mode": "clip_mode gradient_clip_algorithm",
    "recipe.teacher": "distill distillation teachers teacher_model",
    "recipe.step_epochs": "decay_epochs step_size",
    "recipe.step_factor": "decay_rate lr_decay",
    "recipe.ema_decay": "ema",
    "recipe.test_crops": "tta ten_crop crops",
    "recipe.crop": "crop_size random_crop train_crop_size val_crop_size crop_pct",
    "backbone": "model network net arch architecture encoder",
    "augmentation": "aug augment augmentations transforms",
    "dataset": "data ds",
    "dataset.root": "path data_dir data_path data_root dataset_dir dataset_path datadir",
    "dataset.image_size": "size img_size imgsize input_size resolution",
    "split.fold": "fold_id kfold",
    "trainer": "device accelerator",
    "trainer.devices": "gpu gpus n_gpus num_gpus ngpu",
    "trainer.workers": "num_workers n_workers nworkers",
    "trainer.precision": "amp fp16 bf16 mixed_precision",
    "weights": "pretrained init_from pretrained_weights",
    "outputs": "out output output_dir out_dir outdir save_dir log_dir work_dir",
    "sweep": "exp exp_name run_name experiment_name name",
    "seed": "random_seed manual_seed random_state",
    "hydra.launcher.n_jobs": "jobs n_jobs",
}
"""Settings and groups, and the names that other programs give them."""

MEANT = {alias: setting for setting, aliases in ALIASES.items() for alias in aliases.split()}


def meant(path: str, siblings: Iterable[str], known: Sequence[str]) -> str:
    """Return `` (did you mean X?)`` for an unknown setting, or an empty string; case does not count.

    Args:
        path: dotted name of the unknown setting.
        siblings: names beside it.
        known: all settings and groups, the former dotted, the latter with slashes.
    """
    parent, _, last = path.replace("/", ".").rpartition(".")
    last, beside = last.casefold(), {each.casefold(): each for each in siblings} if parent else {}
    ends: dict[str, list[str]] = {}
    for key in known:
        ends.setdefault(re.split(r"[./]", key)[-1].casefold(), []).append(key)
    if last not in ends and (close := _closest(last, beside)):
        return f" (did you mean {parent}.{beside[close]}?)"
    found = "" if last in ends else MEANT.get(last, "")
    if not found and not parent and last not in ends:
        found = _of_other_options(last)
    if not found and (close := _closest(last, ends)):
        found = min(ends[close], key=lambda key: _rank(key, parent))
    return f" (did you mean {found}?)" if found else ""


def _closest(word: str, words: Iterable[str]) -> str:
    return (*difflib.get_close_matches(word, list(words), n=1, cutoff=0.7), "")[0]


def _rank(key: str, parent: str) -> tuple[bool, float, int, int]:
    """Return what is smallest for the likeliest of several settings with one last name."""
    first, top = parent.partition(".")[0], re.split(r"[./]", key)[0]
    alike = difflib.SequenceMatcher(None, first, top).ratio() if first else 0.0
    order = ("recipe", "dataset", "trainer", *GROUPS)
    return top != first, -alike if alike >= 0.6 else 0.0, order.index(top) if top in order else len(order), len(key)


def _of_other_options(last: str) -> str:
    """Return a setting that only some options of a group have, with these: ``attention.gamma, with attention=eca``."""
    found: dict[tuple[str, str], list[str]] = {}
    for group, names in groups().items():
        if group.partition("/")[0] not in GROUPS:
            continue
        for name in names:
            for key in dotted(option_file(group, name)):
                if key.rpartition(".")[2].casefold() == last:
                    found.setdefault((group, f"{group.replace('/', '.')}.{key}"), []).append(name)
    if not found:
        return ""
    group, setting = min(found, key=lambda pair: (_rank(pair[1], ""), -len(pair[0])))
    return f"{setting}, with {group}={' or '.join(found[group, setting])}"
