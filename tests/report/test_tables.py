"""The main table in Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import report_runs
from report_runs import NONE, SE, STUDY, finished, right

from fersweep.files import write_json
from fersweep.report import results, tables
from fersweep.report.write import contents

sweep = report_runs.sweep


def test_tables_hold_the_same_in_three_languages(sweep: Path) -> None:
    report = contents(sweep)
    lines = tables.as_markdown(report).splitlines()
    assert lines[0] == (
        "| Attention | Accuracy (%) | 95 % interval | Reported (%) | Verdict | Macro-F1 | Reported params (M) |"
    )
    assert lines[2] == "| none | 60.00 ± 0.10 | 56.93–62.99 | 58.61 | within (other protocol) | 0.600 | 23.49 |"
    assert any(line.startswith("- ResNet-50 · none: Reported 58.61 %") for line in lines)
    assert lines[-2:] == ["- 29 of the study's 32 rows have no finished run on FER2013.", "- 1 run is not done."]
    assert "backbone ResNet-50, " in lines[6]
    assert "dataset FER2013, split study" in lines[6]
    assert "max epochs 3, batch size 64, image size 48, seeds 3, n 1,000" in lines[6]
    assert lines[6].endswith("majority class 25.00 %, parameters 23.49 M.")
    (first, *_) = rows = list(csv.DictReader(io.StringIO(tables.as_csv(report))))
    assert [row["attention"] for row in rows] == ["none", "se", "cbam"]
    assert (first["dataset"], first["split"], first["recipe"]) == ("fer2013", "study", "study")
    assert float(first["accuracy"]) == pytest.approx(0.6)
    assert (first["seeds"], first["n"], first["verdict"], first["comparable"]) == ("3", "1000", "within", "False")
    latex = [line for line in tables.as_latex(report).splitlines() if not line.startswith("%")]
    assert latex[0] == r"\begin{tabular}{lrrrlrr}"
    assert latex[2] == (
        r"Attention & Accuracy (\%) & 95 \% interval & Reported (\%) & Verdict & Macro-F1 & Reported params (M) \\"
    )
    assert latex[4] == r"none & 60.00 $\pm$ 0.10 & 56.93--62.99 & 58.61 & within (other protocol) & 0.600 & 23.49 \\"
    assert latex[6].startswith(r"CBAM & \textbf{66.00 $\pm$ 0.10} & ")


def parsed(latex: str) -> list[list[str]]:
    """The cells of a ``tabular``, after LaTeX's rules: comments, braces, environments and special characters."""
    assert latex.isascii() or not re.search(r"[^\x00-\x7f]", re.sub("(?m)^%.*$", "", latex))
    body = re.sub(r"(?m)^%.*\n", "", latex)
    found = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.*)\\bottomrule\n\\end\{tabular\}\n", body, re.S)
    assert found is not None
    depth = 0
    for token in re.findall(r"\\.|[{}]", found[2]):
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", body)) % 2 == 0
    assert not re.search(r"(?<!\\)[#%~_^]|[<>|\"]", body)
    lines = [line for line in found[2].splitlines() if line not in (r"\midrule", r"\addlinespace")]
    assert all(line.endswith(r" \\") for line in lines)
    rows = [re.split(r" (?<!\\)& ", line.removesuffix(r" \\")) for line in lines]
    assert {len(row) for row in rows} == {len(found[1])}
    return rows


def test_the_operations_of_a_training_have_a_column_where_all_runs_of_a_row_tell_them(sweep: Path) -> None:
    """Runs of earlier versions do not; a row is the mean over its seeds."""
    for number, path in enumerate(sorted(sweep.rglob("*cbam*/result.json")), 1):
        write_json(path, json.loads(path.read_text()) | {"training_flops": number * 10**14})
    one = next(iter(sorted(sweep.rglob("*-se-*/result.json"))))
    write_json(one, json.loads(one.read_text()) | {"training_flops": 10**15})
    report = contents(sweep)
    assert [row.training_flops for row in report.rows] == [None, None, 2e14]
    lines = tables.as_markdown(report).splitlines()
    (place,) = (at for at, name in enumerate(lines[0].split(" | ")) if name.startswith("Training (PFLOP)"))
    assert [line.strip("| ").split(" | ")[place] for line in lines[2:5]] == ["–", "–", "0.200"]
    recorded = list(csv.DictReader(io.StringIO(tables.as_csv(report))))
    assert [row["training_flops"] for row in recorded] == ["", "", "200000000000000.0"]


