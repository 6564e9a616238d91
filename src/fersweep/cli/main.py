"""The command ``fersweep``: one verb a question; thin, the work is done elsewhere."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks import PARTS
from fersweep.cli import demo, explain, export, faces, predict, push
from fersweep.config import plugins
from fersweep.config.compose import check_choices
from fersweep.config.options import options
from fersweep.errors import UserError, printable
from fersweep.paths import given


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 good, 1 it found something wrong, 2 it was asked for the impossible."""
    given_arguments = list(sys.argv[1:] if arguments is None else arguments)
    if given_arguments[:1] in (["-sc"], ["--shell-completion"]):  # what a shell asks for completing `fersweep train …`
        os.environ["COMP_LINE"] = re.sub(r"^(\S+) +train\b", r"\1", os.environ.get("COMP_LINE", ""))
        return _train(given_arguments)
    if given_arguments[:1] == ["train"]:
        return _train(given_arguments[1:])
    parser = _parser()
    if not given_arguments:
        parser.print_help()
        return 0
    parsed, rest = parser.parse_known_args(given_arguments)
    if rest and parsed.verb is not _data:
        parser.error(f"unrecognized argument {rest[0]!r}")
    if wrong := [each for each in rest if each.startswith("-") or "=" not in each]:
        parser.error(f"{wrong[0]!r} is neither an option nor KEY=VALUE")
    parsed.overrides = rest
    try:
        for name, value in vars(parsed).items():
            if isinstance(value, Path):
                setattr(parsed, name, given(value))
            elif isinstance(value, list) and all(isinstance(each, Path) for each in value):
                setattr(parsed, name, [given(each) for each in value])
        plugins.use(getattr(parsed, "plugin", None) or [])
        code: int = parsed.verb(parsed)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fersweep", description="Facial emotion recognition experiments.")
    parser.add_argument("--version", action="version", version=f"fersweep {version('fersweep')}")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verbs.add_parser("train", help="train and test a network, or with -m a sweep; as train.py", add_help=False)
    data = verbs.add_parser(
        "data",
        help="verify and count a dataset; find identical, unreadable and odd-sized images",
        usage="fersweep data DATASET [--root PATH] [--json] [KEY=VALUE ...]",
        description="Verify and count a dataset, and audit it. Exit code 1 if images are missing or unreadable. "
        "KEY=VALUE as for train.py, e.g. dataset.source.neutral=false.",
    )
    data.add_argument("dataset", help=", ".join(options("dataset")))
    data.add_argument("--root", metavar="PATH", help="its archive or folder, or any folder above it")
    data.add_argument("--json", action="store_true", help="everything found, for programs")
    data.set_defaults(verb=_data)
    collect = verbs.add_parser(
        "collect",
        help="list all runs: what they reached, which are not done and why",
        description="List every run below a folder: state, choices, scores, errors. Exit code 1 unless all are done.",
    )
    collect.add_argument(
        "outputs", metavar="OUTPUTS", type=Path, help="the folder of a sweep, such as outputs/runs, or of all: outputs"
    )
    form = collect.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything known of each run, as a list of objects")
    form.add_argument("--csv", action="store_true", help="the same, flat: one row a run")
    collect.set_defaults(verb=_collect)
    report = verbs.add_parser(
        "report",
        help="a page, tables and figures of all finished runs, beside the study's figures, with statistics",
        description="Write index.html, table.md, table.csv, table.tex and figures of the runs below a folder. "
        "Exit code 1 if some of them are not done; the report says which.",
    )
    report.add_argument("outputs", metavar="OUTPUTS", type=Path, help="the folder of a sweep, such as outputs/runs")
    report.add_argument("-o", metavar="DIR", type=Path, dest="folder", help="where to; default: OUTPUTS/report")
    report.add_argument(
        "--time",
        action="store_true",
        help="also plot accuracy against training time, for runs that each had a machine to themselves",
    )
    report.set_defaults(verb=_report)
    params = verbs.add_parser(
        "params",
        help="parameter counts of the study's 32 networks: ours, its code's, its table's",
        description="Count the parameters of the study's 32 networks and compare them with its code and its table. "
        "Exit code 1 if fidelity=code does not have the code's counts.",
    )
    params.add_argument(
        "--fidelity", metavar="|".join(options("fidelity")), default="code", help="default: %(default)s"
    )
    params.add_argument("--json", action="store_true", help="as a list of objects")
    params.set_defaults(verb=_params)
    for verb in (faces, predict, explain, export, push, demo):
        name = verb.__name__.rpartition(".")[2]
        its = verbs.add_parser(name, help=verb.HELP, description=verb.__doc__)
        verb.add(its)
        its.set_defaults(verb=verb.run)
        if verb is not faces:
            its.add_argument(
                "--plugin", metavar="MODULE", action="append", help="a module of your own that the checkpoint needs"
            )
    _add_bench(verbs.add_parser("bench", help="measure speed and memory, each part beside what it is compared with"))
    _add_wandb(
        verbs.add_parser("wandb", help="send what was recorded offline to Weights & Biases; write a report there")
    )
    return parser


