"""Training from the command line, for ``train.py``, ``fersweep train`` and ``python -m fersweep train``."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

import hydra
from omegaconf import DictConfig

from fersweep.config.command_line import DRY_RUN, check_command_line
from fersweep.config.options import config_dir, groups
from fersweep.config.schema import register
from fersweep.text import visible_traceback
from fersweep.training.typed import remember

HELP = """\
Train a network for facial emotion recognition, select the best epoch on validation, and test it once.

  {program}                                        one run: synthetic faces, minutes on two CPU cores
  {program} dataset=fer2013 dataset.root=PATH      choose options (group=option) and settings (key=value)
  {program} -m backbone=resnet50,vgg19 seed=1,2    a sweep: every combination, each in its own process
  {program} --cfg job [...]                        print the configuration of a run without running it
  {program} --dry-run [...]                        print what a run or sweep would do: done, left, predicted time

Results are written to outputs/SWEEP/RUN; compare them with: fersweep report outputs/SWEEP

Groups and their options:
{groups}

Common settings:  seed sweep force weights dataset.root dataset.image_size recipe.max_epochs recipe.batch_size
                  trainer.precision plugins
Sweeps:           hydra/launcher=local (default) or slurm, hydra.launcher.n_jobs=2 (docs/how-to/sweeps.md, slurm.md)
Your own options: --config-dir FOLDER, plugins=[MODULE] (docs/how-to/extend.md)
All settings:     docs/reference/configuration.md
"""


def train(arguments: Sequence[str], program: str = "uv run train.py") -> None:
    """Train and test one network or, with ``-m``, a sweep.

    Args:
        arguments: as for Hydra; ``--help`` lists the options.
        program: name of the command in the help.

    Raises:
        SystemExit: with code 2 for a user's mistake, 130 after Ctrl-C, and at the end of a failed run or a sweep.
    """
    register()
    task = _preview if DRY_RUN in arguments else _run
    typed, arguments = [each for each in arguments if each != DRY_RUN], check_command_line(arguments)
    if {"--help", "-h"} & set(arguments):
        listed = "\n".join(f"{group}: {', '.join(choices)}" for group, choices in groups().items())
        print(HELP.format(program=program, groups=listed), end="")
        return
    remember(typed, arguments)
    sys.argv[1:] = arguments
    try:
        with _completions() if any(each.startswith("query=") for each in arguments) else nullcontext():
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")(task)()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@contextmanager
def _completions() -> Iterator[None]:
    """Leave the files that others are based on, such as ``dataset=_base``, out of what Hydra offers to a shell."""
    offered = io.StringIO()
    with redirect_stdout(offered):
        yield
    for line in offered.getvalue().splitlines():
        print(" ".join(word for word in line.split(" ") if not re.match(r"(.*[=/,])?_", word)))


def _run(cfg: DictConfig) -> Any:
    """Run a composed configuration; imports torch and Lightning only now."""
    from fersweep.run import run

    with visible_traceback():
        return run(cfg)


def _preview(cfg: DictConfig) -> None:
    """Print what a single run would do."""
    from fersweep.errors import UserError
    from fersweep.sweep.plan import refuse
    from fersweep.sweep.preview import show_one

    with visible_traceback():
        try:
            show_one(cfg)
        except UserError as error:
            refuse(str(error))
