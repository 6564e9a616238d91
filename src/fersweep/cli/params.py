"""Count the parameters of networks, by default of the study's 32 beside those of its code and table.

With KEY=VALUE, as in a sweep, the networks they name are counted instead: backbone=resnet18 attention=se,cbam.
Exit code 1 if a count of the study's networks with fidelity=code differs from the study's code.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from fersweep.config.compose import check_choices
from fersweep.config.options import options
from fersweep.errors import UserError


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fidelity", metavar="|".join(options("fidelity")), help="of the study's networks (default: code)"
    )
    parser.add_argument("--flops", action="store_true", help="count the operations of the forward pass too, in GFLOP")
    parser.add_argument(
        "--match",
        action="store_true",
        help="find the width at which the network without attention has as many parameters; needs KEY=VALUE",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "KEY=VALUE: backbone, attention and their settings; values separated by commas are combined, as in a sweep"
    )


def run(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from fersweep.report import parameters, sizes

    if parsed.overrides:
        if parsed.fidelity is not None:
            raise UserError(f"--fidelity is for the study's networks: write fidelity={parsed.fidelity}.")
        found = sizes.sizes(parsed.overrides, parsed.flops, parsed.match)
        if parsed.json:
            print(json.dumps([dataclasses.asdict(each) for each in found], indent=2))
        else:
            sizes.show(found, Console())
        if remark := sizes.unequal(found):
            print(remark, file=sys.stderr)
        return 0
    if parsed.match:
        raise UserError("--match needs a network: write --match backbone=resnet18 attention=se,cbam.")
    fidelity = parsed.fidelity or "code"
    check_choices([f"fidelity={fidelity}"])
    counts = parameters.count(fidelity, parsed.flops)
    if parsed.json:
        print(json.dumps([vars(each) for each in counts], indent=2))
    else:
        parameters.show(counts, fidelity, Console())
    return 0 if fidelity != "code" or all(each.equal for each in counts) else 1
