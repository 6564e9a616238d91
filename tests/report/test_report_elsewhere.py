"""The section on other datasets: networks of a sweep that were tested elsewhere, with results made by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from report_runs import CBAM, NONE, SHORT, finished, right, tried

from fersweep.cli.main import main
from fersweep.report import elsewhere, listing, page, write
from fersweep.report.contents import Report
from fersweep.report.statistics import wilson
from fersweep.runs import tests
from fersweep.runs.collect import collect

WARNING = "of the 200 images tested, 7 this network was trained on: the accuracy is no measure of unseen images."

INTERVAL = "–".join(f"{100 * end:.2f}" for end in wilson(83, 200))
"""Of 41.5 % of 200 images."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks of two seeds, tested on JAFFE, on CK+ with one seed or by two rules, and one damaged test."""
    place = tmp_path_factory.mktemp("outputs")
    for seed in (1, 2):
        none = finished(place, (*SHORT, *NONE), seed, right(0.6, seed))
        cbam = finished(place, (*SHORT, *CBAM), seed, right(0.66, 20 + seed))
        tried(none, "jaffe", "JAFFE", 0.4 + 0.01 * seed)
        tried(cbam, "jaffe", "JAFFE <b>", 0.5, split="subjects", warnings=[WARNING], seen={"train": 7, "val": 0})
    tried(none, "ckplus", "CK+", 0.7)
    tried(none, "ckplus", "CK+", 0.6, on="all", outputs="all", test="1123456789")
    (tried(cbam, "ckplus", "CK+", 0.8, on="x", test="2123456789") / "result.json").write_text("{}")
    return place


@pytest.fixture(scope="module")
def report(outputs: Path) -> Report:
    return write.contents(outputs)


def test_a_cell_is_the_mean_over_seeds_on_the_same_images(report: Report) -> None:
    none, cbam = report.rows
    assert list(none.elsewhere) == ["all", "ckplus", "jaffe"]
    jaffe = none.elsewhere["jaffe"]
    assert (jaffe.accuracy.mean, jaffe.accuracy.n, jaffe.n) == (pytest.approx(0.415), 2, 200)
    assert jaffe.accuracy.sd == pytest.approx(0.01 / 2**0.5)
    assert jaffe.interval == wilson(83, 200)
    assert "CK+, test part: not tested with seed 1." in none.elsewhere["ckplus"].notes
    assert list(cbam.elsewhere) == ["jaffe"]
    assert any("is not a readable result of a test" in note for note in cbam.notes)
    columns = [column.heading for column in elsewhere.choice(report.rows).shown]
    assert columns[:3] == ["Network", "Trained on", "Own test part (%)"]
    assert columns[3:] == ["CK+, test part (%)", "CK+, test part, all outputs (%)", "JAFFE, test part (%)"]
    only = [column.heading for column in elsewhere.choice(report.rows, {"jaffe"}).shown]
    assert only[3:] == ["JAFFE, test part (%)"]


def test_two_versions_of_the_same_images_are_two_columns(tmp_path: Path) -> None:
    run = finished(tmp_path, (*SHORT, *NONE), 1, right(0.6, 1))
    tried(run, "folder", "a folder of images", 0.4)
    tried(run, "folder", "a folder of images", 0.3, data_digest="e", test="1123456789")
    (row,) = write.contents(tmp_path).rows
    assert sorted((each.title, each.accuracy.mean) for each in row.elsewhere.values()) == [
        ("a folder of images, test part", 0.4),
        ("a folder of images, test part (2)", 0.3),
    ]
    tried(run, "folder", "a folder of images", 0.2, on="others", test="2123456789")
    (record,) = csv.DictReader(listing.as_csv(collect(tmp_path)).splitlines())
    numbers = ("", " (2)", " (3)")
    assert {record[f"accuracy on a folder of images, test part{each}"] for each in numbers} == {"0.2", "0.3", "0.4"}


def test_one_image_is_no_images() -> None:
    classes = {"images_left_out": {"awe": 1}, "not_in_dataset": ["sad"], "predicted_outside": 1}
    said = tests.left_out({"classes": classes, "outputs": "shared", "metrics": {"test/n": 2}})
    assert said.startswith("1 image of a class that the network lacks is left out: awe (1); the dataset has no sad")
    assert said.endswith("(1 of 2 images is given such a class by all outputs)")


def test_the_files_have_the_table(report: Report) -> None:
    files = elsewhere.files(report)
    assert set(files) == {"other_datasets.md", "other_datasets.csv", "other_datasets.tex"}
    markdown, latex = files["other_datasets.md"], files["other_datasets.tex"]
    assert "| JAFFE, test part (%) |" in markdown.splitlines()[0]
    assert f"41.50 ± 0.71 ({INTERVAL}, n = 200, 2 seeds)" in markdown
    assert f"JAFFE, test part: {WARNING}" in markdown
    assert rf"41.50 $\pm$ 0.71 ({INTERVAL.replace('–', '--')}, n = 200, 2 seeds)" in latex
    records = list(csv.DictReader(files["other_datasets.csv"].splitlines()))
    assert [(each["attention"], each["tested_on"], each["outputs"]) for each in records] == [
        ("none", "ckplus", "shared"),
        ("none", "ckplus", "all"),
        ("none", "jaffe", "shared"),
        ("cbam", "jaffe", "shared"),
    ]
    assert float(records[2]["accuracy"]) == pytest.approx(0.415)
    assert [each["seen_in_training"] for each in records] == ["", "", "", "7"]


def test_the_page_has_a_section_with_notes_and_links(report: Report) -> None:
    html = page.render(report)
    section = html[html.index('<section id="elsewhere"') : html.index('<section id="details"')]
    assert '<a href="#elsewhere">On other datasets</a>' in html
    assert INTERVAL in section
    assert f'href="#details-{report.rows[0].key}"' in section
    number = section.index(WARNING)
    assert section.rfind('<li id="note-', 0, number) > 0
    notes = [line for line in html.splitlines() if line.startswith('<li id="note-')]
    assert [line.partition('"note-')[2].partition('"')[0] for line in notes] == [*map(str, range(1, len(notes) + 1))]
    assert "<b>" not in section.replace("<b></b>", "")


def test_a_report_without_tests_has_no_such_section(tmp_path: Path) -> None:
    finished(tmp_path, (*SHORT, *NONE), 1, right(0.6, 1))
    without = write.contents(tmp_path)
    assert elsewhere.files(without) == {}
    assert 'id="elsewhere"' not in page.render(without)


def test_collect_lists_the_tests(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = collect(outputs)
    found = [each["tests"] for each in json.loads(listing.as_json(runs))]
    assert sorted(map(len, found)) == [1, 1, 2, 3]
    states = [(each["state"], each.get("accuracy")) for its in found for each in its if len(its) == 3]
    assert states == [("done", 0.7), ("done", 0.6), ("done", 0.42)]
    (damaged,) = [each for its in found for each in its if each["state"] == "unreadable"]
    assert "delete its folder, and test again" in damaged["error"]
    rows = list(csv.DictReader(listing.as_csv(runs).splitlines()))
    assert {each["accuracy on JAFFE, test part"] for each in rows} == {"0.41", "0.42", "0.5"}
    assert main(["collect", str(outputs)]) == 0
    told = capsys.readouterr().out
    assert "tested on" in told
    assert "CK+, test part, all outputs" in told
    assert "4 runs: 4 done" in told


def test_clean_leaves_tests_alone(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(outputs.rglob("*"))
    main(["clean", str(outputs), "--yes"])
    capsys.readouterr()
    assert sorted(outputs.rglob("*")) == before
