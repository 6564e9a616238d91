"""Control characters and formulas in errors, choices and names, where people and programs read them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from rich.console import Console
from run_states import asked_for, finished

from fersweep.cli import main as cli
from fersweep.report import listing, svg
from fersweep.runs.collect import collect
from fersweep.runs.status import Status, mark_failed, mark_running

HOSTILE = "\x1b[2J\x1b]0;gone\x07 \x00\x08\u202e\udcff end"


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Runs with control characters in an error, a choice, a result and the name of a folder."""
    failed = asked_for(tmp_path / "=runs" / "none-s1-0000000001")
    mark_running(failed)
    mark_failed(failed, ValueError(f"=cmd|'/c calc'!A1 {HOSTILE}"))
    raw = asked_for(
        tmp_path / "=runs" / "none-s2-0000000002", 2, attention=f"se{HOSTILE}".encode("utf-8", "replace").decode()
    )
    status = json.loads((raw / "status.json").read_text())
    status |= {"state": "failed", "error": {"type": 3, "message": ["\x1b[2J"]}}
    (raw / "status.json").write_text(json.dumps(status))
    finished(tmp_path / "=runs" / "\x1b[7mnone-s3-0000000003", 3)
    broken = finished(tmp_path / "=runs" / "none-s4-0000000004", 4)
    (broken / "result.json").write_text(json.dumps({"choices": "\x1b[2J"}))
    return tmp_path


def test_no_control_character_reaches_the_terminal(outputs: Path) -> None:
    out = io.StringIO()
    listing.show(collect(outputs), Console(file=out, width=400, color_system=None))
    text = out.getvalue()
    assert "\\x1b[2J" in text
    assert all(each.isprintable() or each == "\n" for each in text)


def test_a_recorded_error_is_printable_text(outputs: Path) -> None:
    for directory in (outputs / "=runs").iterdir():
        error = Status.read(directory).error
        assert error is None or (error["type"] + error["message"]).isprintable()
    error = Status.read(outputs / "=runs" / "none-s1-0000000001").error
    assert error is not None
    assert error["message"] == f"=cmd|'/c calc'!A1 {HOSTILE}".encode("unicode_escape").decode()


def test_no_cell_of_the_runs_is_a_formula(
    outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outputs)
    assert cli.main(["collect", "=runs", "--csv"]) == 1
    records = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert len(records) == 4
    assert all(not re.match(r"[=+\-@]\D", cell) for record in records for cell in record.values())
    assert {record["directory"][:6] for record in records} == {"'=runs"}
    assert any(record["error_message"].startswith("'=cmd|") for record in records)
    assert any(record["test/accuracy"] == "0.9" for record in records)


def test_a_figure_with_control_characters_is_valid_xml(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 2))
    figure.suptitle("a\x1b\x00b")
    inline = svg.inline(figure, "x", "a figure")
    path, _ = svg.save(figure, tmp_path, "x")
    for text in (inline, path.read_text(encoding="utf-8")):
        ElementTree.fromstring(text)
        assert "a\ufffd\ufffdb" in text
