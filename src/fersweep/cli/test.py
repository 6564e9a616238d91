"""Test a trained network on another dataset, or on another part of its own.

KEY=VALUE name the data, as for train.py: dataset, dataset.*, split and split.*; the pictures keep the size, channels
and preprocessing of the training. recipe.test_crops=10 averages over ten crops, and force=true repeats a test. Classes
are matched by name. The result is a folder in RUN/tests, which collect and report find. With a folder of runs each
finished one is tested, and dataset can name several: dataset=fer2013,jaffe. Exit code 1 if a test failed, or a run is
not done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fersweep.cli import arguments
from fersweep.text import counted, printable, visible_json


def add(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s NETWORK [KEY=VALUE ...] [options]"
    parser.add_argument("network", metavar="NETWORK", type=Path, help=f"{arguments.NETWORK}, or a folder of runs")
    parser.add_argument(
        "--part",
        choices=("test", "val", "train", "all"),
        help="images to test; default: the test part of the split that is named or, for its own dataset, was trained "
        "with; of another dataset its predefined test part, and without one all images",
    )
    parser.add_argument(
        "--outputs",
        choices=("shared", "all"),
        default="shared",
        help="the answer is the likeliest of the classes that network and dataset share (default), or of all outputs "
        "of the network, where another class is a wrong answer",
    )
    parser.add_argument(
        "-o", metavar="DIR", type=Path, dest="out", help="folder for the results; default: RUN/tests; a file needs it"
    )
    parser.add_argument("--json", action="store_true", help="print all results as JSON")
    arguments.device(parser)


def run(parsed: argparse.Namespace) -> int:
    from fersweep.inference.elsewhere import run as elsewhere

    stream = sys.stderr if parsed.json else sys.stdout
    job = elsewhere.Job(
        path=parsed.network,
        overrides=tuple(parsed.overrides),
        part=parsed.part,
        outputs=parsed.outputs,
        out=parsed.out,
        device=parsed.device,
    )
    outcome = elsewhere.run(job, lambda text: print(printable(text), file=stream, flush=True))
    for warning in elsewhere.sentences(outcome):
        print(f"warning: {printable(warning)}", file=sys.stderr)
    if parsed.json:
        print(visible_json(outcome.as_json()))
    elif len(outcome.done) == 1:
        print(printable(str(outcome.done[0][1].test.directory)))
    elif outcome.done:
        _print_table(parsed.network, {done.test.on for _, done in outcome.done})
    if outcome.unfinished:
        states = ", ".join(f"{path.name} ({state})" for path, state in outcome.unfinished)
        print(
            f"{counted(len(outcome.unfinished), 'run is', 'runs are')} not done: {printable(states)}", file=sys.stderr
        )
    if outcome.failed:
        print(f"{counted(len(outcome.failed), 'test')} failed", file=sys.stderr)
    return int(bool(outcome.failed or outcome.unfinished))


def _print_table(folder: Path, only: set[str]) -> None:
    """Print the table of the networks in a folder by the data tested on."""
    from fersweep.report import elsewhere, gather, rows
    from fersweep.report.listing import aligned
    from fersweep.runs.collect import collect

    finished, _ = gather.read(collect(folder))
    tested = elsewhere.tested(rows.rows_of(finished)[0]) if finished else []
    if not tested:
        return
    columns = elsewhere.choice(tested, only).shown
    print()
    for line in aligned(
        [[each.heading for each in columns], *([each.text(row) for each in columns] for row in tested)]
    ):
        print(line)