def test_latex_is_escaped_and_its_table_whole(tmp_path: Path) -> None:
    title = 'a_{} & 50 % #1 $x^2$ ~ \\ <b> | "é"'
    for name in ("vgg16", "resnetv2_50"):
        given = f"backbone.title='{title} {name}'" if name == "vgg16" else f"backbone.title=b_{name}"
        finished(tmp_path, (*STUDY, *NONE, f"backbone={name}", given), 1, right(0.5, 1))
    latex = tables.as_latex(contents(tmp_path))
    assert r"b\_resnetv2\_50" in latex
    assert latex.count(r"\addlinespace") == 1
    header, *rows = parsed(latex.replace("é", ""))
    assert header[0] == "Backbone"
    escaped = r"a\_\{\} \& 50 \% \#1 \$x\textasciicircum{}2\$ \textasciitilde{} \textbackslash{} "
    escaped += r"\textless{}b\textgreater{} \textbar{} "
    assert any(row[0].startswith(escaped) for row in rows)


def test_bold_is_the_highest_mean_on_the_same_images(tmp_path: Path) -> None:
    """Of each dataset and split, all that print the highest; a row alone beats nobody."""
    for backbone, share in (("resnet50", 0.6), ("vgg16", 0.7), ("vgg19", 0.7)):
        finished(tmp_path, (*STUDY, *NONE, f"backbone={backbone}"), 1, right(share, 1))
    for backbone, share in (("resnet50", 0.9), ("vgg16", 0.8)):
        finished(tmp_path, (*STUDY, *NONE, "dataset=ckplus", f"backbone={backbone}"), 1, right(share, 1, n=182))
    finished(tmp_path, (*STUDY, *NONE, "split=official"), 1, right(0.95, 1, n=300))
    _, *rows = parsed(tables.as_latex(contents(tmp_path)))
    bold = [set(row[:3]) for row in rows if any("textbf" in cell for cell in row)]
    winners = (("CK+", "study", "ResNet-50"), ("FER2013", "study", "VGG-16"), ("FER2013", "study", "VGG-19"))
    assert bold == [set(each) for each in winners]
    assert all(sum("textbf" in cell for cell in row) <= 1 for row in rows)


def test_no_table_has_a_column_that_is_empty_or_says_the_same_of_all_rows(tmp_path: Path) -> None:
    own = ("dataset=folder", "dataset.root=x", "split=random")
    for seed in (1, 2):
        for activation in ("relu", "elu"):
            finished(tmp_path, (*own, "backbone=aer_cnn", *NONE, f"activation={activation}"), seed, right(0.5, seed))
    report = contents(tmp_path)
    (header, _, *rows), _ = (part.splitlines() for part in tables.as_markdown(report).split("\n\n"))
    assert header == "| Activation | Accuracy (%) | 95 % interval |"  # which differ in nothing else
    assert len(rows) == 2
    choice = results.choice(report, page=True)
    assert [column.heading for column in choice.shown] == ["Activation", "Accuracy (%)", "95 % interval"]
    assert choice.common["Backbone"] == "AER-CNN"
    assert (choice.common["Seeds"], choice.common["n"], choice.common["Majority class (%)"]) == ("2", "1,000", "25.00")
    assert "Attention" not in choice.common  # the network takes none


def test_settings_that_are_not_those_of_their_options_stand_below_the_table(tmp_path: Path) -> None:
    own = ("backbone=resnet18", "backbone.model.stem=small", "backbone.model.width=16", "recipe.label_smoothing=0.2")
    for attention in (NONE, SE):
        finished(tmp_path, (*STUDY, *attention, *own, "recipe.max_epochs=7"), 1, right(0.5, 1))
    shared = tables.as_markdown(contents(tmp_path)).partition("In all rows: ")[2].partition(".\n")[0].split(", ")
    changed = {each for each in shared if "=" in each}
    assert changed == set(own[1:])
    assert "max epochs 7" in shared
    finished(tmp_path, (*STUDY, *NONE, *own[:2], "backbone.model.width=8"), 1, right(0.5, 1))
    text = tables.as_markdown(contents(tmp_path))
    assert ", backbone.model.stem=small" in text
    assert "backbone.model.width=" not in text  # which is a column now


def test_one_row_has_all_columns_but_those_of_the_study_where_it_prints_nothing(tmp_path: Path) -> None:
    finished(tmp_path, (*NONE, "dataset=synthetic"), 1, right(0.5, 1))
    lines = tables.as_markdown(contents(tmp_path)).splitlines()
    headings = (
        "Backbone | Attention | Accuracy (%) | 95 % interval | Macro-F1 | Seeds | n | Majority class (%) | Parameters"
    )
    assert lines[0] == f"| {headings} (M) |"
    assert r"\begin{tabular}{llrrrrrrr}" in tables.as_latex(contents(tmp_path))
