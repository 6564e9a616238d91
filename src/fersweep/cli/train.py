"""Training from a command line: what ``train.py``, ``fersweep train`` and ``python -m fersweep train`` do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import hydra
from omegaconf import DictConfig

from fersweep.config.command_line import check_command_line
from fersweep.config.options import config_dir, groups
from fersweep.config.schema import register

HELP = """\
One run of facial emotion recognition: train, select on validation, test once, record.

  {program} [group=choice] [key=value]            one run
  {program} -m backbone=resnet50,vgg19 seed=1,2   a sweep: every combination, one process each

Groups and their choices:
{groups}

Scalars people set: seed sweep force weights dataset.root dataset.image_size recipe.max_epochs recipe.batch_size
  trainer.precision plugins

Sweeps:  hydra/launcher=local (default) | slurm, hydra.launcher.n_jobs=2, …: docs/how-to/sweeps.md, docs/how-to/slurm.md
Options of your own:  --config-dir FOLDER, plugins=[MODULE]: docs/how-to/extend.md
See the whole config of a run:  {program} --cfg job [overrides]
What it means:                  docs/reference/configuration.md
"""


def train(arguments: Sequence[str], program: str = "uv run train.py") -> None:
    """Train and test one network or, with ``-m``, a sweep of them.

    Args:
        arguments: Hydra's; ``--help`` among them lists the choices.
        program: how the command is shown in the help.

    Raises:
        SystemExit: with code 2 for what a user got wrong, 130 after Ctrl-C, and as runs and sweeps end.
    """
    register()
    arguments = check_command_line(arguments)
    if {"--help", "-h"} & set(arguments):
        listed = "\n".join(f"{group}: {', '.join(choices)}" for group, choices in groups().items())
        print(HELP.format(program=program, groups=listed), end="")
        return
    sys.argv[1:] = arguments
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")(_run)()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _run(cfg: DictConfig) -> Any:
    """Hand the composed configuration on; what training needs is imported only now."""
    from fersweep.run import run

    return run(cfg)
