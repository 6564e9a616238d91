"""Upload offline recordings to Weights & Biases, or create or update a report there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.text import print_whole

if TYPE_CHECKING:
    from fersweep.report.search import Searched
    from fersweep.tracking.findings import Findings, SearchFound


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
        help="create or update a page that compares the runs of a project",
        description="Create a report and a workspace that compare the runs of a Weights & Biases project, or update "
        "those that an earlier call created under the same title.",
    )
    report.add_argument("project", metavar="ENTITY/PROJECT", help="as in the URL of the project")
    report.add_argument(
        "outputs",
        metavar="OUTPUTS",
        type=Path,
        nargs="?",
        help="folder of a sweep here: adds what `fersweep report` says about it, and shows only its runs",
    )
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

    findings = None if parsed.outputs is None else _findings(parsed.outputs)
    for place in report.publish(parsed.project, parsed.sweep, parsed.spec, findings):
        print(place)
    return 0


def _findings(outputs: Path) -> Findings:
    """Return what `fersweep report` says about the runs below a folder."""
    from fersweep.report import tables, write
    from fersweep.runs.collect import collect
    from fersweep.tracking.findings import Findings

    report = write.contents(outputs)
    groups = {_group(run.directory) for run in collect(outputs)}
    return Findings(
        title=report.title,
        groups=tuple(sorted(groups - {""})),
        table=tables.as_markdown(report),
        verdicts=tuple(f"{pair.sentence}." for pair in (*report.options, *report.fidelity)),
        classes=tuple(dict.fromkeys(name for row in report.rows for name in row.class_names)),
        searches=tuple(map(_search, report.searches)),
    )


def _group(run_dir: Path) -> str:
    """Return the group of a run in W&B; empty if its configuration cannot be read."""
    from fersweep.runs.collect import config_of

    config = config_of(run_dir)
    return str((config.get("logger") or {}).get("group") or config.get("sweep") or "")


def _search(search: Searched) -> SearchFound:
    """Return a search with its parameters under the keys that they have in a run's configuration."""
    from fersweep.config.schema import dotted
    from fersweep.runs.collect import config_of
    from fersweep.tracking.findings import SearchFound

    first = next((search.folder / run for trial in search.trials for run in trial.runs[:1]), search.folder)
    known = dotted(config_of(first))

    def keys(names: tuple[str, ...]) -> tuple[str, ...]:
        plain = [name.replace("/", ".").partition("@")[0] for name in names]
        tried = [[key for key in (name, f"{name}.name", f"{name}._target_") if key in known] for name in plain]
        return tuple(found[0] for found in tried if found)

    best = search.best
    of_the_best = (
        ()
        if best is None
        else (f"Best: trial {best.number}, {search.heading} {search.shown(best.value)}.", search.command)
    )
    return SearchFound(
        name=search.name,
        group=_group(first) or search.name,
        metric=search.metric,
        parameters=keys(search.parameters),
        logarithmic=keys(search.logarithmic),
        sentences=(f"{search.counts}.", *of_the_best),
    )
