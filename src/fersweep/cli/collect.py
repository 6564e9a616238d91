"""List every run below a folder: state, choices, scores, errors. Exit code 1 unless all are done."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "list all runs: what they reached, which are not done and why"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "outputs", metavar="OUTPUTS", type=Path, help="the folder of a sweep, such as outputs/runs, or of all: outputs"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything known of each run, as a list of objects")
    form.add_argument("--csv", action="store_true", help="the same, flat: one row a run")


def run(parsed: argparse.Namespace) -> int:
    """List the runs; return 0, or 1 unless all are done."""
    from rich.console import Console

    from fersweep.report import listing
    from fersweep.runs.collect import collect

    runs = collect(parsed.outputs)
    if parsed.json:
        print(listing.as_json(runs))
    elif parsed.csv:
        sys.stdout.write(listing.as_csv(runs))
    else:
        listing.show(runs, Console())
    return 0 if all(each.state == "done" for each in runs) else 1
