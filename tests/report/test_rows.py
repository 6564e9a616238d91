"""Runs of the same settings become a row: its scores, its columns and its notes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_runs
from omegaconf import OmegaConf
from report_runs import CBAM, NONE, SE, SHORT, STUDY, finished, right, spoilt

from fersweep.files import write_json
from fersweep.report import tables
from fersweep.report.contents import Mean
from fersweep.report.write import contents

sweep = report_runs.sweep


def test_runs_that_differ_in_their_seed_are_a_row(sweep: Path) -> None:
    report = contents(sweep)
    assert [row.labels for row in report.rows] == [
        {"backbone": "resnet50", "attention": name} for name in ("none", "se", "cbam")
    ]
    none = report.rows[0]
    assert none.seeds == (1, 2, 3)
    assert none.accuracy == Mean(pytest.approx(0.6), pytest.approx(0.001), 3, pytest.approx((0.599, 0.6, 0.601)))
    assert none.interval == pytest.approx((0.5693, 0.6299), abs=1e-4)  # Wilson, 600 of 1,000
    assert none.macro_f1.mean == pytest.approx(0.6, abs=0.01)
    assert (none.n, none.majority, none.seconds) == (1000, 0.25, 102.0)
    assert none.confusion.sum() == 3000
    assert none.correct.shape == (3, 1000)
    assert none.correct.mean(axis=1) == pytest.approx(none.accuracy.values)
    assert (none.ids == np.sort(none.ids)).all()
    assert len(none.curves) == 3
    assert (report.done, len(report.unfinished)) == (9, 1)
    assert report.missing == ("29 of the study's 32 rows have no finished run on FER2013.",)


def test_accuracy_without_twins_is_a_mean_over_seeds(tmp_path: Path) -> None:
    for seed, accuracy in ((1, 0.5), (2, 0.6)):
        directory = finished(tmp_path, ("attention=none",), seed, right(0.7, seed, n=100))
        result = json.loads((directory / "result.json").read_text())
        result["metrics"] |= {"test/accuracy_without_twins": accuracy, "test/n_without_twins": 80}
        result |= {"twins": {"either": {"identical": 15, "near": 5}}, "shared_subjects": 4, "shared_subject_images": 60}
        write_json(directory / "result.json", result)
    report = contents(tmp_path)
    (row,) = report.rows
    assert (row.without_twins.mean, row.without_twins.n, row.n_without_twins) == (pytest.approx(0.55), 2, 80)
    assert "4 people in both train and test: 60 of 100 test images show people seen in training." in row.notes
    assert "Without twins (%)" in tables.as_markdown(report)
    assert "55.00 ± 7.07 (n = 80)" in tables.as_markdown(report)
    finished(tmp_path, ("attention=se",), 1, right(0.7, 1, n=100))  # of an earlier version, which did not count
    assert [each.without_twins is None for each in contents(tmp_path).rows] == [False, True]
    del result["metrics"]["test/n_without_twins"]
    write_json(directory / "result.json", result)
    assert "Without twins" not in tables.as_markdown(contents(tmp_path))


def test_folds_are_pooled(tmp_path: Path) -> None:
    jaffe = ("dataset=jaffe", "dataset.root=x", "split=subjects", "recipe=study", "attention=none")
    finished(tmp_path, (*jaffe, "split.fold=2"), 7, right(0.5, 7, n=22), first=200)
    (alone,) = contents(tmp_path).rows
    assert alone.notes[0] == "Fold 2 of 10 only: n counts its test images."
    shutil.rmtree(tmp_path / "s")
    for fold, share in enumerate((0.2, 0.4, 0.9)):
        finished(tmp_path, (*jaffe, f"split.fold={fold}"), 1, right(share, fold, n=20 + fold), first=100 * fold)
    (row,) = contents(tmp_path).rows
    assert (row.n, row.seeds, row.accuracy.n) == (63, (1,), 1)
    assert row.accuracy.mean == pytest.approx((4 + 8 + 20) / 63)
    assert row.seconds == pytest.approx(303)
    assert row.correct.shape == (1, 63)
    assert row.notes == ("Accuracy over the pooled predictions of 3 folds of 10: n counts their test images.",)
    assert contents(tmp_path).done == 3
    for fold, share in enumerate((0.3, 0.5)):  # another seed, so far without the third fold
        finished(tmp_path, (*jaffe, f"split.fold={fold}"), 2, right(share, fold, n=20 + fold), first=100 * fold)
    report = contents(tmp_path)
    (row,) = report.rows
    assert (row.n, row.seeds, report.done) == (41, (1, 2), 5)
    assert row.accuracy.values == pytest.approx((12 / 41, 16 / 41), abs=0.02)
    assert row.correct.shape == (2, 41)
    assert "2 folds of 10" in row.notes[0]
    assert "1 run of a fold that not all seeds have is left out." in row.notes[0]


def test_settings_that_tell_rows_apart_become_columns(tmp_path: Path) -> None:
    for reduction in (4, 16):
        options = (*STUDY, "dataset=ckplus", *SE, f"attention.reduction={reduction}")
        finished(tmp_path, options, 1, right(0.9, reduction, n=182))
    report = contents(tmp_path)
    assert report.columns == ("backbone", "attention", "reduction")
    assert [row.labels["reduction"] for row in report.rows] == ["4", "16"]
    four, sixteen = (row.reported for row in report.rows)
    assert four is not None
    assert sixteen is not None
    assert (four.accuracy_percent, four.params_m, four.n) == (87.26, 33.56, 182)  # the ablation's
    assert (sixteen.accuracy_percent, sixteen.params_m) == (89.56, 26.02)  # not the main table's 89.01
    assert [row.verdict.kind for row in report.rows] == ["cannot be right", "too few seeds"]
    assert "158 are 86.81 %, 159 are 87.36 %" in report.rows[0].verdict.sentence
    (pair,) = report.options
    assert (pair.group, {pair.first, pair.second}) == ("reduction", {"4", "16"})


def test_runs_from_before_a_setting_was_there_are_of_the_same_row(tmp_path: Path) -> None:
    """Seed 1 was run when there were fewer settings: its ``config.yaml`` has none of them."""
    older, _ = (finished(tmp_path, (*STUDY, *CBAM), seed, right(0.6, seed, n=7178)) for seed in (1, 2))
    config = OmegaConf.load(older / "config.yaml")
    later = ("dataset.preprocessing", "recipe.convolution_l2", "backbone.lr", "attention.kernel_size")
    for dotted in (*later, "backbone.model.pooling", "trainer.lightning", "callbacks", "plugins"):
        group, _, key = dotted.rpartition(".")
        del (OmegaConf.select(config, group) if group else config)[key]
    OmegaConf.save(config, older / "config.yaml")
    (row,) = contents(tmp_path).rows
    assert row.seeds == (1, 2)
    assert row.reported is not None
    assert row.reported.accuracy_percent == 59.90
    assert row.verdict.comparable


def test_optimisers_are_told_by_their_names(tmp_path: Path) -> None:
    for name, rate in (("sgd", "0.1"), ("keras_adam", "0.001")):
        options = (*STUDY, *NONE, f"recipe/optimizer={name}", f"recipe.optimizer.lr={rate}")
        finished(tmp_path, options, 1, right(0.5, 1))
    report = contents(tmp_path)
    assert report.columns == ("backbone", "attention", "optimizer", "lr")
    assert [tuple(row.labels.values())[2:] for row in report.rows] == [("KerasAdam", "0.001"), ("SGD", "0.1")]


def test_runs_without_predictions_are_listed_but_not_compared(tmp_path: Path) -> None:
    (finished(tmp_path, (*SHORT, *NONE), 1, right(0.5, 1)) / "predictions.parquet").unlink()
    finished(tmp_path, (*SHORT, *CBAM), 1, right(0.7, 1))
    report = contents(tmp_path)
    assert report.rows[0].accuracy.mean == 0.5
    assert report.rows[0].notes[0].startswith("Not compared")
    assert report.options == ()


def test_seeds_that_some_rows_lack_are_named(tmp_path: Path) -> None:
    finished(tmp_path, (*SHORT, *NONE), 1, right(0.5, 1))
    finished(tmp_path, (*SHORT, *NONE), 2, right(0.5, 2))
    finished(tmp_path, (*SHORT, *CBAM), 1, right(0.7, 1))
    assert contents(tmp_path).missing[1:] == ("Seed 2 is missing for ResNet-50 · CBAM.",)


def test_runs_that_never_left_chance_are_told_from_those_that_learnt(tmp_path: Path) -> None:
    for seed, rate in ((1, 0.5), (2, 0.54)):
        finished(tmp_path, (*STUDY, *NONE), seed, right(rate, seed))
    stuck = finished(tmp_path, (*STUDY, *NONE), 3, right(0.5, 3))
    result = json.loads((stuck / "result.json").read_text())
    counts = np.zeros((7, 7), int)
    counts[:, 3] = np.sum(result["confusion_matrix"], axis=1)  # one answer to every image
    result["confusion_matrix"] = counts.tolist()
    write_json(stuck / "result.json", result)
    (row,) = contents(tmp_path).rows
    assert row.at_chance == (3,)
    assert (
        "1 of 3 runs never left chance (seed 3), stopped before the last epoch; the 2 that learnt score "
        "52.00 ± 2.83 %." in row.notes
    )


def test_intervals_over_people(tmp_path: Path) -> None:
    run = finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1))
    path = run / "predictions.parquet"
    table = pd.read_parquet(path)
    table["subject"] = ["S%d" % (int(name[5:10]) // 100) for name in table["id"]]  # noqa: UP031
    table.to_parquet(path)
    (row,) = contents(tmp_path).rows
    means = [row.correct[0][row.people == person].mean() for person in sorted(set(row.people))]
    half = 2.2622 * np.std(means, ddof=1) / 10**0.5
    assert row.over_people == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)


def test_epochs_stand_in_the_order_of_seeds(tmp_path: Path) -> None:
    for seed in (10, 2):
        run = finished(tmp_path, (*STUDY, *NONE), seed, right(0.5, 1))
        spoilt("result.json", epochs=100 * seed)(run)
    (row,) = contents(tmp_path).rows
    assert (row.seeds, row.epochs) == ((2, 10), (200, 1000))


def test_single_differences_of_a_fidelity_are_rows_of_their_own(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        for k, form in enumerate(("code", "code fidelity.backbone.resnet.stride_on=conv2", "paper")):
            options = (*STUDY, *NONE, *f"fidelity={form}".split())
            finished(tmp_path, options, seed, right(0.5 + 0.1 * k, 10 * k + seed))
    report = contents(tmp_path)
    assert len({row.name for row in report.rows}) == 3
    assert report.columns == ("backbone", "attention", "fidelity", "stride_on")
    changed = next(
        row for row in report.rows if row.labels["fidelity"] == "code" and row.labels["stride_on"] == "conv2"
    )
    assert changed.reported is None  # neither the study's code nor the papers
    assert {pair.group for pair in report.options} == {"stride_on"}
    ((pair,), (other,)) = report.options, report.fidelity
    assert (pair.first, pair.second, pair.shared["fidelity"]) == ("conv2", "conv1", "as its code ran")
    assert (other.first, other.shared["stride_on"]) == ("paper", "conv2")


def test_settings_of_one_class_are_shown_where_they_differ_within_it(tmp_path: Path) -> None:
    for options in ("sgd recipe.optimizer.momentum=0.0", "sgd recipe.optimizer.momentum=0.9", "keras_adam"):
        chosen = f"recipe/optimizer={options}".split()
        finished(tmp_path, (*STUDY, *NONE, *chosen, "recipe.optimizer.lr=0.001"), 1, right(0.5, 1))
    report = contents(tmp_path)
    assert len({row.name for row in report.rows}) == 3
    assert report.columns == ("backbone", "attention", "optimizer", "momentum")


def test_equal_numbers_make_one_row_and_close_ones_two(tmp_path: Path) -> None:
    rates = ("1e-4", "1.0000001e-4")
    for seed, rate in enumerate(rates, 1):
        finished(tmp_path, (*STUDY, *NONE, f"recipe.optimizer.lr={rate}"), seed, right(0.5, 1))
    for seed, gamma in enumerate(("2", "2.0"), 1):
        finished(tmp_path, (*STUDY, "attention=eca", f"attention.gamma={gamma}"), seed, right(0.5, 1))
    report = contents(tmp_path)
    assert [row.labels["lr"] for row in report.rows] == ["0.0001", "0.00010000001", "0.0001"]
    assert report.rows[2].seeds == (1, 2)


def test_what_cannot_be_told_from_the_commonest_class_is_marked(tmp_path: Path) -> None:
    finished(tmp_path, (*STUDY, *NONE), 1, right(0.26, 1))
    finished(tmp_path, (*STUDY, *CBAM), 1, right(0.4, 1))
    none, cbam = contents(tmp_path).rows
    assert none.notes == ("No better than always answering the commonest class, as far as these images can tell.",)
    assert cbam.notes == ()