def _train(arguments: list[str]) -> int:
    """What `train.py` does; returns the exit code."""
    from fersweep.cli.train import train

    try:
        train(arguments, "fersweep train")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _add_bench(bench: argparse.ArgumentParser) -> None:
    listed = "; ".join(f"{name}: {what}" for name, what in PARTS.items())
    bench.description = (
        "Measure speed and memory on synthetic data. Figures have a median, least and most over rounds in which all "
        "that is compared takes turns: trust ratios, on a shared machine more than figures."
    )
    bench.add_argument("parts", metavar="PART", nargs="*", help=f"{listed}. Default: all")
    bench.add_argument("--backbone", metavar="NAME", nargs="+", help="default: resnet50 vgg19 aer_cnn")
    bench.add_argument("--batch", metavar="N", nargs="+", type=int, help="images a training step; default: 64")
    bench.add_argument("--image-size", metavar="PIXELS", type=int, help="default: 48")
    bench.add_argument("--repeats", metavar="N", type=int, help="rounds; default: 5")
    bench.add_argument("--threads", metavar="N", type=int, help="of the CPU; default: one a core, or OMP_NUM_THREADS")
    bench.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: %(default)s")
    bench.add_argument("--fer2013", metavar="PATH", type=Path, help="its archive or folder, for the part data")
    bench.add_argument("--json", metavar="FILE", help="write everything to a file, too; -: print it in place of tables")
    bench.add_argument("--smoke", action="store_true", help="as little as possible of everything, to see that it runs")
    bench.set_defaults(verb=_bench)


def _add_wandb(wandb: argparse.ArgumentParser) -> None:
    verbs = wandb.add_subparsers(title="verbs", required=True, metavar="VERB")
    sync = verbs.add_parser(
        "sync",
        help="send what runs have recorded offline, once",
        description="Send what runs have recorded offline, once. Exit code 1 if something could not be sent.",
    )
    sync.add_argument(
        "outputs", metavar="OUTPUTS", type=Path, nargs="?", default=Path("outputs"), help="default: %(default)s"
    )
    sync.add_argument("--dry-run", action="store_true", help="say what there is to send")
    sync.set_defaults(verb=_wandb_sync)
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
    report.set_defaults(verb=_wandb_report)


def _data(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from fersweep.config.checks import validate
    from fersweep.config.compose import compose_config
    from fersweep.data import audit

    root = [] if parsed.root is None else [f"dataset.root={json.dumps(parsed.root, ensure_ascii=False)}"]
    cfg = compose_config([f"dataset={parsed.dataset}", "split=random", *root, *parsed.overrides])
    validate(cfg)
    if any(cfg.dataset.preprocessing.values()) or cfg.dataset.faces != "none":
        raise UserError(
            "fersweep data looks at the images as they are: leave dataset.faces and dataset.preprocessing out."
        )

    from fersweep import build

    report = audit.audit(build.source(cfg))
    if parsed.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        Console().print(audit.render(report))
    complete = all(check["ok"] for check in report["checks"])
    return 0 if complete and not report["unreadable"] else 1


def _collect(parsed: argparse.Namespace) -> int:
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
    return 0 if all(run.state == "done" for run in runs) else 1


def _report(parsed: argparse.Namespace) -> int:
    from fersweep.report import write

    report = write.contents(parsed.outputs)
    folder = parsed.outputs / "report" if parsed.folder is None else parsed.folder
    write.write(report, folder, parsed.time)
    done, rows = report.done, len(report.rows)
    print(f"{done} finished run{'s'[: done != 1]} in {rows} row{'s'[: rows != 1]}, {len(report.unfinished)} not done")
    for pair in (*report.options, *report.fidelity)[:10]:
        print(f"  {pair.sentence}")
    if report.unfinished:
        states = Counter(run.state for run in report.unfinished)
        listed = ", ".join(f"{count} {state}" for state, count in states.items())
        print(f"not done: {listed}; the page lists them, and the command that began them goes on with them")
    print(folder / "index.html")
    return 1 if report.unfinished else 0


def _params(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from fersweep.report import parameters

    check_choices([f"fidelity={parsed.fidelity}"])
    counts = parameters.count(parsed.fidelity)
    if parsed.json:
        print(json.dumps([vars(each) for each in counts], indent=2))
    else:
        parameters.show(counts, parsed.fidelity, Console())
    return 0 if parsed.fidelity != "code" or all(each.equal for each in counts) else 1


def _bench(parsed: argparse.Namespace) -> int:
    from benchmarks.run import bench

    bench(
        parsed.json,
        parts=parsed.parts,
        backbones=parsed.backbone,
        batches=parsed.batch,
        image_size=parsed.image_size,
        repeats=parsed.repeats,
        threads=parsed.threads,
        device=parsed.device,
        smoke=parsed.smoke,
        fer2013=parsed.fer2013,
    )
    return 0


def _wandb_sync(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from fersweep.tracking import sync

    outcomes = sync.sync(parsed.outputs, dry_run=parsed.dry_run)
    if outcomes:
        Console().print(sync.render(outcomes, parsed.outputs))
    else:
        print(f"Nothing in {parsed.outputs} is left to send.")
    return sync.exit_code(outcomes)


def _wandb_report(parsed: argparse.Namespace) -> int:
    from fersweep.tracking import report

    for place in report.publish(parsed.project, parsed.sweep, parsed.spec):
        print(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
