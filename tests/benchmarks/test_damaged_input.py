"""Damaged input of every kind, a few pieces of each: ``python -m benchmarks fuzz`` has thousands."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.checks.fuzz import Tally, one
from benchmarks.fuzzing import judge
from benchmarks.fuzzing.judge import Trial, Verdict
from benchmarks.fuzzing.kinds import KINDS, trial
from benchmarks.fuzzing.material import Material, make

SEED, INPUTS = 0, 3


@pytest.fixture(scope="module")
def material(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make(tmp_path_factory.mktemp("fuzz") / "material", finished)


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERSWEEP_LOCAL", "none")  # put back after `options`, which sets it


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_input_is_accepted_or_refused_in_one_sentence(kind: str, material: Material, tmp_path: Path) -> None:
    tally = Tally()
    for number in range(INPUTS):
        tally.add(number, one(kind, number, SEED, material, tmp_path))
    assert tally.faults == {}
    assert list(tmp_path.iterdir()) == []


def test_a_seed_makes_the_same_damage_again(material: Material, tmp_path: Path) -> None:
    for kind in KINDS:
        for folder in ("a", "b"):
            trial(kind, 3, 7, material, tmp_path / folder / kind)
    files = [{each.relative_to(tmp_path / name): each for each in (tmp_path / name).rglob("*")} for name in ("a", "b")]
    assert files[0].keys() == files[1].keys()
    read = [{name: each.read_bytes() for name, each in found.items() if each.is_file()} for found in files]
    same = [name for name in read[0] if read[0][name] == read[1][name]]
    assert len(same) >= len(read[0]) - 2  # paths in a file of options, times in a zip


def told(text: str, code: int) -> Callable[[Any], int]:
    def command(_: Any) -> int:
        print(text, file=sys.stderr)
        return code

    return command


def raises(_: Any) -> int:
    raise LookupError("a \x07 bell")


def warns(_: Any) -> int:
    warnings.warn("careful", stacklevel=1)
    return 0


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (raises, r"LookupError at test_damaged_input.py:\d+: 'a \\\\x07 bell'"),
        (warns, "UserWarning: 'careful'"),
        (told("error: one\nerror: two", 2), "no single sentence"),
        (told("what", 2), "no single sentence"),
        (told("error: \x1b[2J", 2), r"prints the character '\\x1b'"),
        (told(f"error: {'x' * 5000}", 2), "a sentence of 5007 characters"),
        (told("Traceback (most recent call last):", 1), "a traceback is printed"),
        (told("", 139), "exit code 139"),
    ],
)
def test_faults_are_found(command: Callable[[Any], int], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "main", command)
    found = judge.judge(Trial([["data", "x"]], lambda: "its own"))
    assert len(found.faults) == 2
    assert re.match(f"data x: {fault}", found.faults[0])
    assert found.faults[1] == "its own"


def test_a_refusal_in_one_sentence_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "main", told("error: the file x is damaged: copy it again.", 2))
    assert judge.judge(Trial([["data", "x"]])) == Verdict(refused=True)
