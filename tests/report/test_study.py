"""The study's figures beside a run: protocol, printed numbers and verdicts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from report_runs import CBAM, NONE, STUDY, configured, finished, right

from fersweep.report import study
from fersweep.report.contents import Mean, Reported
from fersweep.report.statistics import multiple_of, wilson
from fersweep.report.study import expected_range, verdict
from fersweep.report.write import contents
from fersweep.runs.collect import config_of, settings_of
from fersweep.runs.identity import completed

SMALL = {"ckplus": 182, "jaffe": 45}
"""The test sets of which not every hundredth is a share."""


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
