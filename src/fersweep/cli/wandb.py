"""Send what was recorded offline to Weights & Biases, or write a report there."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "send what was recorded offline to Weights & Biases; write a report there"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments: those of its own two commands."""
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    sync = verbs.add_parser(
        "sync",
        help="send what runs have recorded offline, once",
        description="Send what runs have recorded offline, once. Exit code 1 if something could not be sent.",
    )
    sync.add_argument(
        "outputs", metavar="OUTPUTS", type=Path, nargs="?", default=Path("outputs"), help="default: %(default)s"
    )
    sync.add_argument("--dry-run", action="store_true", help="say what there is to send")
    sync.set_defaults(wandb=_sync)
    report = verbs.add_parser(
        "report",
        help="put a page that compares the runs into a project",
        description="Put a report and a workspace that compare the runs into a project of Weights & Biases.",
    )
    report.add_argument("project", metavar="ENTITY/PROJECT", help="as in the address of the project")
    report.add_argument("--sweep", metavar="NAME", help="the runs of this sweep only")
    report.add_argument(
        "--spec", metavar="FILE", type=Path, help="write what would be sent to a JSON file; needs no login"
    )
    report.set_defaults(wandb=_report)


def run(parsed: argparse.Namespace) -> int:
    """Run the command that was chosen; return its exit code."""
    code: int = parsed.wandb(parsed)
    return code


def _sync(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from fersweep.tracking import sync

    outcomes = sync.sync(parsed.outputs, dry_run=parsed.dry_run)
    if outcomes:
        Console().print(sync.render(outcomes, parsed.outputs))
    else:
        print(f"Nothing in {parsed.outputs} is left to send.")
    return sync.exit_code(outcomes)


def _report(parsed: argparse.Namespace) -> int:
    from fersweep.tracking import report

    for place in report.publish(parsed.project, parsed.sweep, parsed.spec):
        print(place)
    return 0
