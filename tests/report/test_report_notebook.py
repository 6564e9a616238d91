"""The notebook's networks in a report: held against its validation accuracies, in its protocol or another."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import plain, quickly_composed
from report_runs import STUDY, finished, right

from fersweep.report import notebook, page, tables
from fersweep.report.contents import Mean, Reported, Row
from fersweep.report.notebook import figures
from fersweep.report.study import expected_range, verdict
from fersweep.report.write import contents
from fersweep.runs.collect import settings_of
from fersweep.runs.identity import completed, integral

SOURCE = (
    "backbone=aer_cnn",
    "fidelity=code",
    "dataset=fer2013",
    "dataset.root=x",
    "split=notebook",
    "recipe=notebook",
    "dataset.preprocessing.min_max=true",
    "dataset.preprocessing.equalize=true",
    "dataset.preprocessing.min_variance=10",
)
VARIANTS = [
    ("aer_cnn", (), 45.70),
    ("msff_cnn", (), 49.98),
    ("msff_cnn", ("fidelity.backbone.msff_cnn.dropout=0.3",), 48.92),
    ("msff_cnn", ("fidelity.backbone.msff_cnn.dropout=0.3", "recipe.convolution_l2=1e-3"), 44.79),
    ("drf_msam", (), 50.10),
]
"""Backbone, further settings and what the source logged."""

EARLIER = {45.70: 46.78, 49.98: 54.60, 48.92: 50.94, 44.79: 49.37}
"""What an earlier commit logged where the last one logged what stands before."""

N = 5740


def found(*overrides: str) -> tuple[Reported | None, tuple[str, ...]]:
    """What `notebook.reported` says of a run's settings."""
    return notebook.reported(integral(completed(settings_of(plain(quickly_composed(*overrides))))))


def only_row(folder: Path) -> Row:
    (row,) = contents(folder).rows
    return row


def test_the_figures_are_the_logged_ones_and_can_be_right() -> None:
    listed = [(backbone, row) for backbone, rows in figures()["rows"].items() for row in rows]
    assert [(backbone, row["accuracy"]) for backbone, row in listed] == [(each[0], each[2]) for each in VARIANTS]
    assert {row["accuracy"]: row["earlier"] for _, row in listed if "earlier" in row} == EARLIER
    assert figures()["n"] == N
    for logged in [*(each[2] for each in VARIANTS), *EARLIER.values()]:
        images = round(logged * N / 100)
        assert f"{100 * images / N:.2f}" == f"{logged:.2f}"  # 45.69 % would be no whole number of them


@pytest.mark.parametrize(("backbone", "overrides", "accuracy"), VARIANTS)
def test_the_sources_runs_are_held_against_their_figures(
    backbone: str, overrides: tuple[str, ...], accuracy: float
) -> None:
    """What its text describes is another network, of which it logged nothing."""
    assert found(*SOURCE, f"backbone={backbone}", "fidelity=paper") == (None, ())
    reported, protocol = found(*SOURCE, f"backbone={backbone}", *overrides)
    parameters = {"aer_cnn": 24_487, "msff_cnn": 33_369_735, "drf_msam": 97_223}[backbone]
    assert reported is not None
    assert replace(reported, note="") == Reported(parameters / 1e6, None, None, accuracy, N, "", "validation")
    assert reported.note.startswith(figures()["note"])
    assert (f"logged {EARLIER.get(accuracy, 0):.2f} % here" in reported.note) == (accuracy in EARLIER)
    assert ("which the notebook's own history contradicts" in reported.note) == (backbone != "aer_cnn")
    assert protocol == ()


