"""Accuracy against cost: points, panels, legends and names."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from report_sample import compared, sample

from fersweep.report import plots, svg
from fersweep.report.contents import Report, Row
from fersweep.report.titles import ABSENT

REPORT = sample()


def texts(markup: str) -> list[str]:
    return [part.text or "" for part in ElementTree.fromstring(markup).iter() if part.tag.rpartition("}")[2] == "text"]


def points_of(figure: Figure) -> dict[tuple[float, float], float | None]:
    """(cost, accuracy) of every row that is drawn, with half the length of its bar."""
    points: dict[tuple[float, float], float | None] = {}
    for axes in figure.axes:
        for container in axes.containers:
            assert isinstance(container, ErrorbarContainer)
            line, _, bars = container.lines
            (x,), (y,) = line.get_xdata(), line.get_ydata()
            ends = [segment[:, 1] for bar in bars for segment in bar.get_segments()]
            points[round(x, 6), round(y, 6)] = float(np.ptp(ends[0])) / 2 if ends else None
    return points


def hollow_of(figure: Figure) -> set[tuple[float, float]]:
    return {
        (round(float(line.get_xdata()[0]), 6), round(float(line.get_ydata()[0]), 6))
        for axes in figure.axes
        for line in axes.lines
        if line.get_markerfacecolor() == svg.PAPER
    }


def with_rows(*rows: Row) -> Report:
    return replace(REPORT, rows=rows, options=compared(rows, "attention"), fidelity=compared(rows, "fidelity"))


@pytest.mark.parametrize("cost", ["params", "time"])
def test_every_row_is_a_point_with_its_standard_deviation(cost: str) -> None:
    points = points_of(plots.accuracy_against(REPORT, cost))
    for row in REPORT.rows:
        seconds = row.seconds / (60 if row.labels["dataset"] == "ckplus" else 3600)
        x = row.params_trainable / 1e6 if cost == "params" else seconds
        bar = points.pop((round(x, 6), round(100 * row.accuracy.mean, 6)))
        assert bar == (None if row.accuracy.sd is None else pytest.approx(100 * row.accuracy.sd))
    assert not points


def test_what_the_study_prints_is_hollow_at_the_parameters_of_its_code() -> None:
    expected = {
        (round(row.reported.params_trainable / 1e6, 6), row.reported.accuracy_percent)
        for row in REPORT.rows
        if row.reported
    }
    assert hollow_of(plots.accuracy_against(REPORT, "params")) == expected
    assert hollow_of(plots.accuracy_against(REPORT, "time")) == set()
    nothing = with_rows(*(replace(row, reported=None) for row in REPORT.rows))
    assert "as the study prints" not in texts(svg._svg(plots.accuracy_against(nothing, "params")))


def test_a_panel_a_dataset_with_names_legend_and_baseline() -> None:
    figure = plots.accuracy_against(REPORT, "params")
    assert [axes.get_title("left") for axes in figure.axes] == ["CK+", "FER2013"]
    words = texts(svg._svg(figure))
    for word in ("none", "SE", "CBAM", "as its code ran", "as its paper defines it", "as the study prints", "VGG-19"):
        assert word in words
    assert words.count("ResNet-50") == 4  # one name for what a line joins
    assert "majority class 24.7 %, below this axis ↓" in words


def test_the_baseline_is_a_line_where_it_is_near() -> None:
    figure = plots.accuracy_against(with_rows(replace(REPORT.rows[3], majority=0.55)), "params")
    dashed = [line for line in figure.axes[0].lines if list(line.get_ydata()) == pytest.approx([55.0, 55.0])]
    assert [line.get_linestyle() for line in dashed] == ["--"]
    assert "majority class 55.0 %" in texts(svg._svg(figure))


def test_colour_is_attention_and_the_marker_the_family_where_all_have_one_fidelity() -> None:
    rows = [row for row in REPORT.rows if row.labels["fidelity"] == "code"]
    rows = [replace(row, labels={name: row.labels[name] for name in ("backbone", "attention")}) for row in rows]
    titles = {**rows[-1].titles, "backbone": "ResNetV2-50"}
    new = {"labels": {"backbone": "resnetv2_50", "attention": "new"}, "titles": {**titles, "attention": "New"}}
    rows.append(replace(rows[-1], **new, reported=None))
    own = {"labels": {"backbone": "aer_cnn", "attention": "none"}, "titles": {**titles, "attention": ABSENT}}
    rows.append(replace(rows[-1], **own, reported=None))
    report = replace(REPORT, rows=tuple(rows), columns=("backbone", "attention"), options=(), fidelity=())
    figure = plots.accuracy_against(report, "time")
    legend = {line.get_label(): line for line in figure.legends[0].get_lines()}
    assert list(legend) == ["none", "SE", "CBAM", "New", "ResNet", "VGG", "ResNetV2"]
    assert legend["CBAM"].get_color() == svg.VERMILION
    assert len({line.get_color() for line in legend.values()}) == 5
    assert len({legend[family].get_marker() for family in ("ResNet", "VGG", "ResNetV2")}) == 3
    assert figure.axes[-1].containers[-1].lines[0].get_color() == svg.INK  # which takes no attention


def test_costs_of_more_than_a_decade_have_a_log_axis_with_plain_numbers() -> None:
    small = replace(REPORT.rows[3], params_trainable=600_000, reported=None)
    figure = plots.accuracy_against(with_rows(small, REPORT.rows[8]), "params")
    assert figure.axes[0].get_xscale() == "log"
    assert {"1", "10", "50"} <= set(texts(svg._svg(figure)))
    assert plots.accuracy_against(REPORT, "params").axes[1].get_xscale() == "linear"


def test_names_cover_neither_each_other_nor_points() -> None:
    rows = [
        replace(
            REPORT.rows[3],
            labels={**REPORT.rows[3].labels, "backbone": f"network{number}"},
            titles={**REPORT.rows[3].titles, "backbone": f"network{number}"},
            accuracy=replace(REPORT.rows[3].accuracy, mean=0.5 + 0.1 * np.sin(number), sd=0.002),
            params_trainable=20_000_000 + 3_000_000 * number,
        )
        for number in range(8)
    ]
    (axes,) = plots.accuracy_against(with_rows(*rows), "time").axes
    (again,) = plots.accuracy_against(with_rows(*rows), "params").axes
    for each in (axes, again):
        names = [text for text in each.texts if text.get_text().startswith("network")]
        boxes = [text.get_window_extent() for text in names]
        assert len(names) == 8
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
        for box in boxes:
            assert each.get_window_extent().contains(box.x0, box.y0)
            assert each.get_window_extent().contains(box.x1, box.y1)


def test_a_legend_has_only_what_rows_differ_in() -> None:
    code = [row for row in REPORT.rows if row.labels["fidelity"] == "code" and row.labels["backbone"] == "resnet50"]
    rows = [replace(row, reported=None) for row in code]
    assert [text.get_text() for text in plots.accuracy_against(with_rows(*rows), "params").legends[0].get_texts()] == [
        *("none", "SE", "CBAM")
    ]
    two = [replace(row, reported=None) for row in REPORT.rows[6:8]]  # CBAM in both fidelities
    legend = plots.accuracy_against(with_rows(*two), "params").legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["as its code ran", "as its paper defines it"]
