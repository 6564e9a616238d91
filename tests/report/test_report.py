"""`fersweep report`: which runs make a row, what it is compared with, and what is said of it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from report_runs import STUDY, configured, failed, finished, right

from fersweep.cli import main as cli
from fersweep.errors import UserError
from fersweep.files import write_json
from fersweep.report import gather, results, study, tables
from fersweep.report.compare import compare
from fersweep.report.contents import Mean, Report, Reported
from fersweep.report.statistics import multiple_of, wilson
from fersweep.report.study import expected_range, verdict
from fersweep.report.write import contents
from fersweep.runs.collect import collect, config_of, settings_of
from fersweep.runs.identity import completed

NONE, CBAM, SE = ("attention=none",), ("attention=cbam",), ("attention=se",)
SHORT = (*STUDY, "recipe.max_epochs=3")


SMALL = {"ckplus": 182, "jaffe": 45}
"""The test sets of which not every hundredth is a share."""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """ResNet-50 with none (60 %), SE (60.3 %) and CBAM (66 %), three seeds each, and one run that failed."""
    for seed in (1, 2, 3):
        finished(tmp_path, (*SHORT, *NONE), seed, right(0.60 + 0.001 * (seed - 2), seed))
        finished(tmp_path, (*SHORT, *SE), seed, right(0.603, 10 + seed))
        finished(tmp_path, (*SHORT, *CBAM), seed, right(0.66 + 0.001 * (seed - 2), 20 + seed))
    failed(tmp_path, (*SHORT, "attention=eca"), 1, RuntimeError("no memory <b>left</b>"))
    return tmp_path


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


def test_what_beats_what_is_said_plainly(sweep: Path) -> None:
    report = contents(sweep)
    sentences = [pair.sentence for pair in report.options]
    assert len(sentences) == 3
    pattern = r"ResNet-50: CBAM beats no attention by 6\.0 points \(95 % \d\.\d…\d\.\d\): established"
    assert sum(bool(re.fullmatch(pattern, each)) for each in sentences) == 1
    pattern = r"ResNet-50: SE scores 0\.3 points more than no attention \(95 % −\d\.\d…\d\.\d\): not established"
    assert re.match(pattern, sentences[-1])
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


def settings(*overrides: str, folder: Path) -> dict[str, object]:
    _, directory = configured(folder, overrides, 1)
    return completed(settings_of(config_of(directory)))


CROPPED = (
    "dataset.faces=mtcnn",
    "dataset.face_crop.clip=true",
    "dataset.face_crop.size=80",
    "dataset.face_crop.nearest=true",
)
"""The study's crop of CK+."""

WHOLE = ("dataset.faces is none, not yolo5face: the study cut the faces out",)


@pytest.mark.parametrize(
    ("overrides", "accuracy", "protocol"),
    [
        (CBAM, 59.90, ()),
        (("attention=cbam", "fidelity=paper", "trainer.precision=32"), 59.90, ()),
        (("attention=cbam", "recipe.max_epochs=3"), 59.90, ("recipe.max_epochs is 3, not 200",)),
        (("attention=cbam", "recipe=quick"), 59.90, ("recipe is quick, not study",)),
        (("attention=cbam", "split=official"), 59.90, ("split is official, not study",)),
        (("attention=cbam", "augmentation=none", "recipe.augment_validation=false"), 59.90, None),
        (("attention=cbam", "activation=relu"), None, None),
        (("attention=none", "activation=selu", "dataset=ckplus"), 88.21, WHOLE),
        (("attention=none", "backbone.model.pooling=max", "dataset=ckplus", *CROPPED), 82.97, ()),
        ((*CBAM, "dataset=ckplus", *CROPPED), 91.21, ()),
        ((*CBAM, "dataset=ckplus", *CROPPED, "dataset.faces=yolo5face", "dataset.face_crop.confidence=0.5"), 91.21, ()),
        ((*CBAM, "dataset=ckplus"), 91.21, WHOLE),
        ((*CBAM, "dataset=jaffe"), 82.22, WHOLE),
        (
            (*CBAM, "dataset=ckplus", "dataset.faces=mtcnn"),
            91.21,
            (
                "dataset.face_crop.clip is False, not True",
                "dataset.face_crop.size is null, not 80",
                "dataset.face_crop.nearest is False, not True",
            ),
        ),
        (
            (*CBAM, "dataset=jaffe", *CROPPED),
            82.22,
            ("dataset.face_crop.jpeg_image is null, not 100", "dataset.face_crop.jpeg_face is null, not 95"),
        ),
        (
            (*CBAM, "dataset=ckplus", *CROPPED, "dataset.source.contempt=true"),
            91.21,
            ("dataset.source.contempt is True, not False",),
        ),
        ((*CBAM, "dataset.preprocessing.equalize=true"), 59.90, ("dataset.preprocessing.equalize is True, not False",)),
        (("attention=none", "backbone.model.pooling=max"), None, ()),  # on FER2013 it was not tried
        (("attention=none", "recipe.batch_size=128"), 57.17, ()),
        (("attention=cbam", "backbone.model.depths=[1,1,1,1]"), None, ()),
        (("attention=none", "backbone=vgg19"), 62.09, ()),
        (("attention=none", "dataset=folder"), None, ()),
        (("attention=none", "dataset.image_size=64"), None, ()),
    ],
)
def test_a_run_is_held_against_the_row_it_is(
    tmp_path: Path, overrides: tuple[str, ...], accuracy: float | None, protocol: tuple[str, ...] | None
) -> None:
    figures, sentences = study.reported(settings(*STUDY, *overrides, folder=tmp_path))
    assert (None if figures is None else figures.accuracy_percent) == accuracy
    if protocol is not None:
        assert sentences == protocol