@pytest.mark.parametrize(("backbone", "overrides", "accuracy"), VARIANTS)
def test_thirty_epochs_of_msff_cnn_are_held_against_the_earlier_commit(
    backbone: str, overrides: tuple[str, ...], accuracy: float
) -> None:
    reported, protocol = found(*SOURCE, f"backbone={backbone}", *overrides, "recipe.max_epochs=30")
    assert reported is not None
    if backbone == "msff_cnn":
        assert (reported.accuracy_percent, protocol) == (EARLIER[accuracy], ())
    else:  # how many epochs it trained the others is not known
        assert reported.accuracy_percent == accuracy
        assert protocol[0].startswith("recipe.max_epochs is 30, not ")


@pytest.mark.parametrize(("backbone", "scale", "used"), [("aer_cnn", 1, 255), ("drf_msam", 255, 1)])
def test_images_of_another_scale_are_another_protocol(backbone: str, scale: int, used: int) -> None:
    """So are runs of before there was the scale, which saw [0, 1]: of them, the setting is absent."""
    settings = plain(quickly_composed(*SOURCE, f"backbone={backbone}"))
    node = settings["fidelity"]["backbone"][backbone]
    node.pop("input_scale", None)
    if scale != 1:
        node["input_scale"] = scale
    reported, protocol = notebook.reported(integral(completed(settings_of(settings))))
    assert reported is not None
    assert protocol == (f"backbone.model.input_scale is {scale}, not {used}",)


@pytest.mark.parametrize("backbone", ["aer_cnn", "msff_cnn", "drf_msam"])
def test_the_experiment_is_the_sources_protocol(backbone: str) -> None:
    reported, protocol = found("experiment=table_notebook", "dataset.root=x", f"backbone={backbone}", "seed=3")
    assert reported is not None
    assert reported.accuracy_percent == figures()["rows"][backbone][0]["accuracy"]
    assert protocol == ()


@pytest.mark.parametrize(
    ("overrides", "protocol"),
    [
        (("trainer.precision=32", "seed=7", "dataset.root=elsewhere"), ()),
        (("split=official",), ("split is official, not notebook",)),
        (("recipe.max_epochs=3",), ("recipe.max_epochs is 3, not 25",)),
        (("backbone.lr=0.1",), ("recipe.optimizer.lr is 0.1, not 0.001",)),
        (("recipe=modern", "augmentation=none"), ("recipe is modern, not notebook",)),
        (("recipe=modern",), ("augmentation is standard, not none", "recipe is modern, not notebook")),
        (("split.function.seed=1",), ("split.function.seed is 1, not 42",)),
    ],
)
def test_deviations_from_the_protocol_are_named(overrides: tuple[str, ...], protocol: tuple[str, ...]) -> None:
    reported, sentences = found(*SOURCE, *overrides)
    assert reported is not None
    assert reported.accuracy_percent == 45.70
    assert sentences == protocol


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.preprocessing.min_max", "False"),
        ("dataset.preprocessing.equalize", "False"),
        ("dataset.preprocessing.min_variance", "0"),
        ("dataset.image_size", "64"),
    ],
)
def test_other_images_are_another_protocol(key: str, value: str) -> None:
    (sentence,) = found(*SOURCE, f"{key}={value}")[1]
    assert sentence.startswith(f"{key} is {value}, not ")


@pytest.mark.parametrize(
    "overrides",
    [
        ("backbone=drf_msam", "fidelity=paper", "backbone.model.parts=drf"),
        ("backbone=aer_cnn", "fidelity=paper", "backbone.model.widths=[8,16,32]"),
    ],
)
def test_a_network_of_another_shape_is_none_of_the_sources(overrides: tuple[str, ...]) -> None:
    assert found(*SOURCE, *overrides) == (None, ())


