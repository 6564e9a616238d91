"""Titles where a person reads, options where a program does; networks that take no attention are shown without."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from report_runs import STUDY, failed, finished, right
from rich.console import Console

from fersweep.report import listing, page, tables
from fersweep.report.plots import overview
from fersweep.report.summary import print_summary
from fersweep.report.titles import distinct, joined, titled
from fersweep.report.write import contents
from fersweep.runs.collect import collect, config_of

AER = (*STUDY, "backbone=aer_cnn", "attention=none", "activation=relu")
RESNET = (*STUDY, "activation=relu")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """AER-CNN with ReLU and ELU; ResNet-50 without attention and, better, with CBAM; and one run that failed."""
    for seed in (1, 2, 3):
        finished(tmp_path, AER, seed, right(0.5, seed))
        finished(tmp_path, (*AER, "activation=elu"), seed, right(0.55, seed))
        finished(tmp_path, (*RESNET, "attention=none"), seed, right(0.6, 10 + seed))
        finished(tmp_path, (*RESNET, "attention=cbam"), seed, right(0.7, 20 + seed))
    failed(tmp_path, AER, 4, RuntimeError("no memory"))
    return tmp_path


def printed(outputs: Path) -> str:
    console = Console(file=io.StringIO(), width=200)
    listing.show(collect(outputs), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_network_that_takes_no_attention_is_never_shown_with_none(sweep: Path) -> None:
    report = contents(sweep)
    assert [tuple(row.shown.values()) for row in report.rows] == [
        *(("ResNet-50", "none", "ReLU"), ("ResNet-50", "CBAM", "ReLU")),
        *(("AER-CNN", "–", "ELU"), ("AER-CNN", "–", "ReLU")),
    ]
    assert [row.name for row in report.rows[2:]] == ["AER-CNN · ELU", "AER-CNN · ReLU"]
    assert [row.labels["attention"] for row in report.rows] == ["none", "cbam", "none", "none"]
    sentences = [pair.sentence.partition(" by ")[0] for pair in report.options]
    assert sorted(sentences) == ["AER-CNN: ELU beats ReLU", "ResNet-50, ReLU: CBAM beats the network without attention"]
    html, markdown, latex = page.render(report), tables.as_markdown(report), tables.as_latex(report)
    assert '<span class="label">–</span>' in html
    assert "<small>AER-CNN · ReLU · as its code ran · FER2013" in html  # the run that failed
    assert "| AER-CNN | – | ReLU |" in markdown
    assert "AER-CNN & -- & ReLU &" in latex
    legend = overview(report)["accuracy_params"].legends[0]
    assert [text.get_text() for text in legend.get_texts()][:3] == ["none", "CBAM", "ResNet"]
    assert "Attention" in markdown.splitlines()[0]
    for text in (html, markdown, latex, printed(sweep)):
        for wrong in (
            "aer_cnn + none",
            "AER-CNN + none",
            "AER-CNN · no attention",
            "AER-CNN: no attention",
            "AER-CNN · none",
            "AER-CNN  none",
        ):
            assert wrong not in text
    assert "\r\naer_cnn,none,elu,code,fer2013," in tables.as_csv(report)


def test_the_table_of_runs_has_titles_and_its_files_have_options(sweep: Path) -> None:
    scores, rest, _ = printed(sweep).split("\n\n")
    assert {tuple(line.split()[2:5]) for line in scores.splitlines()[1:]} == {
        *(("ResNet-50", "none", "ReLU"), ("ResNet-50", "CBAM", "ReLU")),
        *(("AER-CNN", "–", "ELU"), ("AER-CNN", "–", "ReLU")),
    }
    assert rest.splitlines()[1].split()[3:7] == ["AER-CNN", "–", "ReLU", "4"]
    runs = collect(sweep)
    for rows in (
        list(csv.DictReader(io.StringIO(listing.as_csv(runs)))),
        [each["choices"] for each in json.loads(listing.as_json(runs))],
    ):
        assert {(row["backbone"], row["attention"]) for row in rows} == {
            *(("aer_cnn", "none"), ("resnet50", "none"), ("resnet50", "cbam"))
        }


@pytest.mark.parametrize(
    ("overrides", "network", "sweep"),
    [
        (AER, "AER-CNN, ReLU", "backbone=aer_cnn,resnet50"),
        ((*RESNET, "attention=none"), "ResNet-50, ReLU", "backbone=resnet50 attention=none,se,eca,cbam"),
        (
            (*RESNET, "attention=se"),
            "ResNet-50 + SE, ReLU",
            "backbone=vgg19,resnet50,resnetv2_50 attention=se",
        ),
    ],
)
def test_a_summary_has_titles_and_its_command_options(
    tmp_path: Path, overrides: tuple[str, ...], network: str, sweep: str
) -> None:
    directory = finished(tmp_path, overrides, 1, right(0.5, 1))
    result = json.loads((directory / "result.json").read_text()) | {"title": network, "images_per_second": 1.0}
    console = Console(file=io.StringIO(), width=120)
    print_summary({**result, "shared_subjects": 0}, directory, ("a", "b"), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert f"{network} · as its code ran" in text
    assert "FER2013 · study · flip_zoom · 2 classes" in text
    assert "no attention" not in text
    (line,) = (line for line in text.splitlines() if line.startswith("Next: "))
    assert line.startswith(f"Next: uv run train.py -m {sweep} ")
    assert "fidelity=code dataset=fer2013 split=study" in line


def test_options_with_one_title_are_told_apart_by_their_names(tmp_path: Path) -> None:
    assert distinct({"a": "A", "b": "B", "c": "A"}) == {"a": "A (a)", "b": "B", "c": "A (c)"}
    for attention in ("se", "cbam"):
        finished(tmp_path, (*STUDY, f"attention={attention}", "attention.title=Gate"), 1, right(0.5, 1))
    assert [row.shown["attention"] for row in contents(tmp_path).rows] == ["Gate (se)", "Gate (cbam)"]
    assert "Gate (se)" in printed(tmp_path)


def test_runs_without_titles_or_a_configuration_are_shown_by_name(tmp_path: Path) -> None:
    older, bare = (finished(tmp_path, (*STUDY, f"attention={each}"), 1, right(0.5, 1)) for each in ("se", "cbam"))
    config = OmegaConf.load(older / "config.yaml")
    for group in ("backbone", "attention", "dataset"):
        del config[group]["title"]
    OmegaConf.save(config, older / "config.yaml")
    (bare / "config.yaml").write_text("backbone: 3")
    assert config_of(bare) == {"backbone": 3}
    choices = {"backbone": "resnet50", "attention": "se"}
    assert titled([(older, choices)]) == [choices]
    assert titled([(bare, choices), (tmp_path / "none", {})]) == [choices, {}]
    assert "  se  " in printed(tmp_path)


def test_what_is_absent_is_left_out_of_a_line() -> None:
    assert joined(["AER-CNN", "–", "ReLU"]) == "AER-CNN · ReLU"
