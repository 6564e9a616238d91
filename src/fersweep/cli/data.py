"""Verify and count a dataset, and audit it. Exit code 1 if images are missing or unreadable.

KEY=VALUE as for train.py, e.g. dataset.source.neutral=false.
"""

from __future__ import annotations

import argparse
import json

from fersweep.config.options import options
from fersweep.errors import UserError

HELP = "verify and count a dataset; find identical, unreadable and odd-sized images"
USAGE = "fersweep data DATASET [--root PATH] [--json] [KEY=VALUE ...]"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = USAGE
    parser.add_argument("dataset", help=", ".join(options("dataset")))
    parser.add_argument("--root", metavar="PATH", help="its archive or folder, or any folder above it")
    parser.add_argument("--json", action="store_true", help="everything found, for programs")


def run(parsed: argparse.Namespace) -> int:
    """Audit the dataset; return 0, or 1 where images are missing or unreadable."""
    from rich.console import Console

    from fersweep import build
    from fersweep.config.checks import validate
    from fersweep.config.compose import compose_config
    from fersweep.data import audit

    root = [] if parsed.root is None else [f"dataset.root={json.dumps(parsed.root, ensure_ascii=False)}"]
    cfg = compose_config([f"dataset={parsed.dataset}", "split=random", *root, *parsed.overrides])
    validate(cfg)
    if any(cfg.dataset.preprocessing.values()) or cfg.dataset.faces != "none":
        raise UserError(
            "fersweep data looks at the images as they are: leave dataset.faces and dataset.preprocessing out."
        )
    report = audit.audit(build.source(cfg))
    if parsed.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        Console().print(audit.render(report))
    complete = all(check["ok"] for check in report["checks"])
    return 0 if complete and not report["unreadable"] else 1
