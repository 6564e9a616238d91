"""Check and count the images of a dataset, and find duplicates.

KEY=VALUE are settings as for train.py, such as dataset.source.neutral=false. Exit code 1 if images are missing,
unreadable or not read, or a name is one that training refuses.
"""

from __future__ import annotations

import argparse
import json
import sys

from fersweep.config.options import options
from fersweep.errors import UserError
from fersweep.text import counted, print_whole, visible_json

USAGE = "fersweep data DATASET [--root PATH] [--json] [KEY=VALUE ...]"


def add(parser: argparse.ArgumentParser) -> None:
    parser.usage = USAGE
    parser.add_argument("dataset", help=", ".join(options("dataset")))
    parser.add_argument("--root", metavar="PATH", help="archive or folder of the dataset, or a folder above it")
    parser.add_argument("--json", action="store_true", help="print the full audit as JSON")


def run(parsed: argparse.Namespace) -> int:
    from fersweep import build
    from fersweep.config.checks import validate
    from fersweep.config.compose import compose_config
    from fersweep.config.typed import readable
    from fersweep.data import audit

    root = [] if parsed.root is None else [f"dataset.root={parsed.root}"]
    typed = [readable(each, multirun=False) for each in (*root, *parsed.overrides)]
    cfg = compose_config([f"dataset={parsed.dataset}", "split=random", *typed])
    validate(cfg)
    if any(cfg.dataset.preprocessing.values()) or cfg.dataset.faces != "none":
        raise UserError("fersweep data audits the original images: omit dataset.faces and dataset.preprocessing.")
    report = audit.audit(build.source(cfg))
    if parsed.json:
        print(visible_json(json.dumps(report, indent=2, ensure_ascii=False)))
    else:
        print_whole(*audit.render(report).renderables)
    differing = sum(not check["ok"] for check in report["checks"])
    dropped = sum(left["files"] for left in report["left_out"] if left["missing"])
    faults = [
        *[f"{counted(differing, 'count')} not those of a complete copy"] * bool(differing),
        *[f"{counted(len(report['unreadable']), 'image')} unreadable"] * bool(report["unreadable"]),
        *[f"{counted(dropped, 'image')} not read"] * bool(dropped),
        *["a name that training refuses"] * bool(report["refused"]),
    ]
    if faults:
        print(f"incomplete: {', '.join(faults)}", file=sys.stderr)
    return int(bool(faults))
