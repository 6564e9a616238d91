"""Rows that differ in one option are compared, one pair at a time and over backbones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import report_runs
from report_runs import CBAM, NONE, SE, SHORT, STUDY, finished, right

from fersweep.report import tables
from fersweep.report.write import contents

sweep = report_runs.sweep


def test_what_beats_what_is_said_plainly(sweep: Path) -> None:
    report = contents(sweep)
    sentences = [pair.sentence for pair in report.options]
    assert len(sentences) == 3
    pattern = r"ResNet-50: CBAM beats the network without attention by 6\.0 points \(95 % \d\.\d…\d\.\d\): established"
    assert sum(bool(re.fullmatch(pattern, each)) for each in sentences) == 1
    start = r"ResNet-50: SE scores 0\.3 points more than the network without attention "
    assert re.match(start + r"\(95 % −\d\.\d…\d\.\d\): not established", sentences[-1])
    seeds = (
        r"\(power for a difference of this size \d+ %; (more than 200|\d+) seeds of each would (be needed|give 80 %)\)$"
    )
    assert re.search(seeds, sentences[-1])
    best = next(pair for pair in report.options if {pair.first, pair.second} == {"cbam", "none"})
    assert best.established
    assert best.difference == pytest.approx(0.06)
    assert best.p < 0.01
    assert best.p <= best.p_holm < 0.05
    assert best.mcnemar_p <= best.mcnemar_holm < 0.05
    assert best.discordant[0] - best.discordant[1] == pytest.approx(60)
    assert (best.seeds, best.n, best.shared) == ((3, 3), 1000, {"backbone": "ResNet-50"})
    assert best.rows == (report.rows[2].key, report.rows[0].key)
    assert report.fidelity == ()


def test_two_seeds_establish_nothing(tmp_path: Path) -> None:
    for seed in (1, 2):
        finished(tmp_path, (*SHORT, *NONE), seed, right(0.5, seed))
        finished(tmp_path, (*SHORT, *CBAM), seed, right(0.7, seed))
    (pair,) = contents(tmp_path).options
    assert pair.p_holm < 0.05
    assert not pair.established
    assert pair.sentence.endswith("not established (2 seeds; it takes 3)")


def test_equal_rows_are_level(tmp_path: Path) -> None:
    for options in (NONE, CBAM):
        finished(tmp_path, (*SHORT, *options), 1, right(0.5, 1))
    (pair,) = contents(tmp_path).options
    assert re.search(
        r"differ by 0\.0 points \(95 % 0\.0…0\.0\): not established \(1 seed; it takes 3\)$", pair.sentence
    )
    assert (pair.mcnemar_p, pair.p) == (1.0, 1.0)


def test_fidelities_stand_side_by_side_and_are_compared(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        for fidelity, rate in (("code", 0.6), ("paper", 0.7)):
            for attention in ("none", "cbam"):
                options = (*SHORT, f"attention={attention}", f"fidelity={fidelity}")
                finished(tmp_path, options, seed, right(rate, seed + 10 * len(attention)))
    report = contents(tmp_path)
    assert report.columns == ("backbone", "attention", "fidelity")
    assert [tuple(row.labels.values())[1:] for row in report.rows] == [
        ("none", "code"),
        ("none", "paper"),
        ("cbam", "code"),
        ("cbam", "paper"),
    ]
    assert {(pair.group, pair.first, pair.second) for pair in report.fidelity} == {("fidelity", "paper", "code")}
    assert len(report.fidelity) == 2
    assert len(report.options) == 2  # none against cbam, in either fidelity


def test_rows_tested_on_other_images_are_not_compared(tmp_path: Path) -> None:
    finished(tmp_path, (*SHORT, *NONE), 1, right(0.5, 1))
    finished(tmp_path, (*SHORT, *CBAM), 1, right(0.7, 1), first=7)
    assert contents(tmp_path).options == ()


def test_the_mean_gain_over_backbones_is_claimed(tmp_path: Path) -> None:
    networks = ("resnet50", "resnet101", "vgg16", "vgg19")
    for number, backbone in enumerate(networks):
        for attention, rate in (("none", 0.5), ("cbam", 0.56 + 0.01 * number), ("se", 0.49 + 0.01 * number)):
            options = (*STUDY, f"backbone={backbone}", f"attention={attention}")
            finished(tmp_path, options, 1, right(rate, 10 * number + len(attention)))
    report = contents(tmp_path)
    assert not any(pair.established for pair in report.options)  # one seed each
    cbam = next(claim for claim in report.claims if (claim.first, claim.second) == ("CBAM", "none"))
    assert cbam.difference == pytest.approx(0.075)
    assert (cbam.positive, len(cbam.pairs), cbam.over, cbam.seeds) == (4, 4, "4 backbones", (1, 1))
    assert cbam.established
    assert cbam.interval[0] > 0
    assert "CBAM minus no attention is 7.5 points on average over 4 backbones (95 % " in cbam.sentence
    assert cbam.sentence.endswith("above zero in 4 of 4: established")
    se = next(claim for claim in report.claims if (claim.first, claim.second) == ("SE", "none"))
    assert (se.positive, se.established) == (2, False)
    assert len(report.claims) == 3


@pytest.mark.parametrize(
    ("settings", "seeds", "said"),
    [
        ([("resnet50", "fer2013"), ("vgg16", "fer2013")], 3, "(2 settings; it takes 4)"),
        ([("resnet50", "fer2013"), *[(name, "ckplus") for name in ("resnet50", "vgg16", "vgg19")]], 1, "takes 3 seeds"),
        ([(name, "fer2013") for name in ("resnet50", "vgg16", "vgg19", "resnet101")], 1, ""),
    ],
)
def test_what_is_too_little_for_a_claim(tmp_path: Path, settings: list[tuple[str, str]], seeds: int, said: str) -> None:
    for number, (backbone, dataset) in enumerate(settings):
        for seed in range(seeds):
            for attention, rate in (("none", 0.3), ("se", 0.6)):
                chosen = (f"dataset={dataset}", "dataset.root=x", "split=study", f"backbone={backbone}")
                answers = right(rate, 10 * number + seed, ground=number)
                finished(tmp_path, (*chosen, f"attention={attention}"), seed, answers, first=0)
    (claim,) = contents(tmp_path).claims
    assert claim.p < 0.05
    assert claim.established is (not said)
    assert claim.sentence.endswith(f"not established ({claim.open})" if said else ": established")
    assert said in f"({claim.open})"


def test_one_backbone_makes_no_claim(sweep: Path) -> None:
    assert contents(sweep).claims == ()


def test_rows_without_a_setting_are_compared_with_rows_that_have_it(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        finished(tmp_path, (*STUDY, *NONE), seed, right(0.5, seed))
        for reduction in (4, 16):
            options = (*STUDY, *SE, f"attention.reduction={reduction}")
            finished(tmp_path, options, seed, right(0.7, 10 * reduction + seed))
    report = contents(tmp_path)
    pairs = {(pair.group, pair.first, pair.second, pair.shared.get("reduction")) for pair in report.options}
    assert ("attention", "se", "none", "4") in pairs
    assert ("attention", "se", "none", "16") in pairs
    assert {group for group, *_ in pairs} == {"attention", "reduction"}
    assert "ResNet-50, 16: SE beats the network without attention by 20.0 points" in " ".join(
        pair.sentence for pair in report.options
    )


def test_sentences_can_be_read(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        finished(tmp_path, (*STUDY, *NONE), seed, right(0.7, seed))
        finished(tmp_path, (*STUDY, *SE, "attention.reduction=4"), seed, right(0.5, 10 + seed))
        finished(tmp_path, (*STUDY, *SE, "attention.reduction=8"), seed, right(0.4, 20 + seed))
        options = (*STUDY, *SE, "attention.reduction=8", "split=random", "recipe=quick", "fidelity=paper")
        finished(tmp_path, options, seed, right(0.4, 30 + seed))
    said = " ".join(pair.sentence for pair in contents(tmp_path).options)
    assert "the network without attention beats SE by 20.0 points" in said
    assert "reduction=4 beats reduction=8 by 10.0 points" in said
    assert "ResNet-50, as its code ran, split=study, recipe=study, 4: the network without attention beats SE" in said


def test_settings_that_differ_with_the_option_are_named(tmp_path: Path) -> None:
    """As after equal tuning: each attention has its learning rate, so the difference is that of both."""
    for seed in (1, 2, 3):
        for attention, rate, accuracy in ((CBAM, 0.1, 0.66), (SE, 0.1, 0.60), (NONE, 0.01, 0.55)):
            own = (*SHORT, *attention, f"recipe.optimizer.lr={rate}")
            finished(tmp_path, own, seed, right(accuracy + 0.001 * (seed - 2), seed))
    report = contents(tmp_path)
    assert [each.rpartition(": established")[2] for each in (pair.sentence for pair in report.options)] == [
        "; the rows differ in recipe.optimizer.lr, too" if "none" in (pair.first, pair.second) else ""
        for pair in report.options
    ]
    notes = {
        row.labels["attention"]: [each for each in row.notes if each.startswith("Not the same")] for row in report.rows
    }
    assert notes["cbam"] == ["Not the same in all rows: recipe.optimizer.lr=0.1."]
    assert notes["none"] == ["Not the same in all rows: recipe.optimizer.lr=0.01."]
    assert "- ResNet-50 · none: Not the same in all rows: recipe.optimizer.lr=0.01." in tables.as_markdown(report)


def test_what_an_option_brings_with_it_is_not_named(tmp_path: Path) -> None:
    """The recipe has its learning rate, the fidelity its biases: their rows differ in one option."""
    for overrides in (SHORT, (*SHORT, "fidelity=paper"), (*SHORT, "recipe=modern")):
        finished(tmp_path, (*overrides, "backbone=resnet50"), 1, right(0.6, 1))
    assert [(row.own, [each for each in row.notes if "Not the same" in each]) for row in contents(tmp_path).rows] == [
        ({}, [])
    ] * 3
