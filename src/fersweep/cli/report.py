"""Write a page, tables and figures that compare the runs below a folder.

The files are index.html, table.md, table.csv, table.tex, protocol.md (answers to reproducibility checklists) and
figures; of a search also trials.csv and best.yaml, an experiment's file. Exit code 1 if some runs are not done; the
report lists them. Runs that a search pruned do not count.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from fersweep.text import counted


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("outputs", metavar="OUTPUTS", type=Path, help="folder of a sweep, such as outputs/runs")
    parser.add_argument("-o", metavar="DIR", type=Path, dest="folder", help="output folder; default: OUTPUTS/report")
    parser.add_argument(
        "--time",
        action="store_true",
        help="also plot accuracy against training time, for runs that did not share a machine",
    )


def run(parsed: argparse.Namespace) -> int:
    from fersweep.report import write

    report = write.contents(parsed.outputs)
    folder = parsed.outputs / "report" if parsed.folder is None else parsed.folder
    write.write(report, folder, parsed.time)
    runs, rows = counted(report.done, "finished run"), counted(len(report.rows), "row")
    print(f"{runs} in {rows}, {len(report.unfinished)} not done")
    for pair in (*report.options, *report.fidelity)[:10]:
        print(f"  {pair.sentence}")
    if report.unfinished:
        states = Counter(each.state for each in report.unfinished)
        listed = ", ".join(f"{count} {state}" for state, count in states.items())
        print(f"not done: {listed}; the page lists them, and the command that started them resumes them")
    for search in report.searches:
        print(f"search {search.name}: {search.counts}")
        if search.best is not None:
            print(f"  best: trial {search.best.number}, {search.heading} {search.shown(search.best.value)}")
            print(f"  {search.command}")
    print(folder / "index.html")
    return 1 if report.unfinished else 0
