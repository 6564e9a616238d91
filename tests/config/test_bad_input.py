"""User mistakes end with one sentence on standard error and exit code 2, never with a traceback."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pytest
from conftest import SMALL, train_process

from fersweep.cli import main as cli
from fersweep.config import options
from fersweep.data import cache as data_cache
from fersweep.errors import UserError

Train = Callable[..., int]

pytestmark = pytest.mark.usefixtures("tiny_network")


@pytest.fixture
def refused(run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """``refused("dataset=folder", …)`` returns the error of ``train.py``; a started run has the status failed."""

    def call(*overrides: str) -> str:
        assert run_train(*SMALL, *overrides) == 2
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        (line,) = (line for line in captured.err.splitlines() if line.startswith("error: "))
        assert captured.err.endswith(f"{line}\n")
        begun = sorted(tmp_path.glob("outputs/*/*/status.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in begun[-1:]:
            status = json.loads(path.read_text())
            assert status["state"] == "failed"
            assert status["error"] == {"type": "UserError", "message": line.removeprefix("error: ")}
            assert "Traceback" in (path.parent / "train.log").read_text()
        assert list(tmp_path.glob("outputs/*/*/result.json")) == []
        return line.removeprefix("error: ")

    return call


def test_a_root_that_is_missing_or_not_given(refused: Callable[..., str], tmp_path: Path) -> None:
    assert refused("dataset=fer2013").startswith("dataset=fer2013 needs dataset.root=PATH")
    sentence = refused("dataset=fer2013", f"dataset.root={tmp_path / 'nowhere'}")
    assert sentence.startswith(f"dataset.root={tmp_path / 'nowhere'} does not exist: it must hold")


@pytest.mark.parametrize("dataset", ["fer2013", "ckplus", "jaffe", "folder"])
def test_a_folder_that_holds_something_else(refused: Callable[..., str], tmp_path: Path, dataset: str) -> None:
    fakes.write(tmp_path / "data" / "notes.txt", "nothing to see")
    sentence = refused(f"dataset={dataset}", "split=random", f"dataset.root={tmp_path / 'data'}")
    assert sentence.startswith(f"dataset.root={tmp_path / 'data'} holds no {dataset} data: it must hold")


def test_an_archive_cut_short(refused: Callable[..., str], tmp_path: Path) -> None:
    archive = fakes.fer2013_zip(tmp_path / "fer2013.zip")
    archive.write_bytes(archive.read_bytes()[:-2000])
    sentence = refused("dataset=fer2013", f"dataset.root={archive}")
    assert sentence.startswith(f"{archive} is not a complete zip archive")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (fakes.csv_row(pixels=2303), "row 29 (line 30): 2303 pixels, and must be 2304"),
        (fakes.csv_row(emotion=9), "row 29 (line 30): emotion is '9', and must be 0 to 6"),
        (fakes.csv_row(pixels="12 dog 3"), "row 29 (line 30): pixel 'dog' is not a number of 0 to 255"),
    ],
)
def test_a_csv_with_a_bad_row(refused: Callable[..., str], tmp_path: Path, row: str, message: str) -> None:
    path = fakes.fer2013_csv(tmp_path / "fer2013.csv", extra=[row])
    assert refused("dataset=fer2013", f"dataset.root={path}").startswith(f"{path} {message}")


def test_a_csv_without_a_column(refused: Callable[..., str], tmp_path: Path) -> None:
    path = fakes.fer2013_csv(tmp_path / "fer2013.csv", header="emotion,pixels")
    assert f"{path} lacks the column usage" in refused("dataset=fer2013", f"dataset.root={path}")


def test_an_unreadable_image_in_the_middle(refused: Callable[..., str], tmp_path: Path) -> None:
    root = fakes.folder(tmp_path / "faces", per_class=6)
    broken = root / "happiness" / "3.png"
    broken.write_bytes(broken.read_bytes()[:100])
    sentence = refused("dataset=folder", "split=random", f"dataset.root={root}")
    assert sentence.startswith("cannot read the image happiness/3.png: ")


def test_an_empty_class(refused: Callable[..., str], tmp_path: Path) -> None:
    root = fakes.folder(tmp_path / "faces", per_class=6)
    (root / "fear").mkdir()
    sentence = refused("dataset=folder", "split=random", f"dataset.root={root}")
    assert sentence.startswith("the class fear has no image in this dataset")


def test_a_class_to_test_on_that_training_lacks(refused: Callable[..., str], tmp_path: Path) -> None:
    for part, classes in (("train", ("happy", "sad")), ("val", ("happy", "sad")), ("test", ("happy", "sad", "fear"))):
        fakes.folder(tmp_path / "faces" / part, classes=classes)
    sentence = refused("dataset=folder", "split=official", f"dataset.root={tmp_path / 'faces'}")
    assert sentence.startswith("split=official puts the class fear into the test part (5 images) but none of it into")


def test_one_person_cannot_be_split_by_person(refused: Callable[..., str], tmp_path: Path) -> None:
    root = fakes.jaffe(tmp_path / "jaffe", people=("KA",))
    sentence = refused("dataset=jaffe", "split=subjects", f"dataset.root={root}")
    assert sentence.startswith("split=subjects needs at least three subjects")
    assert "split=random" in sentence


def test_a_split_the_data_cannot_have(refused: Callable[..., str], tmp_path: Path) -> None:
    root = fakes.folder(tmp_path / "faces")
    settings = ("dataset=folder", f"dataset.root={root}")
    assert refused(*settings, "split=subjects") == (
        "split=subjects is not possible with dataset=folder: "
        "choose split=official, study, random, notebook, tuning, train_test."
    )
    assert refused(*settings, "split=official").startswith("split=official needs images marked Training")


def test_a_full_disk_while_the_images_are_decoded(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data_cache, "_flush", full)
    root = fakes.folder(tmp_path / "faces", per_class=6)
    sentence = refused("dataset=folder", "split=random", "dataset.image_size=33", f"dataset.root={root}")
    assert sentence.startswith("no space left for the decoded images in ")
    assert sentence.endswith("choose another folder with cache=PATH")


def test_weights_of_another_architecture(refused: Callable[..., str], finished: Path, tmp_path: Path) -> None:
    root = fakes.folder(tmp_path / "faces", per_class=20)
    sentence = refused("dataset=folder", "split=random", f"dataset.root={root}", f"weights={finished}")
    assert sentence.startswith(
        f"{finished}/checkpoints/best.ckpt has another architecture (ResNet-50 + SE, ELU, as its paper defines it): "
    )
    assert "classifier.weight is (7, 128) there and (3, 128) in this run" in sentence


def test_settings_that_do_not_fit_the_data_source(refused: Callable[..., str]) -> None:
    assert refused("dataset.source.size=3") == ("dataset=synthetic: size must be a whole number of at least 21, not 3.")
    sentence = refused("+dataset.source.people=3")
    assert sentence.startswith("fersweep.data.sources.synthetic.Synthetic has no argument 'people'; it takes ")


def test_a_gpu_that_is_not_there(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    sentence = refused("trainer=gpu", "trainer.precision=auto")
    assert sentence.startswith("trainer=gpu asks for trainer.devices=1, but torch sees no CUDA device here")


@pytest.mark.slow
def test_the_whole_program_says_one_sentence(tmp_path: Path, cache: Path) -> None:
    done = train_process(tmp_path, "dataset=fer2013", f"dataset.root={tmp_path}", f"cache={cache}", "trainer=cpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: dataset.root={tmp_path} holds no fer2013 data")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"\xff\xfe name: short",
            r"mine/recipe/short.yaml is not a readable file of options \('utf-8' codec can't decode",
        ),
        (b"defaults: {a: 1}\nname: short\n", "A file of the chosen options does not fit: Invalid defaults list"),
    ],
)
def test_a_damaged_file_of_options_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    monkeypatch.setattr(options, "_added", [])
    monkeypatch.chdir(tmp_path)
    fakes.write(tmp_path / "mine" / "recipe" / "short.yaml", content)
    assert cli.main(["train", "hydra.searchpath=[mine]", "recipe=short"]) == 2
    told = capsys.readouterr().err
    assert re.search(f"^error: .*{reason}", told)
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("content", [b"\xff", b"a: [b", b"7", b"- name"])
def test_a_file_without_settings_is_named(tmp_path: Path, content: bytes) -> None:
    file = fakes.write(tmp_path / "mine.yaml", content)
    with pytest.raises(UserError, match=rf"^{file} is not a readable file of options \(.+\): correct it\.$"):
        options.read(file)
