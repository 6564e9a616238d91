"""Listings of runs, for people (a table of scores, another of unfinished runs) and for programs (JSON, CSV)."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.report.formats import peta
from fersweep.report.search import Searched, as_lines
from fersweep.report.titles import titled
from fersweep.runs import tests
from fersweep.runs.collect import STATES, Run, State
from fersweep.text import cells, counted, printable

if TYPE_CHECKING:
    from rich.console import Console

STYLES: dict[State, str] = {
    "running": "cyan",
    "failed": "red",
    "unreadable": "red",
    "interrupted": "yellow",
    "pruned": "dim",
}


def show(runs: Sequence[Run], console: Console) -> None:
    """Print the scores of finished runs, best validation accuracy first, then the others by state, then the counts.

    Choices are shown by title, if they differ. Each run is one line; on a terminal, errors are cut to its width, names
    never. Columns are aligned here because rich's tables take seconds for thousands of rows.
    """
    from rich.text import Text

    show_scores(runs, console, sweeps=True)
    names, cells = _about(runs, sweeps=True)
    others = sorted((run for run in runs if run.state != "done"), key=lambda run: STATES.index(run.state))
    if others:
        header = ("state", *names, "error" if any(run.error for run in others) else "")
        reasons = [header[-1], *map(_reason, others)]
        lines = aligned([header, *((run.state, *cells(run), _reason(run)) for run in others)])
        styles = ["dim", *(STYLES.get(run.state, "") for run in others)]
        for line, reason, style in zip(lines, reasons, styles, strict=True):
            text = Text(line, style)
            if console.is_terminal and len(line) - len(reason) < console.width:
                text.truncate(console.width if reason else len(line), overflow="ellipsis")
            console.print(text, soft_wrap=True)
        console.print()
    show_tests(runs, console)
    console.print(count(runs), highlight=False)


def show_tests(runs: Sequence[Run], console: Console) -> None:
    """Print the tests of networks on other data, and an empty line, if there are some."""
    from rich.text import Text

    lines = [("run", "tested on", "accuracy", "95 % interval", "n")]
    for run, each in ((one, each) for one in runs for each in one.tests):
        if each["state"] != "done":
            lines.append((run.run, "unreadable", "", "", each["error"]))
            continue
        low, high = each["accuracy_interval"]
        lines.append((run.run, each["name"], f"{each['accuracy']:.2%}", f"{low:.2%} to {high:.2%}", f"{each['n']:,}"))
    if len(lines) > 1:
        for number, line in enumerate(aligned(lines)):
            console.print(Text(line, "" if number else "dim"), soft_wrap=True)
        console.print()


def show_scores(runs: Sequence[Run], console: Console, sweeps: bool = False) -> None:
    """Print the scores of finished runs, best validation accuracy first, and an empty line.

    The folder of their sweep is named if there are several, or with ``sweeps``.
    """
    from rich.text import Text

    names, cells = _about(runs, sweeps)
    done = sorted((run for run in runs if run.state == "done"), key=_best_first)
    if done:
        counted = any(run.training_flops is not None for run in done)
        header = (*names, "validation", "test", "95 % interval", "n", *(["PFLOP"] if counted else []))
        lines = aligned([header, *((*cells(run), *_scores(run), *_cost(run, counted)) for run in done)])
        for number, line in enumerate(lines):
            console.print(Text(line, "" if number else "dim"), soft_wrap=True)
        console.print()


def show_trials(search: Searched, console: Console) -> None:
    """Print the trials of a search, best first, below their number by state."""
    from rich.text import Text

    console.print(f"\nsearch {search.name}: {search.counts}", highlight=False)
    for number, line in enumerate(aligned(as_lines(search))):
        console.print(Text(line, "" if number else "dim"), soft_wrap=True)


def count(runs: Sequence[Run]) -> str:
    """Return the number of runs by state: ``12 runs: 9 done, 1 failed, 2 pending``."""
    found = Counter(run.state for run in runs)
    states = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    return f"{counted(len(runs), 'run')}: {states}"


def as_json(runs: Iterable[Run], trials: Mapping[Path, int] | None = None) -> str:
    """Return a list of objects, one per run, with all fields of `Run`; unknown values are null.

    If some are ``trials`` of a search, ``trial`` is the number of each run's.
    """
    objects = [{**vars(run), "directory": str(run.directory)} for run in runs]
    if trials:
        objects = [{**each, "trial": trials.get(Path(each["directory"]))} for each in objects]
    return json.dumps(objects, indent=2)


def as_csv(runs: Sequence[Run], trials: Mapping[Path, int] | None = None) -> str:
    """Return RFC 4180 text, one record per run below a header; unknown values are empty.

    Columns: directory, state, run, each group of choices, seed, each setting that distinguishes runs, each metric, the
    ends of the accuracy's interval, training_flops, attempts, started, finished, error_type, error_message, code,
    commit; if some are ``trials`` of a search, also the number of each run's; if some were tested on other data, the
    accuracy on each.
    """
    groups = list(dict.fromkeys(group for run in runs for group in run.choices))
    metrics = list(dict.fromkeys(name for run in runs for name in run.metrics))
    settings = list(dict.fromkeys(name for run in runs for name in run.settings))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    interval = ("accuracy_interval_low", "accuracy_interval_high", "training_flops")
    ends = ("attempts", "started", "finished", "error_type", "error_message", "code", "commit")
    numbered = ("trial",) if trials else ()
    of = tests.columns([*_tested(run)] for run in runs)
    others = dict(of.values())
    elsewhere = [f"accuracy on {title}" for title in others.values()]
    named = ["directory", "state", "run", *groups, "seed", *settings, *metrics, *interval, *ends, *numbered, *elsewhere]
    writer.writerow(cells(named))
    for run in runs:
        error = run.error or {"type": "", "message": ""}
        writer.writerow(
            cells(
                [
                    *(str(run.directory), run.state, run.run, *(run.choices.get(group) for group in groups), run.seed),
                    *(run.settings.get(name) for name in settings),
                    *(run.metrics.get(name) for name in metrics),
                    *(run.accuracy_interval or (None, None)),
                    run.training_flops,
                    *(run.attempts, run.started, run.finished, error["type"], error["message"], run.code, run.commit),
                    *((trials.get(run.directory),) if trials else ()),
                    *({of[data][0]: accuracy for data, accuracy in _tested(run).items()}.get(key) for key in others),
                ]
            )
        )
    return text.getvalue()


def _tested(run: Run) -> dict[tests.Data, float]:
    """Return the accuracy of a run on each of the data on which it was tested."""
    done = [each for each in run.tests if each["state"] == "done"]
    return {(each["on"], each["data_digest"], each["name"]): each["accuracy"] for each in done}


def _about(runs: Sequence[Run], sweeps: bool) -> tuple[tuple[str, ...], Any]:
    """Return the columns that distinguish the runs, and a function from a run to its texts in them."""
    groups = dict.fromkeys(group for run in runs for group in run.choices)
    differing = [group for group in groups if len({run.choices.get(group) for run in runs if run.choices}) > 1]
    settings = list(dict.fromkeys(name for run in runs for name in run.settings))
    folders = {run.directory.parent.absolute() for run in runs}
    sweeps = sweeps or len(folders) > 1
    above = Path(os.path.commonpath(folders))
    above = above.parent if above in folders else above
    choices = [{group: option for group, option in run.choices.items() if group in differing} for run in runs]
    directories = [run.directory for run in runs]
    titles = dict(zip(directories, titled(zip(directories, choices, strict=True)), strict=True))

    def cells(run: Run) -> tuple[str, ...]:
        sweep = (str(run.directory.parent.absolute().relative_to(above)),) if sweeps else ()
        seed = "" if run.seed is None else str(run.seed)
        values = (str(run.settings.get(name, "")) for name in settings)
        return (*sweep, run.run, *(titles[run.directory].get(group, "") for group in differing), seed, *values)

    return (*(("sweep",) if sweeps else ()), "run", *differing, "seed", *settings), cells


def _best_first(run: Run) -> float:
    value = run.metrics.get("val/accuracy")
    return 1.0 if value is None else -value


def _scores(run: Run) -> tuple[str, ...]:
    validation, test, n = (run.metrics.get(name) for name in ("val/accuracy", "test/accuracy", "test/n"))
    low_high = run.accuracy_interval
    return (
        "" if validation is None else f"{validation:.2%}",
        "" if test is None else f"{test:.2%}",
        "" if low_high is None else f"{low_high[0]:.2%} to {low_high[1]:.2%}",
        "" if n is None else f"{n:,}",
    )


def _cost(run: Run, shown: bool) -> tuple[str, ...]:
    """Return the cell of the training's operations, if that column is ``shown``."""
    return (("" if run.training_flops is None else peta(run.training_flops)),) if shown else ()


def _reason(run: Run) -> str:
    """Return the error in one line, without the type of a `UserError`."""
    if run.error is None:
        return ""
    kind, message = run.error["type"], " ".join(run.error["message"].split())
    return message if kind == "UserError" else f"{kind}: {message}"


def aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Return each row as a line with its columns two spaces apart."""
    rows = [[*map(printable, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    return ("  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows)
