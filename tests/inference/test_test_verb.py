"""`fersweep test` as a command: several datasets, folders of runs, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import elsewhere
import pytest
from elsewhere import class_folder, refused

from fersweep.cli.main import main
from fersweep.runs.collect import collect

run = elsewhere.run


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
    assert "is done (1 run): there is no network to test" in refused(capsys, str(tmp_path / "outputs"))
    assert "There is no checkpoint" in refused(capsys, str(tmp_path / "nothing"))


def test_a_folder_is_tested_with_progress_and_failures_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = Path(shutil.copytree(run, run.with_name(run.name[:-10] + "0123456789")))
    (second / "checkpoints" / "best.ckpt").unlink()
    pending = run.with_name(run.name[:-10] + "1123456789")
    pending.mkdir()
    shutil.copy(run / "config.yaml", pending)
    outputs = run.parent
    words = ["dataset=synthetic,folder", f"dataset.root={class_folder(tmp_path, {'happy': 4, 'sad': 3})}"]
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
    words = ["dataset=synthetic,folder", f"dataset.root={class_folder(tmp_path, {'happy': 4, 'sad': 3})}"]
    assert main(["test", str(run), "--json", "dataset.source.size=140", *words]) == 0
    drawn, sorted_ = json.loads(capsys.readouterr().out)
    assert "dataset.source.size=140" in drawn["command"]
    assert "dataset.root" not in drawn["command"]
    assert "dataset.source" not in sorted_["command"]
    assert main(["test", str(run), "dataset.source.sizes=140", *words]) == 1
    assert capsys.readouterr().out.count("There is no setting dataset.source.sizes") == 2
