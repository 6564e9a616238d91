"""Counts, durations, lists and errors as people read them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from fersweep import text


def test_counts_and_lists_are_english() -> None:
    assert [text.counted(n, "person", "people") for n in (1, 1200)] == ["1 person", "1,200 people"]
    assert [text.counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert [text.listed(list(words), "or") for words in ("a", "ab", "abc")] == ["a", "a or b", "a, b or c"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(4.14, "4.1 s"), (41.3, "41 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_durations_are_to_two_units(seconds: float, expected: str) -> None:
    assert text.duration(seconds) == expected


def test_errors_become_one_line() -> None:
    assert text.first_line(ValueError("  no such file.\nsecond line")) == "no such file"
    assert text.first_line(KeyError()) == "KeyError"
    assert text.printable("a\nb – ü") == r"a\nb – ü"


def test_the_closest_choice_is_suggested() -> None:
    assert text.did_you_mean("CBMA", ["se", "cbam"]) == " (did you mean cbam?)"
    assert text.did_you_mean("xyz", ["se", "cbam"]) == ""
    assert text.did_you_mean("fer", ["folder", "fer2013"]) == " (did you mean fer2013?)"


def test_names_wider_than_the_terminal_stay_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    name = "a folder/with-a-long name/" + "x" * 40
    table = Table("run", "directory", box=None)
    table.add_row("abc", name)
    table.add_row("abc", "b")
    text.print_whole(Text(f"3 images in {name}", no_wrap=True), table, Text("a sentence " * 12))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"3 images in {name}"
    assert sum(name in line for line in lines) == 2
    assert max(map(len, lines)) <= len(name) + 20
    assert all(line == line.rstrip() for line in lines)  # no padding, which a narrow terminal wraps to empty lines


def test_control_characters_are_escaped_and_lines_stay() -> None:
    assert text.visible("a\x1b[2J\nb\tü\udcff\u202e") == "a\\x1b[2J\nb\tü\\udcff\\u202e"
    assert text.visible("plain – ü") == "plain – ü"


FORMULAS = ("=1+1", "+cmd|x", "-cmd", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "'=1", "-1-1", "=")


def test_no_cell_is_a_formula_and_numbers_stay_numbers() -> None:
    plain = ["", "happy", "-", "-1.5", "+3", "-inf", "'quoted'", "a=b", None, -1.5, 3, True, Path("=x")]
    assert text.cells(plain) == plain
    assert text.cells(FORMULAS[:-1]) == [f"'{each}" for each in FORMULAS[:-1]]
    for each in (*FORMULAS, "", "happy", "-1.5", "''", "'"):
        assert text.from_cell(text.cells([each])[0]) == each


@pytest.mark.parametrize(
    ("started", "uv", "verb", "named"),
    [
        ("/home/me/fersweep/train.py", "", "train", "uv run train.py"),
        ("/home/me/fersweep/train.py", "1", "report", "uv run fersweep report"),
        ("/home/me/.venv/bin/fersweep", "", "train", "fersweep train"),
        ("/home/me/.venv/bin/fersweep", "1", "report", "uv run fersweep report"),
        ("/lib/python/fersweep/__main__.py", "", "train", "python -m fersweep train"),
    ],
)
def test_a_command_is_named_as_the_program_was_started(
    started: str, uv: str, verb: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    if uv:
        monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", uv)
    assert text.command(verb) == named


def test_a_long_message_keeps_its_beginning_and_its_advice() -> None:
    message = f"the file has {'x' * 10**6}: copy it again"
    short = text.shortened(message)
    assert len(short) == text.SENTENCE
    assert short.startswith("the file has xxx")
    assert short.endswith("xxx: copy it again")
    assert text.shortened(ValueError("a short one")) == "a short one"


def test_json_for_a_terminal_is_the_same_json() -> None:
    content = ["é 表情", "\x1b\x7f\x9b\xa0\u202e\udcff", "\U000e0001", {"a\n": 1}]
    shown = text.visible_json(json.dumps(content, indent=2, ensure_ascii=False))
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert "é 表情" in shown
    assert json.loads(shown) == content
