"""Names of classes and images that the files of a run cannot hold, and those that they can."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import fakes
import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from fersweep import build
from fersweep.cli.main import main
from fersweep.data.samples import COLUMNS
from fersweep.errors import UserError
from fersweep.inference.predict import outputs
from fersweep.report import figures

FOLDER = ("dataset=folder", "split=random")


def test_the_columns_of_predictions_are_all_reserved(finished: Path) -> None:
    table = pd.read_parquet(finished / "predictions.parquet")
    assert {*COLUMNS} >= {*table.columns} - {"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_class_with_the_name_of_a_column_is_refused_before_training(
    small: Callable[..., DictConfig], tmp_path: Path, name: str
) -> None:
    root = fakes.folder(tmp_path / "faces", ("Anger", name))
    with pytest.raises(UserError, match=f"^dataset=folder has a class named {name}, .*: rename the folder"):
        build.samples(small(*FOLDER, f"dataset.root={root}", f"dataset.source.classes=[Anger,{name}]"))


def test_the_audit_names_what_training_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fakes.folder(tmp_path / "faces", ("Anger", "label"))
    verb = ["data", "folder", "--root", str(root), "dataset.source.classes=[Anger,label]"]
    assert main(verb) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "Training refuses this dataset, which has a class named label, which is a column of " in shown
    assert main([*verb, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][-1].startswith("Training refuses this dataset")
    (root / "label").rename(root / "sad")
    assert main(["data", "folder", "--root", str(root)]) == 0
    assert "refuses" not in capsys.readouterr().out


@pytest.mark.parametrize("where", ["class", "image"])
def test_a_name_that_is_not_utf_8_is_refused(small: Callable[..., DictConfig], tmp_path: Path, where: str) -> None:
    root, name = fakes.folder(tmp_path / "faces", ("Anger", "Sad")), os.fsdecode(b"caf\xe9.png")
    if where == "image":
        (root / "Sad" / "0.png").rename(root / "Sad" / name)
        sentence = re.escape(r"caf\xe9.png") + ".*: rename this file or folder"
    else:
        (root / "Sad").rename(root / name)
        sentence = "has images in caf.*beside its class folders"
    with pytest.raises(UserError, match=sentence):
        build.samples(small(*FOLDER, f"dataset.root={root}"))


@pytest.mark.parametrize("name", [r"$\frac{$", "$", "a_b^{", "$x$", "%", "表情", "\x1b[2J\x07"])
def test_names_are_drawn_as_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / "figure.png"
    figures.confusion_matrix(np.eye(2, dtype=int), (name, "happy"), path, f"title {name}", name)
    assert path.stat().st_size > 1000
    plain = tmp_path / "plain.png"
    figures.confusion_matrix(np.eye(2, dtype=int), ("x" * len(name), "happy"), plain, f"title {name}", name)
    assert plain.read_bytes() != path.read_bytes()


def test_a_class_with_the_name_of_a_column_of_predict_has_one_of_its_own(tmp_path: Path) -> None:
    with outputs.Table([tmp_path / "t.csv"], ("error", "happy")):
        pass
    header = (tmp_path / "t.csv").read_text().strip().split(",")
    assert header[-3:] == ["error", "error (class)", "happy"]
    assert len(header) == len(set(header))
