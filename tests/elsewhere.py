"""Helpers of the tests of `fersweep test`: a run, pictures by class, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import encoded, picture, write

from fersweep.cli.main import main
from fersweep.report import figures


@pytest.fixture
def run(finished_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, to write into, and no time for drawing."""
    monkeypatch.setattr(figures, "confusion_matrix", lambda *_, **__: None)
    return finished_copy


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The sentence with which a command line is refused, without a file left behind."""
    assert main(["test", *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    return told.err


def class_folder(place: Path, counts: dict[str, int], side: int = 48) -> Path:
    """A folder of drawn pictures by class."""
    seed = 0
    for name, count in counts.items():
        for number in range(count):
            seed += 1
            write(place / "pictures" / name / f"{number}.png", encoded(picture(seed, (side, side))))
    return place / "pictures"