@pytest.mark.parametrize(
    "overrides",
    [
        ("activation=elu",),
        ("dataset=folder",),
        ("dataset=ckplus", "split=random"),
        ("recipe.convolution_l2=0.001",),
        ("backbone=msff_cnn", "recipe.convolution_l2=0.001"),
        ("backbone=msff_cnn", "fidelity.backbone.msff_cnn.dropout=0.2"),
        ("backbone=msff_cnn", "fidelity.backbone.msff_cnn.dropout=0.3", "recipe.convolution_l2=0.01"),
        ("backbone=msff_cnn", "fidelity.backbone.msff_cnn.norm.epsilon=0.01"),
        ("backbone=resnet50", "recipe=quick"),
    ],
)
def test_what_the_source_never_ran_has_no_figure(overrides: tuple[str, ...]) -> None:
    assert found(*SOURCE, *overrides) == (None, ())


@pytest.mark.parametrize(
    ("validated", "tested", "images", "kind"),
    [
        ((0.455, 0.457, 0.459), 0.6, N, "within"),
        ((0.455, 0.457, 0.459), 0.457, N, "within"),
        ((0.62, 0.60, 0.61), 0.457, N, "above"),
        ((0.31, 0.30, 0.32), 0.457, N, "below"),
        ((0.4, 0.4, 0.4), 0.457, N, "below"),
        ((0.4, 0.4, 0.4), 0.457, 200, "within"),  # of few validation images: little is known
    ],
)
def test_the_verdict_is_on_validation_accuracy(
    tmp_path: Path, validated: tuple[float, ...], tested: float, images: int, kind: str
) -> None:
    for seed, share in enumerate(validated, 1):
        finished(tmp_path, SOURCE, seed, right(tested, seed), validation=(share, images))
    row = only_row(tmp_path)
    assert row.reported is not None
    assert (row.reported.accuracy_percent, row.reported.part, row.reported.n) == (45.70, "validation", N)
    assert row.accuracy.mean == pytest.approx(tested)  # the table's own column is of test images
    assert row.n == 1000
    assert (row.verdict.kind, row.verdict.comparable) == (kind, images == N)
    mean = sum(validated) / 3
    sd = (sum((each - mean) ** 2 for each in validated) / 2) ** 0.5
    low, high = expected_range(Mean(mean, sd, 3, validated), images, row.reported)
    other = "" if images == N else " Not comparable: the validation part has 200 images, not 5,740."
    assert row.verdict.sentence == (
        f"Reported 45.70 % on validation, ours {100 * mean:.2f} %; a single run here is expected in "
        f"{100 * low:.2f} to {100 * high:.2f} % (3 seeds).{other}"
    )


def test_the_same_figure_of_test_images_is_told_without_its_part() -> None:
    ours = Mean(0.457, 0.002, 3, (0.455, 0.457, 0.459))
    figure = Reported(1, 1, 1, 45.70, N)
    test, validation = (verdict(replace(figure, part=part), ours, N, ()) for part in ("test", "validation"))
    assert test.sentence.startswith("Reported 45.70 %; a single run here")
    assert validation.sentence.startswith("Reported 45.70 % on validation, ours 45.70 %; a single run here")
    assert test.kind == validation.kind == "within"


def test_variants_of_msff_cnn_are_rows_of_their_own(tmp_path: Path) -> None:
    for number, (backbone, overrides, accuracy) in enumerate(VARIANTS):
        options = (*SOURCE, f"backbone={backbone}", *overrides)
        finished(tmp_path, options, 1, right(0.5, number), validation=(accuracy / 100, N))
    report = contents(tmp_path)
    assert report.columns[:2] == ("backbone", "attention")
    assert [row.labels["backbone"] for row in report.rows] == ["aer_cnn", *["msff_cnn"] * 3, "drf_msam"]
    told = {}
    for row in report.rows:
        assert row.reported is not None
        assert row.verdict.kind == "too few seeds"
        assert row.verdict.comparable
        if row.labels["backbone"] == "msff_cnn":
            told[row.labels["dropout"], row.labels["convolution_l2"]] = row.reported.accuracy_percent
    assert told == {("0", "0"): 49.98, ("0.3", "0"): 48.92, ("0.3", "0.001"): 44.79}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """AER-CNN as the source trained it, by another recipe, and with another activation; a network of the study."""
    for seed, off in enumerate((-0.01, 0.0, 0.01), 1):
        finished(tmp_path, SOURCE, seed, right(0.6 + off, 1), validation=(0.45 + off, N))
        finished(tmp_path, (*SOURCE, "recipe=modern"), seed, right(0.65 + off, 1), validation=(0.62 + off, N))
        finished(tmp_path, (*SOURCE, "activation=elu"), seed, right(0.61 + off, 1), validation=(0.6 + off, N))
        finished(tmp_path, (*STUDY, "attention=none"), seed, right(0.58 + off, 1, n=7178), validation=(0.9, 8610))
    return tmp_path


