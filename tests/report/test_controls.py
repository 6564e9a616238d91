"""Attention beside its control: the network without attention that has as many parameters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import CBAM, NONE, SE, finished, right

from fersweep.report import compare, page, tables
from fersweep.report.contents import Report
from fersweep.report.write import contents

BASE = ("backbone=resnet18", "dataset=fer2013", "dataset.root=x")


def run(outputs: Path, attention: tuple[str, ...], width: float, parameters: int, rate: float) -> None:
    """Three seeds of a row with so many parameters."""
    for seed in (1, 2, 3):
        answers = right(rate + 0.001 * (seed - 2), seed + 10 * parameters % 97)
        directory = finished(outputs, (*BASE, *attention, f"backbone.model.width={width}"), seed, answers)
        file = directory / "result.json"
        result = json.loads(file.read_text()) | {"params_total": parameters + 99, "params_trainable": parameters}
        file.write_text(json.dumps(result))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """CBAM is better than its control, SE worse, and both are better than no attention at their width."""
    outputs = tmp_path_factory.mktemp("outputs")
    run(outputs, NONE, 16, 100_000, 0.55)
    run(outputs, CBAM, 16, 110_000, 0.66)
    run(outputs, SE, 16, 104_000, 0.58)
    run(outputs, NONE, 16.75, 110_900, 0.60)
    run(outputs, NONE, 16.25, 103_500, 0.61)
    run(outputs, NONE, 18, 150_000, 0.70)
    return contents(outputs)


def test_attention_is_compared_with_the_row_of_as_many_parameters(report: Report) -> None:
    found = {each.sentence.partition(" (95 %")[0]: each for each in report.controls}
    better = "ResNet-18: CBAM beats the network of width 16.75 without attention by 6.0 points"
    worse = "ResNet-18: the network of width 16.25 without attention beats SE by 3.0 points"
    assert list(found) == [worse, better]
    assert found[better].established
    assert found[better].p_holm >= found[better].p
    assert {each.names for each in report.options if each.group == "attention"} == {
        ("CBAM", "none"),
        ("SE", "none"),
        ("CBAM", "SE"),
    }


def test_page_and_table_show_controls(report: Report) -> None:
    shown = page.render(report)
    section = shown.partition('<section id="controls"')[2].partition("</section>")[0]
    rows = [each for each in section.split("<tr")[1:] if "without attention" in each]
    assert len(rows) == 2
    expected = (("SE", "16.25", "−3.00", "0.10 M"), ("CBAM", "16.75", "+6.00", "0.11 M"))
    for row, texts in zip(rows, expected, strict=True):
        assert all(text in row for text in texts), row
    assert '<a href="#controls">Equal parameters</a>' in shown
    assert "- ResNet-18: CBAM beats the network of width 16.75 without attention by 6.0 points" in tables.as_markdown(
        report
    )


def test_without_another_width_nothing_is_a_control(report: Report) -> None:
    """Rows of one width are compared as before, even where attention adds next to no parameters."""
    alike = [replace(row, params_trainable=100_000) for row in report.rows if row.labels["width"] == "16"]
    assert {row.labels["attention"] for row in alike} == {"none", "se", "cbam"}
    assert compare.controls(alike) == ()
