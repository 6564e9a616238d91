"""Compare the parameter counts of the 32 networks with the study's code and table.

Exit code 1 if a count with fidelity=code differs from the study's code.
"""

from __future__ import annotations

import argparse
import json

from fersweep.config.compose import check_choices
from fersweep.config.options import options


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fidelity", metavar="|".join(options("fidelity")), default="code", help="default: %(default)s"
    )
    parser.add_argument("--flops", action="store_true", help="count the operations of the forward pass too, in GFLOP")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from fersweep.report import parameters

    check_choices([f"fidelity={parsed.fidelity}"])
    counts = parameters.count(parsed.fidelity, parsed.flops)
    if parsed.json:
        print(json.dumps([vars(each) for each in counts], indent=2))
    else:
        parameters.show(counts, parsed.fidelity, Console())
    return 0 if parsed.fidelity != "code" or all(each.equal for each in counts) else 1
