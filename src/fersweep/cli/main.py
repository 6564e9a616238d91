"""Command line ``fersweep``.

Each command is a module of this package: its docstring is the help, ``add`` declares its arguments, and ``run`` returns
its exit code.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from fersweep.cli import clean, collect, data, demo, explain, export, faces, params, predict, push, report, test, wandb
from fersweep.cli.train import train
from fersweep.config import plugins
from fersweep.errors import UserError
from fersweep.files import given
from fersweep.text import printable, shortened

COMMANDS = (data, test, collect, clean, report, params, faces, predict, explain, export, push, demo, wandb)
WITH_PLUGINS = (test, predict, explain, export, push, demo)
"""Commands that read a checkpoint, which may need a user's modules."""
WITH_OVERRIDES = (data.run, test.run, params.run)
"""Commands that take settings as ``train.py`` does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 for success, 1 for a negative finding, 2 for a user's mistake, 130 after Ctrl-C, 141 if the
        reader of the output has closed it.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if typed[:1] in (["-sc"], ["--shell-completion"]):  # shell completion of `fersweep train …`
        os.environ["COMP_LINE"] = re.sub(r"^(\S+) +train\b", r"\1", os.environ.get("COMP_LINE", ""))
        return _train(typed)
    if typed[:1] == ["train"]:
        return _train(typed[1:])
    if typed[:1] == ["bench"]:
        print("error: fersweep bench is now python -m benchmarks, in a checkout of fersweep.", file=sys.stderr)
        return 2
    parser = _parser()
    if not typed:
        parser.print_help()
        return 0
    parsed, rest = parser.parse_known_args(typed)
    if hasattr(parsed, "words") and not any(each.startswith("-") for each in rest):
        parsed.words += rest  # inputs after an option, which argparse leaves
        rest = []
    if rest and parsed.run not in WITH_OVERRIDES:
        parser.error(f"unrecognized argument {rest[0]!r}")
    if wrong := [each for each in rest if each.startswith("-") or "=" not in each]:
        parser.error(f"{wrong[0]!r} is neither an option nor KEY=VALUE")
    parsed.overrides = rest
    return _run(parsed)


def _run(parsed: argparse.Namespace) -> int:
    try:
        for name, value in vars(parsed).items():
            if isinstance(value, Path):
                setattr(parsed, name, given(value))
            elif isinstance(value, list) and all(isinstance(each, Path) for each in value):
                setattr(parsed, name, [given(each) for each in value])
        plugins.use(getattr(parsed, "plugin", None) or [])
        code: int = parsed.run(parsed)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {printable(shortened(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fersweep",
        description="Train, compare and use networks for facial emotion recognition.",
        epilog="fersweep COMMAND --help shows the arguments of a command.",
    )
    parser.add_argument("--version", action="version", version=f"fersweep {version('fersweep')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("train", help="Train a network, or a sweep with -m; the same as train.py", add_help=False)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        summary, _, _ = str(command.__doc__).partition("\n")[0].partition(". ")
        its = commands.add_parser(name, help=summary.rstrip("."), description=command.__doc__)
        command.add(its)
        its.set_defaults(run=command.run)
        if command in WITH_PLUGINS:
            its.add_argument(
                "--plugin", metavar="MODULE", action="append", help="your own module that the checkpoint needs"
            )
    return parser


def _train(arguments: list[str]) -> int:
    """Run ``train.py``; return the exit code."""
    try:
        train(arguments, "fersweep train")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
