"""The table that a search draws on a terminal while it runs."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from fake_search import driver
from rich.console import Console

from fersweep.sweep.plan import DataCheck
from fersweep.sweep.search import driver as loop
from fersweep.sweep.search.board import Board


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "POLL", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(DataCheck, "_check", lambda *_: None)


def test_a_terminal_shows_running_trials_paused_ones_and_the_best(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    search = driver(tmp_path, trials=9, sampler="random", pruner="asha")
    drawn: list[str] = []
    with Board(console, search) as board:
        show = search.look

        def look() -> None:
            show()
            assert board.live is not None
            picture = Console(file=io.StringIO(), width=120)
            picture.print(board.live.renderable)
            drawn.append(picture.file.getvalue())  # type: ignore[attr-defined]

        search.look = look
        search.run()
    assert drawn[0].split()[:4] == ["trial", "epoch", "val/accuracy", "run"]
    rows = [line.split() for picture in drawn for line in picture.splitlines()[1:-1]]
    assert {row[0] for row in rows} == {str(number) for number in range(1, 10)}
    assert {len(row) for row in rows} <= {3, 4}
    assert any(row[1] == "2/9" and float(row[2]) > 0 for row in rows)
    last = [picture.splitlines()[-1] for picture in drawn]
    assert any("running" in line and "paused" in line for line in last)
    assert "best: trial " in last[-1]
    assert max(len(picture.splitlines()) for picture in drawn) == 1 + 2 + 1  # two slots


def test_without_a_terminal_nothing_is_drawn(tmp_path: Path) -> None:
    output = io.StringIO()
    search = driver(tmp_path, trials=2, sampler="random", pruner="none")
    with Board(Console(file=output), search):
        search.run()
    assert output.getvalue() == ""
