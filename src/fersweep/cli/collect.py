"""List all runs below a folder with state, scores and errors. Exit code 1 unless all are done or pruned."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "outputs", metavar="OUTPUTS", type=Path, help="folder of one sweep, such as outputs/runs, or of all sweeps"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print all fields of each run as JSON")
    form.add_argument("--csv", action="store_true", help="print all fields as CSV, one row per run")


def run(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from fersweep.report import listing, search
    from fersweep.runs.collect import collect

    runs = collect(parsed.outputs)
    searches = search.find(runs)
    if parsed.json:
        print(listing.as_json(runs, search.numbers(searches)))
    elif parsed.csv:
        sys.stdout.write(listing.as_csv(runs, search.numbers(searches)))
    else:
        listing.show(runs, Console())
        for each in searches:
            listing.show_trials(each, Console())
    return 0 if all(each.state in ("done", "pruned") for each in runs) else 1