def test_what_the_results_tell_of_the_protocol_is_named() -> None:
    """Other images make runs incomparable; precision and detector are named in the note."""
    figures = Reported(1, 1, 1, 91.21, 182, "A note.")

    def against(n: int, protocol: tuple[str, ...], faces: str, *precisions: str) -> tuple[str, tuple[str, ...]]:
        results = [{"environment": {"precision": each}} for each in precisions]
        held, told = study.deviations(figures, protocol, {"dataset.faces": faces}, results, n)
        return held.note, told

    assert against(182, (), "yolo5face", "32-true") == ("A note.", ())
    assert against(187, (), "none", "32-true") == ("A note.", ("the test part has 187 images, not 182",))
    assert against(187, ("split is random, not study",), "none")[1] == ("split is random, not study",)
    assert against(182, WHOLE, "none", "32-true")[1] == WHOLE
    note, told = against(182, (), "mtcnn", "32-true", "bf16-mixed", "bf16-mixed")
    assert told == ()
    assert note == (
        "A note. Also different from the source: trainer.precision is bf16-mixed, not 32-true; "
        "faces are found by mtcnn, not by yolo5face."
    )


def test_runs_on_whole_frames_are_not_comparable_and_those_of_the_experiment_are(tmp_path: Path) -> None:
    for overrides in (("dataset=jaffe",), ("experiment=table_attention", "dataset=jaffe")):
        finished(tmp_path, (*STUDY, *overrides, *CBAM), 1, right(0.8, 1, n=45))
    rows = {row.labels["faces"]: row for row in contents(tmp_path).rows}
    assert {faces: row.verdict.comparable for faces, row in rows.items()} == {"none": False, "mtcnn": True}
    for row in rows.values():
        assert row.reported is not None
        assert row.reported.accuracy_percent == 82.22
    assert "the study cut the faces out" in rows["none"].verdict.sentence
    (note,) = (row.reported.note for row in rows.values() if row.reported and row.verdict.comparable)
    assert "faces are found by mtcnn, not by yolo5face" in note


def test_every_printed_figure_that_cannot_be_right_is_found() -> None:
    wrong = {
        (dataset, figures[dataset])
        for options in study.study()["rows"].values()
        for figures in options.values()
        for dataset, n in study.study()["test_n"].items()
        if verdict(Reported(1, 1, 1, figures[dataset], n), Mean(0.5, None, 1, (0.5,)), n, ()).kind == "cannot be right"
    }
    ckplus, jaffe = (88.62, 88.66, 88.91, 89.82), (15.66, 70.83)
    assert wrong == {("ckplus", each) for each in ckplus} | {("jaffe", each) for each in jaffe}