def by(rows: tuple[Row, ...], **labels: str) -> Row:
    (row,) = (row for row in rows if labels.items() <= row.labels.items())
    return row


def test_tables_mark_validation_and_another_protocol(sweep: Path) -> None:
    report = contents(sweep)
    modern = by(report.rows, recipe="modern")
    assert (modern.verdict.kind, modern.verdict.comparable) == ("above", False)
    assert modern.verdict.sentence.endswith(
        "Not comparable: augmentation is standard, not none; recipe is modern, not notebook."
    )
    assert by(report.rows, activation="elu", backbone="aer_cnn").reported is None
    study = by(report.rows, backbone="resnet50")
    assert study.reported is not None
    assert study.reported.part == "test"
    assert study.verdict.kind == "within"  # 58 % on test; on validation it has 90

    lines = tables.as_markdown(report).splitlines()
    names = [each.strip() for each in lines[0].strip("|").split("|")]
    rows = [dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True)) for line in lines[2:6]]
    shown = {(row["Backbone"], row["Activation"], row["Recipe"]): row for row in rows}
    assert {key: (row["Reported (%)"], row["Accuracy (%)"], row["Verdict"]) for key, row in shown.items()} == {
        ("AER-CNN", "ReLU", "notebook"): ("45.70 (validation; ours 45.00)", "60.00 ± 1.00", "within"),
        ("AER-CNN", "ReLU", "modern"): ("45.70 (validation; ours 62.00)", "65.00 ± 1.00", "above (other protocol)"),
        ("AER-CNN", "ELU", "notebook"): ("–", "61.00 ± 1.00", "–"),
        ("ResNet-50", "ELU", "study"): ("58.61", "58.00 ± 1.00", "within"),
    }
    (note,) = (line for line in lines if "0.59 of its text" in line)
    assert note.count("AER-CNN") == 2
    assert "ResNet-50" not in note
    assert "45.70 (validation; ours 45.00) & within & " in tables.as_latex(report)


def test_the_page_shows_them(sweep: Path) -> None:
    html = page.render(contents(sweep))
    cells = re.findall(
        r'data-value="45\.7"[^>]*>\s*<span[^>]*>45\.70</span>.* <span class="second">validation; ours', html
    )
    assert len(cells) == 2
    assert len(re.findall(r'data-value="58\.61"[^>]*>\s*<span[^>]*>58\.61</span>', html)) == 1
    assert "Reported 45.70 % on validation, ours 45.00 %; a single run here" in html
    assert html.count('<span class="second">≠ other protocol</span>') == 1
    assert html.count("The 0.59 of its text stands in none of its logs.") == 1  # a note for both rows


def test_fidelities_are_compared_beside_the_validation_figure(tmp_path: Path) -> None:
    for fidelity, share in (("code", 0.5), ("paper", 0.6)):
        finished(tmp_path, (*SOURCE, f"fidelity={fidelity}"), 1, right(share, 1), validation=(0.45, N))
    report = contents(tmp_path)
    (pair,) = report.fidelity
    assert {pair.first, pair.second} == {"code", "paper"}
    section = page.render(report).partition('id="pairs"')[2].partition("</section>")[0]
    assert re.search(r">45\.70</span> <span class=\"second\">validation; ours 45\.00</span>", section)
