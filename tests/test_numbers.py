"""Every percentage that README, docs and results state: ``results/numbers.yaml`` says where it comes from.

Of those that come from a folder of ``results/``, from a fraction or from a source's figures, the value is compared.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from fersweep.report import notebook, study
from fersweep.report.statistics import wilson

ROOT = Path(__file__).parents[1]
SOURCES: dict[str, dict[str, list[str]]] = yaml.safe_load((ROOT / "results" / "numbers.yaml").read_text())
DOCUMENTS = [str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
DOCUMENTS.append("results/README.md")

NUMBER = re.compile(r"(?<![\d.])\d{1,3}\.\d{1,2}(?![\d.])")
PERCENT = re.compile(r"(?:\d{1,3}(?:\.\d{1,2})?(?:\*\*)?(?:,? and |,? or | to |, | ± | of |…|–|/|\s*))+%")
"""A number, or several in a row, before a percent sign: 60.71 ± 1.26 %."""
INTERVAL = re.compile(r"%(?:\*\*)? \(([^()]*)\)")
"""What follows in brackets: 86.0 % (81.7 to 89.5)."""


def stated(text: str) -> set[str]:
    """The percentages with a decimal point that a document states; commands are not looked at."""
    prose = re.sub(r"\s+", " ", re.sub(r"(?m)^    .*$", "", text))
    spans = [match[0] for match in PERCENT.finditer(prose)] + [match[1] for match in INTERVAL.finditer(prose)]
    return {number for span in spans for number in NUMBER.findall(span)}


def leaves(node: Any) -> Iterator[float]:
    """All numbers in a tree of dicts and lists, or the number itself."""
    if isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from leaves(each)
    elif isinstance(node, int | float):
        yield float(node)


def of_runs(folder: Path) -> Iterator[float]:
    """Scores of the runs in a folder and of their tests on other data, and their mean and deviation over seeds."""
    seeds: dict[str, list[dict[str, float]]] = {}
    for file in sorted(folder.rglob("result.json")):
        result = json.loads(file.read_text())
        scores = {key: value for key, value in result["metrics"].items() if "accuracy" in key or "f1" in key}
        yield from scores.values()
        yield from wilson(round(scores["test/accuracy"] * result["metrics"]["test/n"]), result["metrics"]["test/n"])
        yield from leaves(result.get("majority_baseline", []))
        test = file.with_name("test.yaml")
        run = test.parents[2] if test.is_file() else file.parent
        row = re.sub(r"(?m)^seed: .*$", "", (run / "config.yaml").read_text())
        row += test.read_text() if test.is_file() else ""
        seeds.setdefault(row, []).append(scores)
    for runs in seeds.values():
        for key in runs[0] if len(runs) > 1 else ():
            values = [run[key] for run in runs if key in run]
            yield from (float(np.mean(values)), float(np.std(values, ddof=1)))


def of_tables(folder: Path) -> Iterator[float]:
    """The numbers of a report's table, those in its sentences, and those of ensembles and of other datasets."""
    for file in (*sorted(folder.rglob("ensembles.csv")), *sorted(folder.rglob("other_datasets.csv"))):
        yield from leaves(pd.read_csv(file).select_dtypes("number").to_numpy().tolist())
    for file in sorted(folder.rglob("table.csv")):
        table = pd.read_csv(file)
        yield from leaves(table.select_dtypes("number").to_numpy().tolist())
        for sentence in table["verdict_sentence"].dropna():
            yield from map(float, NUMBER.findall(sentence))


@functools.cache
def values(source: str) -> tuple[float, ...] | None:
    """The numbers that a source has; ``None`` for one in words: a command, or where it is printed."""
    if source.startswith("results/"):
        assert (ROOT / source).is_dir(), f"results/numbers.yaml: there is no folder {source}"
        return (*of_runs(ROOT / source), *of_tables(ROOT / source))
    if source == "published":
        return (*leaves(study.study()), *leaves(notebook.figures()))
    if re.fullmatch(r"\d+/\d+", source):
        part, whole = map(int, source.split("/"))
        return (part / whole,)
    return None


def rounds_to(value: float, number: str) -> bool:
    """Whether a value, or a fraction in percent, is a number at the number's own precision."""
    half = 0.5 * 10.0 ** -len(number.partition(".")[2]) + 1e-9
    return any(abs(each - float(number)) <= half for each in (value, 100 * value))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_percentage_has_a_source(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    listed = {number for numbers in SOURCES.get(document, {}).values() for number in numbers}
    assert sorted(stated(text) - listed) == [], (
        f"say in results/numbers.yaml where these numbers of {document} are from"
    )
    assert sorted(listed - set(NUMBER.findall(text))) == [], (
        f"results/numbers.yaml lists what {document} does not state"
    )


@pytest.mark.parametrize(("document", "source"), [(each, source) for each in SOURCES for source in SOURCES[each]])
def test_the_number_is_what_its_source_has(document: str, source: str) -> None:
    assert document in DOCUMENTS
    if (known := values(source)) is not None:
        wrong = [number for number in SOURCES[document][source] if not any(rounds_to(each, number) for each in known)]
        assert wrong == [], f"{source} has no such number for {document}"
    else:
        assert " " in source  # words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_differences_with_an_interval_stand_in_a_report(document: str) -> None:
    """0.4 points more than CBAM (95 % −2.2…3.0): word for word as a report in results/ has it."""
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "results").glob("*/index.html"))]
    text = re.sub(r"\s+", " ", (ROOT / document).read_text(encoding="utf-8"))
    for stated_difference in re.findall(r"\d\.\d points[^.(]{0,40}\(95 % [−\d][^)]*\)", text):
        assert any(stated_difference in page for page in pages), stated_difference


def test_the_curves_beside_the_notebooks_log_are_those_of_the_runs() -> None:
    """AER-CNN's table in notebook.md: epoch, the log's loss and accuracy, then those of each seed."""
    page = (ROOT / "docs" / "explanation" / "notebook.md").read_text(encoding="utf-8")
    table = page.partition("\n| Epoch | Log |")[2]
    lines = table.partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    seeds = [title.removeprefix("seed ") for title in rows[0]]
    runs = ROOT / "results" / "fer2013_table_notebook" / "runs"
    assert len(seeds) == len(list(runs.glob("aer_cnn-*"))) > 0
    for column, seed in enumerate(seeds, start=2):
        (file,) = runs.glob(f"aer_cnn-*-s{seed}-*/history.csv")
        history = pd.read_csv(file)
        for row in rows[2:]:
            if row[0] == "best":
                best = history.loc[history["val/accuracy"].idxmax()]
                assert row[column] == f"{100 * best['val/accuracy']:.2f} (epoch {best['epoch']:.0f})"
            else:
                epoch = history.loc[int(row[0]) - 1]
                assert row[column] == f"{epoch['train/loss']:.3f} · {100 * epoch['val/accuracy']:.2f}"


def test_percentages_are_found_in_prose_and_tables() -> None:
    text = (
        "**68.26 %** (66.7 to 69.8, n = 3,589), 41.4 to 42.0 % or 60.71 ± 1.26 %\n| 14.3 % | 0.571 |\n    code 9.9 %\n"
    )
    assert stated(text) == {"68.26", "66.7", "69.8", "41.4", "42.0", "60.71", "1.26", "14.3"}
    assert rounds_to(0.66219, "66.2")
    assert rounds_to(64.07, "64.07")
    assert not rounds_to(0.6614, "66.2")