def test_by_rounding_alone_ten_cells_of_fer2013_are_impossible() -> None:
    printed = [figures["fer2013"] for options in study.study()["rows"].values() for figures in options.values()]
    cut = sorted(each for each in printed if multiple_of(each, 7178)[1].endswith("7,178, cut off"))
    assert cut == [58.84, *[59.73] * 4, 59.90, *[60.15] * 3, 60.72]
    small = [(f[d], n) for o in study.study()["rows"].values() for f in o.values() for d, n in SMALL.items()]
    assert all("rounded" in multiple_of(*each)[1] for each in small if multiple_of(*each)[0])


def test_the_studys_contradictions_are_right_and_told_where_they_are_read() -> None:
    page = (Path(__file__).parents[2] / "docs/explanation/study.md").read_text()
    for each in study.study()["contradictions"]:
        assert f"| {each['says']} | {each['but']} |" in page
        for share, of, percent in re.findall(r"([\d,]+) of ([\d,]+), ([\d.]+) %", each["but"]):
            hits, n = (int(number.replace(",", "")) for number in (share, of))
            assert f"{100 * hits / n:.2f}" == percent
    assert wilson(4599, 7178) == pytest.approx((0.6295, 0.6517), abs=5e-5)


def test_verdicts() -> None:
    def judged(percent: float, accuracy: Mean, protocol: tuple[str, ...] = ()) -> tuple[str, str, bool]:
        given = verdict(Reported(1, 1, 1, percent, 10_000), accuracy, 10_000, protocol)
        return given.kind, given.sentence, given.comparable

    three = Mean(0.6, 0.01, 3, (0.59, 0.6, 0.61))
    half = 4.3027 * 0.01 * (4 / 3) ** 0.5
    assert expected_range(three, 10_000, Reported(1, 1, 1, 60.0, 10_000)) == pytest.approx(
        (0.6 - half, 0.6 + half), abs=1e-5
    )
    wider = expected_range(three, 10_000, Reported(1, 1, 1, 60.0, 45))  # another test set, of 45 images
    assert wider is not None
    assert wider[1] - 0.6 == pytest.approx((half**2 + 1.96**2 * 0.24 * (1 / 45 + 1 / 10_000)) ** 0.5, abs=1e-4)
    assert judged(64.0, three)[0] == "within"
    assert judged(66.0, three)[0] == "below"
    assert judged(54.0, three)[0] == "above"
    kind, sentence, comparable = judged(66.0, three, ("recipe.max_epochs is 3, not 200",))
    assert (kind, comparable) == ("below", False)
    expected = (
        f"expected in {60 - 100 * half:.2f} to {60 + 100 * half:.2f} % (3 seeds). Not comparable: recipe.max_epochs"
    )
    assert expected in sentence


@pytest.mark.parametrize(("values", "words"), [((0.6,), "one seed cannot"), ((0.6, 0.61), "2 seeds cannot")])
def test_few_seeds_give_no_verdict(values: tuple[float, ...], words: str) -> None:
    mean = Mean(float(np.mean(values)), None if len(values) == 1 else 0.007, len(values), values)
    given = verdict(Reported(1, 1, 1, 99.0, 10_000), mean, 10_000, ())
    assert given.kind == "too few seeds"
    assert words in given.sentence


def test_a_best_of_three_is_held_against_the_best_of_three() -> None:
    """Of three runs drawn alike, the best of three others lies in the range as often as it says."""
    rng, inside, trials = np.random.default_rng(3), 0, 2000
    figure = Reported(1, 1, 1, 60.0, 182, best_of=3)
    for _ in range(trials):
        ours, theirs = rng.normal(0.6, 0.02, (2, 3))
        kept = expected_range(Mean(ours.mean(), ours.std(ddof=1), 3, tuple(ours)), 182, figure)
        assert kept is not None
        inside += kept[0] <= theirs.max() <= kept[1]
    assert 0.935 <= inside / trials <= 0.975


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


