"""The section on ensembles: averages of networks whose answers and probabilities a test chooses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_runs import CBAM, NONE, SE, SHORT, STUDY, finished, right

from fersweep.files import write_json
from fersweep.report import ensembles, page, write
from fersweep.report.contents import Report
from fersweep.report.statistics import wilson

N = 10
FIRST, OTHER = np.arange(N) < 6, np.arange(N) >= 2
"""The images that one seed recognises, and those that the other does: images 2 to 5 by both."""


def twins(run: Path, number: int) -> None:
    """The first ``number`` images of a run have a twin."""
    table = pd.read_parquet(run / "predictions.parquet")
    ids = sorted(table["id"])[:number]
    table.assign(twin=table["id"].isin(ids)).to_parquet(run / "predictions.parquet")


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A row whose second seed is the surer one, and a row of one seed that knows everything, but is never sure."""
    for run in (
        finished(tmp_path, (*SHORT, *NONE), 1, FIRST, certain=np.full(N, 0.6)),
        finished(tmp_path, (*SHORT, *NONE), 2, OTHER, certain=np.full(N, 0.9)),
        finished(tmp_path, (*SHORT, *CBAM), 1, np.ones(N, bool), certain=np.full(N, 0.55)),
    ):
        twins(run, 3)
    return write.contents(tmp_path)


def test_probabilities_are_averaged_over_the_seeds_of_a_row(report: Report) -> None:
    seeds, _ = ensembles.of(report.rows)
    assert (seeds.name, seeds.kind, seeds.networks) == ("ResNet-50 · none", ensembles.SEEDS, 2)
    # Images 0 and 1: right with 0.6 by the first, the next class with 0.9 by the other, which wins with 0.65 of 1.
    assert seeds.accuracy == pytest.approx(0.8)
    assert seeds.alone == pytest.approx((0.6 + 0.8) / 2)
    assert (seeds.n, seeds.interval) == (N, wilson(8, N))
    assert (seeds.without_twins, seeds.n_without_twins) == (pytest.approx(1.0), 7)
    assert seeds.params_total == 2 * 23_490_739


def test_all_rows_on_the_same_images_are_averaged_and_none_is_chosen(report: Report) -> None:
    _, rows = ensembles.of(report.rows)
    assert (rows.name, rows.kind, rows.networks) == ("both rows on FER2013, split study", ensembles.ROWS, 3)
    # Images 0 and 1: right with 0.6 + 0 + 0.55, the next class with 0.4 + 0.9 + 0.45.
    assert rows.accuracy == pytest.approx(0.8)
    assert rows.alone == pytest.approx((0.6 + 0.8 + 1.0) / 3)


def test_rows_on_other_images_or_labels_are_apart(tmp_path: Path) -> None:
    sure = np.full(N, 0.9)
    finished(tmp_path, (*SHORT, *NONE), 1, FIRST, certain=sure)
    finished(tmp_path, (*SHORT, *CBAM), 1, FIRST, first=1, certain=sure)
    assert ensembles.of(write.contents(tmp_path).rows) == []
    run = finished(tmp_path, (*SHORT, *SE), 1, FIRST, certain=sure)
    assert [each.networks for each in ensembles.of(write.contents(tmp_path).rows)] == [2]
    table = pd.read_parquet(run / "predictions.parquet")
    table.loc[0, "label"] = table.loc[1, "label"]
    table.to_parquet(run / "predictions.parquet")
    assert ensembles.of(write.contents(tmp_path).rows) == []


def test_twins_that_runs_count_differently_are_not_left_out(tmp_path: Path) -> None:
    for seed in (1, 2):
        twins(finished(tmp_path, (*SHORT, *NONE), seed, FIRST, certain=np.full(N, 0.9)), seed)
    (both,) = ensembles.of(write.contents(tmp_path).rows)
    assert (both.accuracy, both.without_twins, both.n_without_twins) == (pytest.approx(0.6), None, None)


def test_folds_of_a_seed_are_one_network_more(tmp_path: Path) -> None:
    jaffe = ("dataset=jaffe", "dataset.root=x", "split=subjects", "recipe=study", "attention=none")
    for seed in (1, 2):
        for fold in (0, 1):
            certain = np.full(N, 0.5 + 0.1 * seed)
            finished(tmp_path, (*jaffe, f"split.fold={fold}"), seed, FIRST, first=N * fold, certain=certain)
    (both,) = ensembles.of(write.contents(tmp_path).rows)
    assert (both.networks, both.n, both.accuracy) == (2, 2 * N, pytest.approx(0.6))


def test_runs_without_probabilities_are_said_to_be_in_none(tmp_path: Path) -> None:
    for seed in (1, 2):
        finished(tmp_path, (*SHORT, *NONE), seed, FIRST)
    without = write.contents(tmp_path)
    assert ensembles.of(without.rows) == []
    assert ensembles.files(without) == {}
    assert 'id="ensembles"' not in page.render(without)
    for seed in (1, 2):
        finished(tmp_path, (*SHORT, *CBAM), seed, FIRST, certain=np.full(N, 0.9))
    mixed = write.contents(tmp_path)
    assert [each.name for each in ensembles.of(mixed.rows)] == ["ResNet-50 · CBAM"]
    sentence = "Not averaged, without probabilities or with seeds that were tested on other images: 1 row."
    assert sentence in ensembles.files(mixed)["ensembles.md"]
    assert sentence in page.render(mixed)


def test_the_files_and_the_page_have_the_table(report: Report) -> None:
    files = ensembles.files(report)
    assert set(files) == {"ensembles.md", "ensembles.csv", "ensembles.tex"}
    low, high = (f"{100 * end:.2f}" for end in wilson(8, N))
    row = f"| ResNet-50 · none | 2 | 70.00 | 80.00 ({low}–{high}, n = 10) | +10.00 | 100.00 (n = 7) | 46.98 |"
    assert row in files["ensembles.md"].splitlines()
    assert f"80.00 ({low}--{high}, n = 10) & +10.00" in files["ensembles.tex"]
    records = list(csv.DictReader(files["ensembles.csv"].splitlines()))
    assert [(each["averaged"], each["number"]) for each in records] == [("seeds of a row", "2"), (ensembles.ROWS, "3")]
    assert float(records[0]["accuracy"]) == pytest.approx(0.8)
    html = page.render(report)
    section = html[html.index('<section id="ensembles"') : html.index('<section id="details"')]
    assert '<a href="#ensembles">Ensembles</a>' in html
    assert f'href="#details-{report.rows[0].key}"' in section
    assert "both rows on FER2013, split study" in section


def test_one_network_alone_has_its_own_accuracy(tmp_path: Path) -> None:
    answers = right(0.7, 3, n=500)
    finished(tmp_path, (*STUDY, *NONE), 1, answers, certain=np.full(500, 0.8))
    (row,) = write.contents(tmp_path).rows
    assert row.answers is not None
    assert row.answers.correct.mean() == row.accuracy.mean
    assert (row.answers.correct == row.correct[0]).all()


def test_a_class_of_its_own_order_is_read_by_name(tmp_path: Path) -> None:
    run = finished(tmp_path, (*SHORT, *NONE), 1, FIRST, certain=np.full(N, 0.9))
    result = json.loads((run / "result.json").read_text())
    write_json(run / "result.json", result | {"per_class": dict(reversed(result["per_class"].items()))})
    (row,) = write.contents(tmp_path).rows
    assert row.answers is not None
    assert (row.answers.correct == FIRST).all()
