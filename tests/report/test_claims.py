"""README's table of what holds is the one that results/ gives."""

from __future__ import annotations

import runpy

from conftest import REPOSITORY


def test_the_table_in_the_readme_is_the_one_that_the_runs_give() -> None:
    claims = runpy.run_path(str(REPOSITORY / "results" / "claims.py"))
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = readme.partition(claims["BEGIN"])[2].partition(claims["END"])[0].strip()
    assert shown == claims["table"]().strip(), "run: uv run python results/claims.py"
    assert "(3 seeds" in shown