def test_the_command_writes_everything_and_says_what_is_missing(
    sweep: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("out") / "new"
    assert cli.main(["report", str(sweep), "-o", str(folder)]) == 1  # one run failed
    out = capsys.readouterr().out
    assert out.startswith("9 finished runs in 3 rows, 1 not done\n")
    assert "CBAM beats no attention by 6.0 points" in out
    assert "not done: 1 failed; the page lists them" in out
    assert out.endswith(f"{folder / 'index.html'}\n")
    for name in ("index.html", "table.md", "table.csv", "table.tex"):
        assert (folder / name).read_text(encoding="utf-8")
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "no memory &lt;b&gt;left&lt;/b&gt;" in page
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png"}
    assert not list((folder / "figures").glob("*time*"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    cli.main(["report", str(sweep), "-o", str(folder)])
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_goes_beside_the_runs_and_does_not_count_as_one(tmp_path: Path) -> None:
    finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1))
    assert cli.main(["report", str(tmp_path / "s")]) == 0
    assert (tmp_path / "s" / "report" / "index.html").is_file()
    assert len(collect(tmp_path)) == 1


def spoilt(name: str, **changes: object) -> Callable[[Path], None]:
    """Changes the JSON of a run's file; a value of ``...`` removes the key."""

    def spoil(run: Path) -> None:
        content = json.loads((run / name).read_text()) | changes
        (run / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "has no readable config.yaml"),
        (lambda run: (run / "config.yaml").write_text("backbone: {name: vgg16}"), "has no readable config.yaml"),
        (lambda run: (run / "predictions.parquet").write_bytes(b"PAR1"), "cannot be reported"),
        (lambda run: (run / "history.csv").unlink(), "cannot be reported"),
        (lambda run: (run / "history.csv").write_text(""), "cannot be reported"),
        (lambda run: (run / "history.csv").write_text("epoch,val/loss\n"), "history.csv has no epochs"),
        (lambda run: (run / "history.csv").write_text("epoch,val/loss\n1,2\n"), "history.csv has no epochs"),
        (spoilt("result.json", seconds=None), "result.json: seconds is None, not a number"),
        (spoilt("result.json", best_epoch=..., params_total=...), "result.json: params_total is None, not a number"),
        (
            spoilt("result.json", choices={"backbone": "vgg16"}),
            "choices is {'backbone': 'vgg16'}, not an option for each group",
        ),
        (spoilt("result.json", confusion_matrix=[[1, 0], [0, 1]]), "confusion_matrix is not 7 × 7"),
        (spoilt("result.json", confusion_matrix=[[0] * 7] * 7), "not rows of counts"),
        (spoilt("result.json", confusion_matrix=None), "confusion_matrix is None, not rows of counts"),
    ],
)
def test_damaged_runs_cost_themselves_alone(
    tmp_path: Path, spoil: Callable[[Path], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1)))
    assert cli.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    finished(tmp_path, (*STUDY, *NONE), 2, right(0.5, 1))
    report = contents(tmp_path)
    assert report.rows[0].seeds == (2,)
    ((run,), told) = report.unfinished, report.done
    assert (run.state, told) == ("unreadable", 1)
    assert run.error is not None
    assert message in run.error["message"]


def test_nothing_to_report_gets_one_sentence(tmp_path: Path) -> None:
    configured(tmp_path, (*STUDY, *NONE), 1)
    with pytest.raises(
        UserError, match=r"^None of the 1 runs in .* is done \(pending\): there is nothing to report yet"
    ):
        contents(tmp_path)
    with pytest.raises(UserError, match="There is no folder"):
        contents(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_gets_one_sentence(
    sweep: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path_factory.mktemp("out") / "file"
    blocked.write_text("")
    assert cli.main(["report", str(sweep), "-o", str(blocked)]) == 2
    assert re.fullmatch(
        r"error: .*file cannot be written \(.*\): choose another place with -o DIR\.\n", capsys.readouterr().err
    )


def test_the_same_run_in_two_sweeps_counts_once_and_is_done_where_it_is_done_in_one(sweep: Path) -> None:
    runs = collect(sweep)
    done, others = gather.read([*runs, *runs])
    assert (len(done), len(others)) == (9, 2)
    (broken,) = (run.directory for run in runs if run.state == "failed")
    elsewhere = finished(sweep / "elsewhere", (*SHORT, "attention=eca"), 1, right(0.6, 1))
    assert elsewhere.name == broken.name
    report = contents(sweep)
    assert (report.done, report.unfinished) == (10, ())
    shutil.rmtree(elsewhere)
    assert compare([], "attention") == ()
    assert isinstance(contents(sweep), Report)


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
    assert "ResNet-50, 16: SE beats no attention by 20.0 points" in " ".join(pair.sentence for pair in report.options)


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


def test_runs_of_an_older_version_are_not_taken_for_the_studys_protocol(tmp_path: Path) -> None:
    run = finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1))
    config = OmegaConf.load(run / "config.yaml")
    del config.recipe["augment_validation"]
    OmegaConf.save(config, run / "config.yaml")
    (row,) = contents(tmp_path).rows
    assert row.reported is not None
    assert not row.verdict.comparable
    assert "recipe.augment_validation is False, not True" in row.verdict.sentence


