"""`fersweep test`: a trained network on other data, or on other parts of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import quickly_composed, use_tiny_network
from fakes import encoded, picture, write

from fersweep.cli.main import main
from fersweep.data import twins
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split
from fersweep.errors import UserError
from fersweep.inference.elsewhere import data, evaluate, files
from fersweep.report import figures
from fersweep.runs import tests
from fersweep.runs.collect import collect

Tested = Callable[..., dict[str, Any]]

DRAWN = figures.confusion_matrix


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of the tiny network, to write into, and no time for drawing."""
    use_tiny_network(monkeypatch)
    monkeypatch.setattr(figures, "confusion_matrix", lambda *_, **__: None)
    return Path(shutil.copytree(finished, tmp_path / "outputs" / "runs" / finished.name))


@pytest.fixture
def tested(run: Path, capsys: pytest.CaptureFixture[str]) -> Tested:
    """``tested("split=study")``: the only result of ``fersweep test RUN split=study``."""

    def call(*words: str) -> dict[str, Any]:
        assert main(["test", str(run), "--json", *words]) == 0
        (result,) = json.loads(capsys.readouterr().out)
        return dict(result)

    return call


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The sentence with which a command line is refused, without a file left behind."""
    assert main(["test", *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    return told.err


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
    root = folder(tmp_path, {"happy": 4, "sadness": 3})
    whole = tested("dataset=folder", f"dataset.root={root}")
    assert (whole["part"], whole["metrics"]["test/n"], whole["dataset"]) == ("all", 7, "folder")
    assert whole["twins"]["either"]["identical"] == 0
    told = refused(capsys, str(run), "dataset=folder", f"dataset.root={root}", "--part", "test")
    assert "has no predefined test part: name a split" in told
    told = refused(capsys, str(run), "dataset=folder", f"dataset.root={root}", "split=official")
    assert "split=official needs images marked" in told


def folder(place: Path, counts: dict[str, int], side: int = 48) -> Path:
    """A folder of drawn pictures by class."""
    seed = 0
    for name, count in counts.items():
        for number in range(count):
            seed += 1
            write(place / "pictures" / name / f"{number}.png", encoded(picture(seed, (side, side))))
    return place / "pictures"


def test_classes_are_matched_by_name(
    run: Path, tested: Tested, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path, {"contempt": 5, "happy": 4, "sadness": 3})
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
    other = folder(tmp_path / "other", {"a": 2, "b": 2})
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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("backbone=vgg19", "backbone=vgg19 belongs to the network and its training, which is over"),
        ("recipe.batch_size=8", "belongs to the network and its training"),
        ("dataset.image_size=64", "dataset.image_size=64 would change the pictures that the network takes"),
        ("dataset.preprocessing.equalize=true", "would change the pictures that the network takes"),
        ("dataset.twins=drop_from_training", "has no effect: nothing is trained here"),
        ("split=study,random", "split=study,random has several values"),
        ("split=study --part all", "split=study has no effect on all images"),
        ("recipe.test_crops=5", "recipe.test_crops=5 is not known; choices: 1, 10."),
        ("recipe.test_crops=abc", "recipe.test_crops=abc: 'abc' is not an integer."),
        ("-o run/config.yaml", "config.yaml is a file, not a folder: choose a folder for the results"),
        ("-o run/config.yaml/below", "config.yaml is a file, not a folder: choose a folder for the results"),
        ("dataset=fer2014", "dataset=fer2014 is not known (did you mean fer2013?)"),
        ("dataset.sources=x", "There is no setting dataset.sources"),
        ("dataset=jaffe", "dataset=jaffe needs dataset.root=PATH"),
        ("dataset=jaffe dataset.root=/no/where", "/no/where"),
        ("dataset=jaffe split=official dataset.root=x", "split=official is not possible with dataset=jaffe"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    run: Path, words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, str(run), *words.replace("run/", f"{run}/").split())
    assert not (run / "tests").exists()


def test_a_network_that_cannot_be_tested_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = run / "checkpoints" / "best.ckpt"
    alone = tmp_path / "alone.ckpt"
    shutil.copy(best, alone)
    assert "is a file without its run: name the folder for the results with -o DIR" in refused(capsys, str(alone))
    assert main(["test", str(alone), "-o", str(tmp_path / "o")]) == 0
    (place,) = (tmp_path / "o").iterdir()
    assert json.loads((place / "result.json").read_text())["run"] == run.name[-10:]
    assert str(place) in capsys.readouterr().out
    assert [each.directory for each in collect(tmp_path)] == [run]  # a test is no run
    best.unlink()
    assert "was kept without its weights (checkpoints/best.ckpt)" in refused(capsys, str(run))
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"state": "running"}))
    assert "is interrupted: finish it first" in refused(capsys, str(run))
    assert "None of the 1 runs in" in refused(capsys, str(tmp_path / "outputs"))
    assert "There is no checkpoint" in refused(capsys, str(tmp_path / "nothing"))


def test_missing_training_images_are_said_and_change_no_score(
    tested: Tested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("dataset=folder", f"dataset.root={folder(tmp_path, {'happy': 4, 'sad': 3})}")
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
    old = folder(tmp_path, {"happy": 8, "sad": 8})
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
    root = folder(tmp_path, {"happy": 3, "sad": 3}, side=100)
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


def test_a_folder_is_tested_with_progress_and_failures_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = Path(shutil.copytree(run, run.with_name(run.name[:-10] + "0123456789")))
    (second / "checkpoints" / "best.ckpt").unlink()
    pending = run.with_name(run.name[:-10] + "1123456789")
    pending.mkdir()
    shutil.copy(run / "config.yaml", pending)
    outputs = run.parent
    words = ["dataset=synthetic,folder", f"dataset.root={folder(tmp_path, {'happy': 4, 'sad': 3})}"]
    assert main(["test", str(outputs), *words]) == 1
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert next(each for each in lines if each.startswith("[")).startswith(f"[1/4] {second.name} on synthetic: failed")
    assert sum("was kept without its weights" in each for each in lines) == 2
    assert sum(each.startswith(f"[{number}/4] {run.name} on") for each in lines for number in (3, 4)) == 2
    assert "2 tests failed" in told.err
    assert f"1 run is not done: {pending.name} (pending)" in told.err
    table = lines[-2:]
    assert table[0].split("  ")[0] == "Network"
    assert "a folder of images, all images (%)" in table[0]
    assert "n = 7" in table[1]


def test_of_several_datasets_a_setting_of_a_source_is_for_those_that_have_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dataset=synthetic,folder", f"dataset.root={folder(tmp_path, {'happy': 4, 'sad': 3})}"]
    assert main(["test", str(run), "--json", "dataset.source.size=140", *words]) == 0
    drawn, sorted_ = json.loads(capsys.readouterr().out)
    assert "dataset.source.size=140" in drawn["command"]
    assert "dataset.root" not in drawn["command"]
    assert "dataset.source" not in sorted_["command"]
    assert main(["test", str(run), "dataset.source.sizes=140", *words]) == 1
    assert capsys.readouterr().out.count("There is no setting dataset.source.sizes") == 2
