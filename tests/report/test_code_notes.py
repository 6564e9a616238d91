"""Runs of different code are named, by row and commit; equal digests are one code."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from report_runs import CBAM, NONE, SHORT, failed, finished, right

from fersweep.cli.main import main
from fersweep.files import write_json
from fersweep.report import code, page, tables, write
from fersweep.runs.status import Status


def record(digest: str, commit: str | None) -> dict[str, Any]:
    return {"digest": digest, "commit": commit, "version": "0.2.0"}


def trained_with(directory: Path, *records: dict[str, Any]) -> Path:
    result = json.loads((directory / "result.json").read_text())
    write_json(directory / "result.json", result | {"code": list(records)})
    return directory


def test_rows_and_seeds_from_different_code_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, same = record("a" * 16, "1" * 40), record("b" * 16, "2" * 40 + "+changes"), record("a" * 16, "3" * 40)
    trained_with(finished(tmp_path, (*SHORT, *NONE), 1, right(0.6, 1)), old)
    trained_with(finished(tmp_path, (*SHORT, *NONE), 2, right(0.6, 2)), same)
    trained_with(finished(tmp_path, (*SHORT, *CBAM), 1, right(0.6, 3)), old)
    run = trained_with(finished(tmp_path, (*SHORT, *CBAM), 2, right(0.6, 4)), old, new)
    report = write.contents(tmp_path)
    none, cbam = report.rows
    assert not [note for note in none.notes if "code" in note]
    note = (
        "Its runs come from different code: commit 1111111111 (code aaaaaaaa) trained seeds 1 and 2, commit 2222222222 "
        "with changes (code bbbbbbbb) trained seed 2; seed 2 resumed with other code than it began with."
    )
    assert note in cbam.notes
    assert report.code == (
        f"Rows come from different code: commit 1111111111 (code aaaaaaaa) trained {none.name}; {cbam.name}, "
        f"commit 2222222222 with changes (code bbbbbbbb) trained {cbam.name}.",
    )
    assert report.code[0] in page.render(report)
    assert report.code[0] in tables.as_markdown(report)
    unfinished = failed(tmp_path, (*SHORT, "attention=eca"), 1, RuntimeError("no"))
    Status(state="failed", attempts=1, code=[new]).write(unfinished)
    assert main(["collect", str(tmp_path), "--json"]) == 1
    found = {each["directory"]: (each["code"], each["commit"]) for each in json.loads(capsys.readouterr().out)}
    assert found[str(run)] == (f"{'a' * 16}, {'b' * 16}", f"{'1' * 40}, {'2' * 40}+changes")
    assert found[str(unfinished)] == ("b" * 16, "2" * 40 + "+changes")
    assert main(["collect", str(tmp_path), "--csv"]) == 1
    rows = {
        row["directory"]: (row["code"], row["commit"]) for row in csv.DictReader(capsys.readouterr().out.splitlines())
    }
    assert rows == found


def test_one_code_and_unknown_code_need_no_remark(tmp_path: Path) -> None:
    trained_with(finished(tmp_path, (*SHORT, *NONE), 1, right(0.6, 1)), record("a" * 16, "1" * 40))
    trained_with(finished(tmp_path, (*SHORT, *CBAM), 1, right(0.6, 2)), record("a" * 16, None))
    before = finished(tmp_path, (*SHORT, *CBAM), 2, right(0.6, 3))
    result = json.loads((before / "result.json").read_text())
    write_json(before / "result.json", result | {"environment": {"commit": "4" * 40}})
    report = write.contents(tmp_path)
    assert report.code == ()
    assert not [note for row in report.rows for note in row.notes if "code" in note]
    assert [row.code for row in report.rows] == [
        (("a" * 16, "commit 1111111111"),),
        (("a" * 16, "version 0.2.0 as installed"),),
    ]
    assert code.states(result) == []
