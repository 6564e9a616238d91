"""`fersweep test`: a trained network on other data, or on other parts of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import elsewhere
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import quickly_composed
from elsewhere import class_folder, refused

from fersweep.cli.main import main
from fersweep.data import twins
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split
from fersweep.errors import UserError
from fersweep.inference.elsewhere import data, evaluate, files
from fersweep.report import figures
from fersweep.runs import tests

Tested = Callable[..., dict[str, Any]]

DRAWN = figures.confusion_matrix


run = elsewhere.run


@pytest.fixture
def tested(run: Path, capsys: pytest.CaptureFixture[str]) -> Tested:
    """``tested("split=study")``: the only result of ``fersweep test RUN split=study``."""

    def call(*words: str) -> dict[str, Any]:
        assert main(["test", str(run), "--json", *words]) == 0
        (result,) = json.loads(capsys.readouterr().out)
        return dict(result)

    return call


def test_its_own_test_part_gives_the_same_result_to_the_last_bit(
    run: Path, tested: Tested, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "confusion_matrix", DRAWN)
    again = tested()
    before = json.loads((run / "result.json").read_text())
    same = ("accuracy_interval", "per_class", "confusion_matrix", "calibration", "twins", "data_digest", "run", "seed")
    assert {key: again[key] for key in same} == {key: before[key] for key in same}
    assert again["metrics"] == {key: value for key, value in before["metrics"].items() if key != "val/accuracy"}
    assert [again[key] for key in ("shared_subjects", "shared_subject_images")] == [
        before[key] for key in ("shared_subjects", "shared_subject_images")
    ]
    assert again["own_test"]["test/accuracy"] == again["metrics"]["test/accuracy"]
    assert (again["part"], again["split"], again["seen"]) == ("test", "official", {"train": 0, "val": 0})
    assert again["warnings"] == []
    place = Path(again["directory"])
    assert place.parent == run / "tests"
    pd.testing.assert_frame_equal(
        pd.read_parquet(place / "predictions.parquet"), pd.read_parquet(run / "predictions.parquet"), check_exact=True
    )
    assert {each.name for each in place.iterdir()} == {
        "result.json",
        "predictions.parquet",
        "confusion_matrix.png",
        "test.yaml",
    }


def test_a_test_that_is_done_is_found_and_force_repeats_it(
    run: Path, tested: Tested, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tested("dataset=synthetic")  # its own dataset, by name
    file = Path(first["directory"]) / "result.json"
    stamp = file.stat().st_mtime_ns
    assert main(["test", str(run)]) == 0
    assert "done before" in capsys.readouterr().out
    assert file.stat().st_mtime_ns == stamp
    assert tested("force=true")["metrics"] == first["metrics"]
    assert file.stat().st_mtime_ns > stamp
    assert [each.name for each in (run / "tests").iterdir()] == [file.parent.name]  # nothing hidden beside it


def test_images_of_the_training_are_counted(tested: Tested) -> None:
    train = tested("--part", "train")
    assert train["seen"] == {"train": 112, "val": 0}
    assert "112 this network was trained on" in train["warnings"][0]
    other = tested("split=subjects", "split.fold=1")
    assert other["seen"]["train"] + other["seen"]["val"] > 0
    assert (other["split"], other["part"]) == ("subjects", "test")
    more = tested("dataset.source.size=210", "--part", "all")  # the same faces and more: known by their pixels
    assert more["seen"] is None
    assert more["same_data"] is False
    found = more["twins"]["train"]["identical"] + more["twins"]["val"]["identical"]
    assert found == 126
    assert more["metrics"]["test/n_without_twins"] <= 210 - 126


def test_another_dataset_is_tested_on_its_test_part_or_whole(
    run: Path, tested: Tested, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tested("dataset.source.seed=9")
    assert (drawn["part"], drawn["split"], drawn["metrics"]["test/n"]) == ("test", None, 14)
    root = class_folder(tmp_path, {"happy": 4, "sadness": 3})
    whole = tested("dataset=folder", f"dataset.root={root}")
    assert (whole["part"], whole["metrics"]["test/n"], whole["dataset"]) == ("all", 7, "folder")
    assert whole["twins"]["either"]["identical"] == 0
    told = refused(capsys, str(run), "dataset=folder", f"dataset.root={root}", "--part", "test")
    assert "has no predefined test part: name a split" in told
    told = refused(capsys, str(run), "dataset=folder", f"dataset.root={root}", "split=official")
    assert "split=official needs images marked" in told


def test_classes_are_matched_by_name(
    run: Path, tested: Tested, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = class_folder(tmp_path, {"contempt": 5, "happy": 4, "sadness": 3})
    words = ("dataset=folder", f"dataset.root={root}")
    result = tested(*words)
    assert result["classes"]["shared"] == ["happy", "sad"]
    assert result["classes"]["not_in_network"] == ["contempt"]
    assert result["classes"]["images_left_out"] == {"contempt": 5}
    assert result["classes"]["not_in_dataset"] == ["angry", "disgust", "fear", "neutral", "surprise"]
    assert np.array(result["confusion_matrix"]).shape == (2, 2)
    table = pd.read_parquet(Path(result["directory"]) / "predictions.parquet")
    assert set(table["predicted"]) <= {"happy", "sad"}
    assert table[["happy", "sad"]].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    assert any("left out: contempt (5)" in each for each in result["warnings"])
    every = tested(*words, "--outputs", "all")
    assert every["metrics"]["test/accuracy"] == every["metrics"]["test/accuracy_all_outputs"]
    assert every["metrics"]["test/accuracy_all_outputs"] == result["metrics"]["test/accuracy_all_outputs"]
    assert every["predicted_outside"] == result["predicted_outside"]
    assert tuple(every["per_class"]) == CLASSES
    full = pd.read_parquet(Path(every["directory"]) / "predictions.parquet")
    assert int((~full["predicted"].isin(["happy", "sad"])).sum()) == every["predicted_outside"]
    expected = full[["happy", "sad"]].div(full[["happy", "sad"]].sum(axis=1), axis=0)
    assert table[["happy", "sad"]].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)
    other = class_folder(tmp_path / "other", {"a": 2, "b": 2})
    told = refused(capsys, str(run), "dataset=folder", f"dataset.root={other}", "dataset.source.classes=[a,b]")
    assert "they share no class, so there is nothing to test" in told


def test_probabilities_among_some_outputs_are_the_softmax_of_their_logits() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    some = evaluate.among(logits.softmax(dim=1), (1, 4, 6))
    assert some.numpy() == pytest.approx(logits[:, [1, 4, 6]].softmax(dim=1).numpy(), abs=1e-6)
    probabilities = logits.softmax(dim=1)
    assert evaluate.among(probabilities, tuple(range(7))) is probabilities


def test_twins_across_datasets_are_those_of_the_datasets_joined() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 32, 32), np.uint8)
    images[10], images[11] = images[1], images[4]
    near = images[5].astype(int) + rng.integers(-4, 5, (32, 32))
    images[9] = near.clip(0, 255)
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1])
    ids = np.array([f"{number:02}" for number in range(12)])
    joined = Samples(images, labels, ids, ("happy", "sad"))
    whole = twins.find(joined, Split(np.arange(4), np.arange(4, 7), np.arange(8, 12)))
    seen = Samples(images[:7], labels[:7], ids[:7], ("happy", "sad"))
    others = Samples(images[7:], 1 - labels[7:], ids[7:], ("sad", "happy"))  # the same classes in another order
    found = twins.across(others, np.arange(1, 5), seen, Split(np.arange(4), np.arange(4, 7), np.array([], np.int64)))
    assert found.counts() == whole.counts()
    assert whole.counts()["either"] == {"identical": 2, "identical_other_label": 1, "near": 1, "near_other_label": 0}
    assert found.any.tolist() == whole.any[7:].tolist()


def test_missing_training_images_are_said_and_change_no_score(
    tested: Tested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("dataset=folder", f"dataset.root={class_folder(tmp_path, {'happy': 4, 'sad': 3})}")
    known = tested(*words)

    def gone(*_: Any) -> Any:
        raise UserError("the images are gone.")

    monkeypatch.setattr(data.build, "datamodule", gone)
    unknown = tested(*words, "force=true")
    assert unknown["twins"] is None
    assert "images seen in training cannot be found: the images are gone." in unknown["warnings"]
    assert "test/n_without_twins" in known["metrics"]
    assert {key for key in known["metrics"] if "twins" not in key} == set(unknown["metrics"])
    assert all(known["metrics"][key] == value for key, value in unknown["metrics"].items())
    assert "twin" not in pd.read_parquet(Path(unknown["directory"]) / "predictions.parquet")


def test_the_images_of_a_training_are_known_where_they_were_moved_to(tmp_path: Path, cache: Path) -> None:
    old = class_folder(tmp_path, {"happy": 8, "sad": 8})
    words = ("dataset=folder", "split=random", f"cache={cache}")
    before = quickly_composed(*words, f"dataset.root={old}")
    digest = data.Shelf().samples(before)[1]
    after = quickly_composed(*words, f"dataset.root={old.rename(tmp_path / 'new')}")
    shelf = data.Shelf()
    trained, reason = shelf.trained(before, digest)
    assert trained is None
    assert str(old) in reason
    samples, same = shelf.samples(after)
    assert same == digest
    trained, reason = shelf.trained(before, digest)
    assert trained is not None
    assert (len(samples), len(trained.split.train), reason) == (16, 12, "")


def test_whole_pictures_are_named_for_a_network_of_faces(tested: Tested, tmp_path: Path) -> None:
    root = class_folder(tmp_path, {"happy": 3, "sad": 3}, side=100)
    (warning,) = [each for each in tested("dataset=folder", f"dataset.root={root}")["warnings"] if "faces" in each]
    assert "the network was trained on faces, and folder has whole pictures" in warning
    assert "dataset.faces=mtcnn" in warning


def test_a_failed_test_leaves_nothing_behind(run: Path, tested: Tested, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tested()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(figures, "confusion_matrix", fail)
    for words in (["force=true"], ["dataset.source.seed=9"]):
        with pytest.raises(RuntimeError, match="no ink"):
            main(["test", str(run), *words])
        assert [str(each) for each in (run / "tests").iterdir()] == [before["directory"]]
    assert json.loads((Path(before["directory"]) / "result.json").read_text())["test"] == before["test"]


NAME = "jaffe-test-0123456789"


@pytest.mark.parametrize("killed", [False, True])
def test_an_earlier_test_is_kept_until_another_has_its_place(
    killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, rename = tmp_path / "tests" / NAME, Path.rename
    place.mkdir(parents=True)
    (place / "result.json").write_text("{}")

    def second_fails(self: Path, target: Path) -> Path:
        if target == place and tests.ASIDE not in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    if killed:  # its process runs no further line
        monkeypatch.setattr(files, "_settle", lambda *_: None)
    with pytest.raises(OSError, match="No space"), files._new_folder(place):
        pass
    assert place.exists() is not killed
    _, damaged = tests.of_run(tmp_path)
    assert len(damaged) == 1  # found, there or aside
    monkeypatch.undo()
    files.tidy(place.parent)
    assert [each.name for each in place.parent.iterdir()] == [NAME]
    with files._new_folder(place) as folder:
        (folder / "new").touch()
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")][1:] == [
        f"tests/{NAME}",
        f"tests/{NAME}/new",
    ]


def test_what_dead_writers_left_is_removed(tmp_path: Path) -> None:
    names = (NAME, f".{NAME}{tests.ASIDE}00000000", f".{NAME}-00000000", f".{NAME}-11111111", ".mine")
    for name in names:
        (tmp_path / name).mkdir()
    os.utime(tmp_path / names[2], (0, 0))
    os.utime(tmp_path / names[4], (0, 0))
    files.tidy(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {NAME, f".{NAME}-11111111", ".mine"}
    files.tidy(tmp_path / "nowhere")
