"""Counts, durations, lists and errors as people read them."""

from __future__ import annotations

import pytest

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
