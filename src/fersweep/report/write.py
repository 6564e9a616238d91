"""The report: from a folder of runs to a folder with a page, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fersweep.errors import UserError
from fersweep.files import atomic_path
from fersweep.report import across, code, compare, elsewhere, ensembles, gather, labels, protocol, search, study, tables
from fersweep.report.contents import Report, Row
from fersweep.report.gather import Finished
from fersweep.report.rows import rows_of
from fersweep.report.titles import joined, titled
from fersweep.runs.collect import collect


def contents(outputs: Path) -> Report:
    """Return the report of the runs below ``outputs``.

    Raises:
        UserError: there are no runs, or no finished run with readable files.
    """
    runs = collect(outputs)
    searches = search.find(runs)
    finished, others = gather.read(run for run in runs if run.state != "pruned")
    if not finished:
        states = ", ".join(sorted({run.state for run in others}))
        damaged = next((run.error["message"] for run in others if run.state == "unreadable" and run.error), "")
        nothing = f"No run in {outputs} is done ({states}): there is nothing to report yet."
        raise UserError(f"{nothing} {damaged}".rstrip())
    rows, columns = rows_of(finished)
    unfinished = titled((run.directory, run.choices) for run in others)
    groups = [group for group in compare.compared(columns) if group != "fidelity"]
    compared = {group: compare.compare(rows, group) for group in (*groups, "fidelity")}
    return Report(
        title=_title(finished, outputs),
        rows=tuple(rows),
        columns=columns,
        common=labels.common(finished),
        options=tuple(pair for group in groups for pair in compared[group]),
        fidelity=compared["fidelity"],
        claims=tuple(claim for pairs in compared.values() for claim in across.claims(rows, pairs)),
        unfinished=tuple(others),
        unfinished_names=tuple(joined(each.values()) for each in unfinished),
        done=len(finished),
        missing=tuple(_missing(rows)),
        searches=searches,
        controls=compare.controls(rows),
        protocol=protocol.sheet(finished, runs, rows, searches, sum(map(len, compared.values()))),
        code=tuple(code.across([(row.name, row.code) for row in rows])),
    )


def _title(runs: Sequence[Finished], outputs: Path) -> str:
    """Return the sweep of all runs, or the folder's name if there are several."""
    sweeps = {run.sweep for run in runs}
    return sweeps.pop() if len(sweeps) == 1 and "" not in sweeps else outputs.resolve().name


def _missing(rows: Sequence[Row]) -> list[str]:
    """Return sentences on rows of the study's table without a run here, and on seeds that some rows lack."""
    sentences = []
    for dataset in study.study()["test_n"]:
        here = {
            (row.choices["backbone"], row.choices["attention"])
            for row in rows
            if row.choices["dataset"] == dataset and row.reported and row.reported.params_total is not None
        }
        absent = [study.title(*row) for row in study.rows() if row not in here]
        if here and absent:
            some = f": {', '.join(absent)}" if len(absent) <= 8 else ""
            on = study.titled("dataset", dataset)
            sentences.append(f"{len(absent)} of the study's 32 rows have no finished run on {on}{some}.")
    seeds = sorted({seed for row in rows for seed in row.seeds})
    for seed in seeds:
        lacking = [row.name for row in rows if seed not in row.seeds]
        if lacking:
            some = "; ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
            sentences.append(f"Seed {seed} is missing for {some}.")
    return sentences


def write(report: Report, folder: Path, time: bool = False) -> list[Path]:
    """Write ``index.html``, ``table.*``, ``protocol.md`` and ``figures/``; return the files.

    The folder is created if missing. With ``time``, accuracy is also drawn against training time.

    Raises:
        UserError: ``folder`` cannot be written.
    """
    from fersweep.report import page, plots  # matplotlib takes a second to import; errors come first

    texts = {
        "index.html": page.render(report, time),
        "table.md": tables.as_markdown(report),
        "table.csv": tables.as_csv(report),
        "table.tex": tables.as_latex(report),
        **ensembles.files(report),
        **elsewhere.files(report),
        "protocol.md": protocol.as_markdown(report.title, report.protocol),
        **search.files(report.searches),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
        figures = plots.write(report, folder / "figures", time)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another place with -o DIR.") from error
    return [*(folder / name for name in texts), *figures]
