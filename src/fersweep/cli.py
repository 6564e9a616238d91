"""The command ``fersweep``: one verb a question; thin, the work is done elsewhere."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from fersweep.compose import options
from fersweep.errors import UserError, did_you_mean


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 good, 1 it found something wrong, 2 it was asked for the impossible."""
    parser = _parser()
    parsed, overrides = parser.parse_known_args(arguments)
    if wrong := [each for each in overrides if each.startswith("-") or "=" not in each]:
        parser.error(f"{wrong[0]!r} is neither an option nor KEY=VALUE")
    parsed.overrides = overrides
    try:
        code: int = parsed.verb(parsed)
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fersweep", description="Facial emotion recognition experiments.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    data = verbs.add_parser(
        "data",
        help="verify and count a dataset; find identical, unreadable and odd-sized images",
        usage="fersweep data DATASET [--root PATH] [--json] [KEY=VALUE ...]",
        description="Verify and count a dataset, and audit it. Exit code 1 if images are missing or unreadable. "
        "KEY=VALUE as for train.py, e.g. dataset.source.neutral=false.",
    )
    data.add_argument("dataset", help=", ".join(options("dataset")))
    data.add_argument("--root", metavar="PATH", help="its archive or folder, or any folder above it")
    data.add_argument("--json", action="store_true", help="everything found, for programs")
    data.set_defaults(verb=_data)
    return parser


def _data(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from fersweep.compose import compose_config
    from fersweep.config import validate
    from fersweep.data import audit

    if parsed.dataset not in options("dataset"):
        choices = options("dataset")
        hint = did_you_mean(parsed.dataset, choices)
        raise UserError(f"There is no dataset {parsed.dataset!r}{hint}; choices: {', '.join(choices)}.")
    root = [] if parsed.root is None else [f"dataset.root={json.dumps(parsed.root, ensure_ascii=False)}"]
    cfg = compose_config([f"dataset={parsed.dataset}", "split=random", *root, *parsed.overrides])
    validate(cfg)

    from fersweep import build

    report = audit.audit(build.source(cfg))
    if parsed.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        Console().print(audit.render(report))
    complete = all(check["ok"] for check in report["checks"])
    return 0 if complete and not report["unreadable"] else 1
