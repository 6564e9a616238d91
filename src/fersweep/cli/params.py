"""Count the parameters of the study's 32 networks and compare them with its code and its table.

Exit code 1 if fidelity=code does not have the code's counts.
"""

from __future__ import annotations

import argparse
import json

from fersweep.config.compose import check_choices
from fersweep.config.options import options

HELP = "parameter counts of the study's 32 networks: ours, its code's, its table's"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--fidelity", metavar="|".join(options("fidelity")), default="code", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="as a list of objects")


def run(parsed: argparse.Namespace) -> int:
    """Count; return 0, or 1 where a network of ``fidelity=code`` differs from the study's code."""
    from rich.console import Console

    from fersweep.report import parameters

    check_choices([f"fidelity={parsed.fidelity}"])
    counts = parameters.count(parsed.fidelity)
    if parsed.json:
        print(json.dumps([vars(each) for each in counts], indent=2))
    else:
        parameters.show(counts, parsed.fidelity, Console())
    return 0 if parsed.fidelity != "code" or all(each.equal for each in counts) else 1
