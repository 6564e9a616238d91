"""Upload offline recordings to Weights & Biases, or create a report there."""

from __future__ import annotations

import argparse
from pathlib import Path

from fersweep.text import print_whole


def add(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    sync = commands.add_parser(
        "sync",
        help="upload what runs recorded offline",
        description="Upload what runs recorded offline and mark it as sent. Exit code 1 if an upload failed.",
    )
    sync.add_argument(
        "outputs",
        metavar="OUTPUTS",
        type=Path,
        nargs="?",
        default=Path("outputs"),
        help="folder of runs; default: outputs",
    )
    sync.add_argument("--dry-run", action="store_true", help="only list what would be sent")
    sync.set_defaults(wandb=_sync)
    report = commands.add_parser(
        "report",
        help="create a page that compares the runs of a project",
        description="Create a report and a workspace that compare the runs of a Weights & Biases project.",
    )
    report.add_argument("project", metavar="ENTITY/PROJECT", help="as in the URL of the project")
    report.add_argument("--sweep", metavar="NAME", help="only the runs of this sweep")
    report.add_argument(
        "--spec", metavar="FILE", type=Path, help="write the specification to a JSON file instead, without a login"
    )
    report.set_defaults(wandb=_report)


def run(parsed: argparse.Namespace) -> int:
    code: int = parsed.wandb(parsed)
    return code


def _sync(parsed: argparse.Namespace) -> int:
    from fersweep.tracking import sync

    outcomes = sync.sync(parsed.outputs, dry_run=parsed.dry_run)
    if outcomes:
        print_whole(sync.render(outcomes, parsed.outputs))
    else:
        print(f"Nothing in {parsed.outputs} is left to send.")
    return sync.exit_code(outcomes)


def _report(parsed: argparse.Namespace) -> int:
    from fersweep.tracking import report

    for place in report.publish(parsed.project, parsed.sweep, parsed.spec):
        print(place)
    return 0