def test_best_of_three_is_said(tmp_path: Path) -> None:
    finished(tmp_path, (*STUDY, "dataset=ckplus", *NONE), 1, right(0.9, 1, n=182))
    (row,) = contents(tmp_path).rows
    assert row.reported is not None
    assert "best of three runs on the test set" in row.reported.note


def test_sentences_can_be_read(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        finished(tmp_path, (*STUDY, *NONE), seed, right(0.7, seed))
        finished(tmp_path, (*STUDY, *SE, "attention.reduction=4"), seed, right(0.5, 10 + seed))
        finished(tmp_path, (*STUDY, *SE, "attention.reduction=8"), seed, right(0.4, 20 + seed))
        options = (*STUDY, *SE, "attention.reduction=8", "split=random", "recipe=quick", "fidelity=paper")
        finished(tmp_path, options, seed, right(0.4, 30 + seed))
    said = " ".join(pair.sentence for pair in contents(tmp_path).options)
    assert "no attention beats SE by 20.0 points" in said
    assert "reduction=4 beats reduction=8 by 10.0 points" in said
    assert "ResNet-50, as its code ran, split=study, recipe=study, 4: no attention beats SE" in said


def test_what_cannot_be_told_from_the_commonest_class_is_marked(tmp_path: Path) -> None:
    finished(tmp_path, (*STUDY, *NONE), 1, right(0.26, 1))
    finished(tmp_path, (*STUDY, *CBAM), 1, right(0.4, 1))
    none, cbam = contents(tmp_path).rows
    assert none.notes == ("No better than always answering the commonest class, as far as these images can tell.",)
    assert cbam.notes == ()


def test_one_row_has_all_columns_but_those_of_the_study_where_it_prints_nothing(tmp_path: Path) -> None:
    finished(tmp_path, (*NONE, "dataset=synthetic"), 1, right(0.5, 1))
    lines = tables.as_markdown(contents(tmp_path)).splitlines()
    headings = (
        "Backbone | Attention | Accuracy (%) | 95 % interval | Macro-F1 | Seeds | n | Majority class (%) | Parameters"
    )
    assert lines[0] == f"| {headings} (M) |"
    assert r"\begin{tabular}{llrrrrrrr}" in tables.as_latex(contents(tmp_path))


def test_a_title_is_the_sweep_or_where_there_are_several_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    run = finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1))
    shutil.move(run.parent, folder)
    assert contents(folder).title == "s"
    other = finished(tmp_path, (*STUDY, *CBAM), 1, right(0.5, 1))
    config = OmegaConf.load(other / "config.yaml")
    config.sweep = "t"
    OmegaConf.save(config, other / "config.yaml")
    shutil.move(other, folder)
    assert contents(folder).title == "folder"


def test_runs_that_were_kept_without_their_status_are_reported(tmp_path: Path) -> None:
    for options in (NONE, CBAM):
        run = finished(tmp_path, (*STUDY, *options), 1, right(0.5, 1))
        (run / "status.json").unlink()
    (run / "result.json").unlink()
    report = contents(tmp_path)
    assert [row.labels["attention"] for row in report.rows] == ["none"]
    assert [run.state for run in report.unfinished] == ["interrupted"]


def test_times_are_plotted_where_they_are_asked_for(tmp_path: Path) -> None:
    finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1))
    assert cli.main(["report", str(tmp_path / "s"), "-o", str(tmp_path), "--time"]) == 0
    assert {path.name for path in (tmp_path / "figures").glob("*time*")} == {"accuracy_time.png", "accuracy_time.svg"}
    assert "plot-accuracy_time" in (tmp_path / "index.html").read_text(encoding="utf-8")
