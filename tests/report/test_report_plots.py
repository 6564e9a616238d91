"""The figures of a report: forest plots, learning curves, confusion matrices, their files and markup."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from report_sample import compared, history, sample

from fersweep.report import plots, svg
from fersweep.report.compare import oriented
from fersweep.report.contents import Comparison, Report, Row

REPORT = sample()


def texts(markup: str) -> list[str]:
    return [part.text or "" for part in ElementTree.fromstring(markup).iter() if part.tag.rpartition("}")[2] == "text"]


def with_rows(*rows: Row) -> Report:
    return replace(REPORT, rows=rows, options=compared(rows, "attention"), fidelity=compared(rows, "fidelity"))


def interval_lines(figure: Figure) -> list[Line2D]:
    return [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"][:-1]


def test_a_forest_plot_shows_differences_their_intervals_and_what_is_established() -> None:
    figure = plots.differences(REPORT.options)
    turned = oriented(REPORT.options)
    ends = [list(line.get_xdata()) for line in interval_lines(figure)]
    assert ends == [pytest.approx([100 * each.interval[0], 100 * each.interval[1]]) for each in turned]
    markers = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in markers] == pytest.approx([100 * each.difference for each in turned])
    assert [line.get_markerfacecolor() != svg.PAPER for line in markers] == [each.established for each in turned]
    words = texts(svg._svg(figure))
    assert words.count("CBAM − none") == 4
    assert "FER2013 · ResNet-50 · as its code ran" in words
    assert "+3.48 [−6.79, +13.75]" in words


def test_options_are_subtracted_the_same_way_round() -> None:
    first = REPORT.options[0]
    turned = replace(first, first=first.second, second=first.first, names=first.names[::-1], rows=first.rows[::-1])
    turned = replace(turned, difference=-0.01, interval=(-0.03, 0.002), discordant=(5.0, 9.0), seeds=(1, 3))
    (once, again) = oriented([turned, replace(first, shared={"backbone": "other"})])
    assert (once.first, once.second, once.names, once.rows) == ("cbam", "none", ("CBAM", "none"), first.rows)
    assert (once.difference, once.interval) == (0.01, (-0.002, 0.03))
    assert (once.discordant, once.seeds) == ((9.0, 5.0), (3, 1))
    assert again == replace(first, shared={"backbone": "other"})
    swapped = replace(first, first="code", second="paper")
    assert [(each.first, each.second) for each in oriented([swapped])] == [("paper", "code")]


def many(count: int) -> list[Comparison]:
    base = REPORT.options[0]
    return [
        replace(
            base, shared={"backbone": f"network{number // 6}"}, names=(f"a{number % 6}", "none"), p_holm=number / count
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (60, 60), (plots.MOST + 40, plots.MOST)])
def test_a_forest_plot_grows_to_a_limit(count: int, drawn: int) -> None:
    figure = plots.differences(many(count))
    assert len(interval_lines(figure)) == drawn
    pairs = [text for text in figure.axes[0].texts if "− none" in text.get_text()]
    assert len(pairs) == drawn
    boxes = sorted((text.get_window_extent() for text in pairs), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0
    note = figure.texts[0].get_text()
    assert (f"the {plots.MOST} of {count} with the smallest p" in note) == (count > plots.MOST)
    assert figure.get_figheight() < 60


def test_learning_curves_show_every_seed_and_the_epochs_tested() -> None:
    row = REPORT.rows[3]
    figure = plots.learning_curves(row)
    for axes, name in zip(figure.axes, ("loss", "accuracy"), strict=True):
        dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
        solid = [line for line in axes.lines if line.get_linestyle() == "-"]
        tested = [line for line in axes.lines if line.get_marker() == "D"]
        for curve, train, val, best, diamond in zip(row.curves, dashed, solid, row.best_epoch, tested, strict=True):
            assert list(train.get_ydata()) == list(curve[f"train/{name}"])
            assert list(val.get_ydata()) == list(curve[f"val/{name}"])
            assert list(diamond.get_xdata()) == [best]
    assert {"Loss", "Accuracy", "training", "validation", "epoch tested"} <= set(texts(svg._svg(figure)))


def test_learning_curves_of_one_epoch_and_with_gaps_are_drawn() -> None:
    curve = history(np.random.default_rng(0), 3, 0.6)
    curve.loc[1, "val/loss"] = np.nan
    for curves in ((curve.iloc[:1],), (curve, curve)):
        row = replace(REPORT.rows[3], curves=curves, best_epoch=(0,) * len(curves))
        markup = svg._svg(plots.learning_curves(row))
        assert "nan" not in markup.lower()
        assert "Epoch" in texts(markup)


def test_a_confusion_matrix_has_percentages_counts_and_scores() -> None:
    row = REPORT.rows[3]
    counts = row.confusion.copy()
    counts[1] = 0
    markup = svg._svg(plots.confusion_matrix(replace(row, confusion=counts)))
    words = texts(markup)
    angry = counts[0]
    assert f"{angry[0] / angry.sum():.0%}" in words
    assert f"{angry[0]:,}" in words
    assert "nan" not in markup.lower()
    assert "FER2013 · ResNet-50 · none · as its code ran" in words
    total = f"{counts.sum():,}"
    assert f"Percentages of the true class. n = 7,178, 3 seeds: counts sum to {total}" in words
    assert f"Accuracy {100 * row.accuracy.mean:.2f} ± {100 * row.accuracy.sd:.2f} %, macro-F1 0.551" in words
    assert "Percentages of the true class. n = 182" in texts(svg._svg(plots.confusion_matrix(REPORT.rows[2])))


def test_all_figures_are_written_as_svg_and_png_of_the_same_bytes_each_time(tmp_path: Path) -> None:
    rows = (REPORT.rows[1], replace(REPORT.rows[2], curves=(), best_epoch=()))
    report = replace(with_rows(*rows), options=REPORT.options[:1])
    first, again = (plots.write(report, tmp_path / name) for name in ("first", "again"))
    per_row = [f"confusion-{row.key}" for row in report.rows] + [f"curves-{rows[0].key}"]
    names = {"accuracy_params", "options", "fidelity", *per_row}
    assert {path.name for path in first} == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert {path.name for path in (tmp_path / "first").iterdir()} == {path.name for path in first}
    for path, other in zip(first, again, strict=True):
        assert path.read_bytes() == other.read_bytes()
        if path.suffix == ".png":
            assert min(matplotlib.image.imread(path).shape[:2]) > 150
        else:
            root = ElementTree.parse(path).getroot()
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            assert texts(path.read_text(encoding="utf-8"))
            assert "var(" not in path.read_text(encoding="utf-8")


def test_one_row_alone_has_its_two_figures() -> None:
    report = with_rows(replace(REPORT.rows[2], reported=None))
    assert list(plots.overview(report)) == ["accuracy_params"]
    assert list(plots.overview(report, time=True)) == ["accuracy_params", "accuracy_time"]
    assert not plots.overview(report)["accuracy_params"].legends  # of one attention, one fidelity, and nothing printed
    assert plots.overview(with_rows()) == {}


def test_markup_for_the_page_follows_its_colours_and_keeps_its_ids_to_itself() -> None:
    figure = plots.accuracy_against(REPORT, "params")
    one, other = (svg.inline(figure, name, 'say "<this>"') for name in ("one", "other"))
    root = ElementTree.fromstring(one)
    assert root.attrib["aria-label"] == 'say "<this>"'
    assert texts(one) == texts(svg._svg(figure))
    for text in root.iter("text"):
        assert "var(--ink)" in text.attrib["style"] or "var(--muted)" in text.attrib["style"]
        assert "font-family" not in text.attrib["style"]
    assert not any(colour in one.lower() for colour in (svg.INK, svg.PAPER.lower(), svg.BLUE.lower()))
    assert "<style" not in one
    ids = {part.attrib["id"] for part in root.iter() if "id" in part.attrib}
    used = {part.attrib["href"] for part in root.iter() if "href" in part.attrib}
    assert ids
    assert used == {f"#{each}" for each in ids if f"#{each}" in used}
    assert not ids & {part.attrib["id"] for part in ElementTree.fromstring(other).iter() if "id" in part.attrib}
    assert one == svg.inline(plots.accuracy_against(REPORT, "params"), "one", 'say "<this>"')


def labelled(figure: Figure) -> list[tuple[float, str]]:
    """The ticks of all axes with the labels that are shown."""
    figure.canvas.draw()
    return [
        (float(tick), label.get_text())
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        if label.get_text()
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 0.1), (0.4978, 0.5021), (0.02, 1), (0.33, 0.345)])
def test_every_tick_of_every_figure_says_its_value(low: float, high: float) -> None:
    curve = history(np.random.default_rng(0), 13, 0.6)
    scores = np.linspace(low, high, len(curve))
    curve = curve.assign(**{"train/accuracy": scores, "val/accuracy": scores[::-1]})
    base = replace(REPORT.rows[3], curves=(curve,), best_epoch=(4,))
    ticks = labelled(plots.learning_curves(base))
    percents = [(tick, label) for tick, label in ticks if label.endswith("%")]
    assert len(percents) >= 3
    assert all(
        float(label.rstrip("%").replace("−", "-")) == pytest.approx(100 * tick, abs=1e-9) for tick, label in percents
    )
    assert all(float(label.replace("−", "-")) == pytest.approx(tick) for tick, label in ticks if label[-1] != "%")
    rows = [
        replace(
            row, accuracy=replace(row.accuracy, mean=mean, sd=0.001), params_trainable=int(1e8 * mean), reported=None
        )
        for row, mean in zip(REPORT.rows[3:5], (low, high), strict=True)
    ]
    report = with_rows(*rows)
    for figure in (*plots.overview(report, time=True).values(), plots.differences(REPORT.options)):
        ticks = labelled(figure)
        assert len(ticks) >= 3
        assert all(float(label.replace("−", "-")) == pytest.approx(tick, rel=1e-9, abs=1e-9) for tick, label in ticks)


def test_dollars_and_brackets_in_names_stay_as_they_are() -> None:
    row = replace(REPORT.rows[3], class_names=("$a_b$", "<i>", *REPORT.rows[3].class_names[2:]))
    words = texts(svg._svg(plots.confusion_matrix(row)))
    assert words.count("$a_b$") == words.count("<i>") == 2
