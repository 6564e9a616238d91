"""README's table of what holds, from the runs in this folder: ``uv run python results/claims.py``.

``claims.yaml`` names the claims; rows, intervals, comparisons and verdicts are those of ``fersweep report``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from fersweep.report.compare import oriented, signed
from fersweep.report.contents import Comparison, Report, Row
from fersweep.report.write import contents

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- made by results/claims.py -->", "<!-- end -->"

HEADER = "| Claim, on FER2013 | Published | Here | Verdict |\n|---|---|---|---|\n"
UNTRAINED = "not trained to its end yet"


def table() -> str:
    """Return the table in Markdown."""
    claims = yaml.safe_load((HERE / "claims.yaml").read_text(encoding="utf-8"))
    return HEADER + "".join(
        f"| {each['claim']} | {each['published']} | {' | '.join(_found(each))} |\n" for each in claims
    )


@functools.cache
def _report(folder: str) -> Report:
    return contents(HERE / folder)


def _found(claim: Mapping[str, Any]) -> tuple[str, str]:
    """Return what was found, and the verdict."""
    if "folder" not in claim:
        return "", UNTRAINED
    report = _report(claim["folder"])
    rows = [row for row in report.rows if claim["row"].items() <= {**row.choices, **row.labels}.items()]
    if "pair" in claim:
        (pair,) = _pairs(report, {row.key for row in rows}, claim["pair"])
        return _of_pair(pair, claim["pair"]["gains"])
    (row,) = rows
    return _of_row(row)


def _of_row(row: Row) -> tuple[str, str]:
    on_validation = row.validation is not None
    score = row.validation or row.accuracy
    assert score.sd is not None, "a claim takes several seeds"
    low, high = (100 * end for end in row.interval)
    test = "" if on_validation else f", n = {row.n:,}, 95 % {low:.1f} to {high:.1f}"
    where = " on validation" if on_validation else ""
    other = "" if row.verdict.comparable else ", other protocol"
    return (
        f"{100 * score.mean:.2f} ± {100 * score.sd:.2f} %{where} ({score.n} seeds{test})",
        f"{row.verdict.kind}{other}",
    )


def _pairs(report: Report, keys: set[str], wanted: Mapping[str, Any]) -> Iterator[Comparison]:
    for pair in oriented((*report.options, *report.fidelity)):
        if (
            pair.group == wanted["group"]
            and keys.issuperset(pair.rows)
            and _way(pair) == (wanted["first"], wanted["second"])
        ):
            yield pair


def _way(pair: Comparison) -> tuple[str, str]:
    return pair.first, pair.second


def _of_pair(pair: Comparison, gains: list[float]) -> tuple[str, str]:
    low, high = (100 * end for end in pair.interval)
    outside = [gain for gain in gains if not low <= gain <= high]
    interval = f"{min(pair.seeds)} seeds, n = {pair.n:,}, 95 % {signed(low)} to {signed(high)}"
    found = f"{signed(100 * pair.difference)} points ({interval})"
    verdict = "established" if pair.established and pair.difference > 0 else "not established"
    return found, verdict + (f"; {', '.join(map(str, outside))} is outside the interval" if outside else "")


def main() -> None:
    """Put the table into the README."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
