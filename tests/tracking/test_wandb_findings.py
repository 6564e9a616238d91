"""What `fersweep report` says, in the report of Weights & Biases: the table, the verdicts, and a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_runs import CBAM, NONE, SHORT, finished, right
from report_search import journal, run, trial
from wandb_server import no_account

from fersweep.cli.main import main
from fersweep.config.schema import dotted
from fersweep.data.samples import CLASSES
from fersweep.report import write
from fersweep.runs.collect import config_of

GROUP = {"section": "run", "name": "group"}


def specification(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The file of ``--spec``, made from the command line."""
    file = tmp_path / "spec.json"
    with no_account(tmp_path / "home"):
        assert main(["wandb", "report", "me/faces", *arguments, "--spec", str(file)]) == 0
    written: dict[str, Any] = json.loads(file.read_text())
    return written


def text_of(block: dict[str, Any]) -> str:
    return block.get("content") or "".join(child.get("text", "") for child in block.get("children", ()))


def test_the_table_and_the_verdicts_of_the_folder_are_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2, 3):
        finished(tmp_path / "outputs", (*SHORT, *NONE), seed, right(0.60 + 0.001 * (seed - 2), seed))
        finished(tmp_path / "outputs", (*SHORT, *CBAM), seed, right(0.66 + 0.001 * (seed - 2), 20 + seed))
    spec = specification(tmp_path, str(tmp_path / "outputs"))
    report = spec["report"]
    assert report["displayName"] == spec["workspace"]["displayName"] == "fersweep: s"
    blocks = report["spec"]["blocks"]
    texts = [text_of(block) for block in blocks]
    at = texts.index("Findings")
    table, verdicts = texts[at + 1], texts[texts.index("Differences") + 1]
    assert "| CBAM | 66.00 ± 0.10 | 63.01–68.87 | 59.90 | above (other protocol) |" in table
    assert "seeds 3, n 1,000" in table
    expected = write.contents(tmp_path / "outputs").options
    assert [f"- {pair.sentence}." for pair in expected] == verdicts.splitlines()
    assert "95 %" in verdicts
    assert texts.index("By backbone and attention") > at
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    filters = [each for grid in grids for runs in grid["runSets"] for each in runs["filters"]["filters"]]
    assert [(each["key"], each["op"], each["value"]) for each in filters] == [(GROUP, "=", "s")] * 2
    assert capsys.readouterr().out.strip() == str(tmp_path / "spec.json")


def test_a_search_has_panels_of_its_own_with_the_keys_of_its_runs(tmp_path: Path) -> None:
    best, other = run(tmp_path / "outputs", "cbam", 0.02), run(tmp_path / "outputs", "none", 0.5)
    space = [{"attention": "none", "recipe.optimizer.lr": 0.5}, {"attention": "cbam", "recipe.optimizer.lr": 0.02}]
    journal(best.parent, [trial(space[0], [0.2, 0.3, 0.35], other.name), trial(space[1], [0.4, 0.6, 0.5], best.name)])
    spec = specification(tmp_path, str(tmp_path / "outputs"))
    blocks = spec["report"]["spec"]["blocks"]
    texts = [text_of(block) for block in blocks]
    at = texts.index("Search s")
    assert texts[at + 1] == "2 trials: 2 done."
    assert texts[at + 2] == "Best: trial 2, val/accuracy (%) 60.00."
    assert "recipe.optimizer.lr=0.02" in texts[at + 3]
    (grid,) = [block["metadata"] for block in blocks[at:] if block["type"] == "panel-grid"][:1]
    panels = {panel["viewType"]: panel["config"] for panel in grid["panelBankSectionConfig"]["panels"]}
    assert panels.keys() == {
        "Parallel Coordinates Plot",
        "Scatter Plot",
        "Parameter Importance",
        "Run History Line Plot",
        "Run Comparer",
    }
    parallel = panels["Parallel Coordinates Plot"]["columns"]
    names = ["config:attention.value.name", "config:recipe.value.optimizer.lr", "summary:val/accuracy"]
    assert [column["accessor"] for column in parallel] == names
    assert [bool(column.get("log")) for column in parallel] == [False, True, False]
    assert {"attention.name", "recipe.optimizer.lr"} <= dotted(config_of(best)).keys()
    history = panels["Scatter Plot"]
    assert (history["xAxis"], history["yAxis"]) == ("summary:trial/number", "summary:val/accuracy")
    assert panels["Run History Line Plot"]["metrics"] == ["val/accuracy"]
    (runs,) = grid["runSets"]
    assert [(each["key"], each["value"]) for each in runs["filters"]["filters"]] == [(GROUP, "s")]
    sections = spec["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["Search s", "By backbone and attention", "Run by run"]


def test_classes_of_the_runs_have_bars_and_several_sweeps_are_shown_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        directory = finished(tmp_path / "outputs", (*SHORT, *NONE), len(name) + (name == "two"), right(0.6, 1))
        config = (directory / "config.yaml").read_text()
        (directory / "config.yaml").write_text(config.replace("sweep: s", f"sweep: {name}"))
    spec = specification(tmp_path, str(tmp_path / "outputs"))["report"]
    grids = [block["metadata"] for block in spec["spec"]["blocks"] if block["type"] == "panel-grid"]
    filters = grids[0]["runSets"][0]["filters"]["filters"]
    assert [(each["op"], each["value"]) for each in filters] == [("IN", ["one", "two"])]
    bars = [
        each["config"]["metrics"]
        for each in grids[0]["panelBankSectionConfig"]["panels"]
        if each["viewType"] == "Bar Chart"
    ]
    assert bars[1] == [f"test/recall/{name}" for name in CLASSES]
    assert spec["displayName"] == "fersweep: outputs"
