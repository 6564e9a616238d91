"""Remove runs without a result: failed, pruned, interrupted, pending and unreadable ones.

They are listed first, and removed if you agree. Runs that are done or running are never removed. With --cache, decoded
datasets are removed too; they are decoded again when needed. Exit code 1 if something was not removed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import platformdirs

from fersweep.text import counted, printable


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "outputs", metavar="OUTPUTS", type=Path, help="folder of one run, of one sweep, or of all sweeps"
    )
    parser.add_argument(
        "--cache",
        metavar="FOLDER",
        type=Path,
        nargs="?",
        const=Path(platformdirs.user_cache_dir("fersweep")),
        help="also remove decoded datasets, by default those in the user's cache folder",
    )
    parser.add_argument("--yes", action="store_true", help="remove without asking")


def run(parsed: argparse.Namespace) -> int:
    from fersweep.runs import clean

    found = clean.unfinished(parsed.outputs) + (clean.cached(parsed.cache) if parsed.cache else [])
    for each in found:
        print(f"{each.state:<11}  {each.size / 2**20:8.1f} MiB  {printable(str(each.directory))}")
    total = f"{counted(len(found), 'folder')}, {sum(each.size for each in found) / 2**20:,.1f} MiB"
    if not found:
        print("Nothing to remove: every run is done or running.")
        return 0
    resumable = " (interrupted runs could be resumed)" if any(each.state == "interrupted" for each in found) else ""
    if not parsed.yes and not _agreed(f"Remove {total}{resumable}? [y/N] "):
        print("Nothing was removed.")
        return 1
    removed, kept = clean.remove(found)
    for sentence in kept:
        print(f"error: {printable(sentence)}", file=sys.stderr)
    print(f"Removed {counted(len(removed), 'folder')}.")
    return 1 if kept else 0


def _agreed(question: str) -> bool:
    """Ask on the terminal; the end of the input is a no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
