"""`fersweep explain`: files for pictures and runs, errors, and the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import write_checkpoint
from fakes import encoded, picture, write
from PIL import Image

from fersweep.cli import main as cli
from fersweep.data.samples import CLASSES
from fersweep.files import Names
from fersweep.inference.explain import mixtures
from fersweep.inference.explain.files import safe
from fersweep.inference.explain.testset import _chosen
from fersweep.report import explained


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an untrained network with attention."""
    path = tmp_path_factory.mktemp("saved") / "best.ckpt"
    return write_checkpoint(path, "backbone=drf_msam", "dataset.image_size=32")


def test_every_face_gets_pictures_arrays_and_a_row(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path / "a" / "face.png", encoded(picture(1)))
    write(tmp_path / "b" / "face.png", encoded(picture(2, channels=3)))
    write(tmp_path / "b" / "two\nlines $x$.png", encoded(picture(3)))
    write(tmp_path / "b" / "broken.png", b"no image")
    out = tmp_path / "out" / "deep"
    code = cli.main(["explain", str(saved), str(tmp_path / "a" / "face.png"), str(tmp_path / "b"), "-o", str(out)])
    assert code == 1
    table = pd.read_csv(out / "explanations.csv")
    assert list(table)[:5] == ["file", "face", "folder", "predicted", "probability"]
    done = table[table["reason"].isna()]
    assert done["folder"].tolist() == ["face", "face-2", "two_lines_x"]
    assert table.loc[table["reason"].notna(), "file"].tolist() == [str(tmp_path / "b" / "broken.png")]
    assert done[["deletion", "insertion", "deletion_random", "insertion_random"]].notna().all().all()
    told = capsys.readouterr()
    assert "broken.png: not an image" in told.out
    assert "trained on drawn faces" in told.err
    worth = {(True, True): "", (False, False): "no better", (True, False): "by deletion", (False, True): "by insertion"}
    for _, row in done.iterrows():
        better = (row["deletion"] < row["deletion_random"], row["insertion"] > row["insertion_random"])
        assert worth[better] in row["worth"]
    useless = done["worth"].str.startswith("no better").sum()
    assert (f"3 faces explained; on {useless} Grad-CAM is no better than random maps" in told.out) == bool(useless)
    for folder, label, probability in zip(done["folder"], done["predicted"], done["probability"], strict=True):
        assert {each.name for each in (out / folder).iterdir()} == {"gradcam.png", "attention.png", "arrays.npz"}
        with np.load(out / folder / "arrays.npz") as arrays:
            assert arrays["image"].shape == arrays["map/gradcam"].shape == (32, 32)
            assert arrays["gate/stages.0.drf.mixture"].shape == (3, 32)
            assert CLASSES[arrays["probabilities"].argmax()] == label
            assert arrays["probabilities"].max() == pytest.approx(probability, abs=1e-4)
        with Image.open(out / folder / "gradcam.png") as image:
            assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100  # not blank
    assert sorted(each.name for each in out.iterdir()) == ["explanations.csv", *sorted(done["folder"])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{ckpt}", "{face}"], "Name the output folder with -o OUT."),
        (["{ckpt}"], "Name images to explain, or a run directory"),
        (["{ckpt}", "--detector", "none", "-o", "{tmp}/o"], "have no effect without images"),
        (["{ckpt}", "{tmp}/empty", "-o", "{tmp}/o"], "There is no picture in"),
        (["{ckpt}", "{face}", "-o", "{face}/x"], "cannot be written"),
        (["{ckpt}", "{face}", "-o", "{tmp}/o", "--weights", "w.onnx"], "Cannot read the weights w.onnx"),
        (["{tmp}/none.ckpt", "{face}", "-o", "{tmp}/o"], "There is no checkpoint"),
    ],
)
def test_an_unusable_argument_is_one_sentence(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    face = write(tmp_path / "face.png", encoded(picture(1)))
    (tmp_path / "empty").mkdir()
    given = [each.format(ckpt=saved, face=face, tmp=tmp_path) for each in arguments]
    assert cli.main(["explain", *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_names_are_safe_and_differ() -> None:
    names = Names("explanations.csv")
    given = ["a", "A", "../x/y", "", ".", "explanations.csv", "ä b", "long" * 60, "\udcff"]
    made = [names.unique(safe(each)) for each in given]
    assert made == ["a", "A-2", "x_y", "face", "face-2", "explanations.csv-2", "ä_b", ("long" * 60)[:50], "face-3"]


def test_the_most_confident_predictions_are_chosen() -> None:
    labels = np.array([0, 0, 0, 1, 0])
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1]], np.float32)
    assert _chosen(probabilities, labels, 0) == ([1, 4, 0], [2])
    assert _chosen(probabilities, labels, 1) == ([3], [])


def test_a_run_gets_sheets_of_its_test_images_and_its_report_shows_them(
    finished_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["explain", str(finished_copy)]) == 0
    folder = finished_copy / "explanations"
    summary = json.loads((folder / "scores.json").read_text())
    table = pd.read_csv(folder / "explanations.csv")
    tested = pd.read_parquet(finished_copy / "predictions.parquet").set_index("id")
    assert summary["n"] == len(table) == len(tested) == 14
    assert set(table["id"]) == set(tested.index)
    assert table.set_index("id")["class"].to_dict() == tested["label"].to_dict()
    assert set(summary["sheets"]) == set(tested["label"])
    gain = (table["deletion_random"] - table["deletion"]).mean()
    assert summary["deletion_gain"] == pytest.approx(gain, abs=2e-4)
    low, high = summary["deletion_gain_interval"]
    assert low <= summary["deletion_gain"] <= high
    told = capsys.readouterr()
    said = told.out.splitlines()
    assert told.err.startswith("warning: This network was trained on drawn faces")
    assert said[0].startswith("Grad-CAM over 14 images: deletion ")
    no_better = [name for name in ("deletion", "insertion") if summary[f"{name}_gain_interval"][0] <= 0]
    assert no_better  # the network is untrained
    assert said[0].endswith(f" By {' and '.join(no_better)}, these maps are no better than random ones.")
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert cli.main(["explain", str(finished_copy)]) == 0
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before

    assert cli.main(["report", str(tmp_path / "outputs" / "runs"), "-o", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("data:image/webp;base64,") == len(summary["sheets"])
    assert "Where the network of seed 1 looks" in page
    assert "Grad-CAM over 14 images: deletion" in page
    (folder / "happy.png").write_bytes((folder / "happy.png").read_bytes()[:200])
    assert cli.main(["report", str(tmp_path / "outputs" / "runs"), "-o", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "data:image/webp" not in page
    assert "happy.png is damaged: run fersweep explain" in page


def test_a_network_that_mixes_branches_gets_a_table_and_a_figure_of_their_shares(
    finished_copy: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = torch.tensor([[[0.2, 0.4], [0.8, 0.6]], [[0.4, 0.4], [0.6, 0.6]]])
    monkeypatch.setattr(mixtures, "shares", lambda _trained, _batch: {"one": first, "two": first.flip(1)})
    assert cli.main(["explain", str(finished_copy)]) == 0
    folder = finished_copy / "explanations"
    table = pd.read_csv(folder / "mixtures.csv")
    assert table["block"].tolist() == ["one", "one", "two", "two"]
    assert table["branch"].tolist() == [1, 2, 1, 2]
    assert table["mean"].tolist() == [0.35, 0.65, 0.65, 0.35]
    assert table["between_images"].tolist() == pytest.approx([0.1 / 2**0.5] * 4, abs=1e-5)
    assert table["between_channels"].tolist() == pytest.approx([0.05] * 4)
    with Image.open(folder / "mixtures.png") as figure:
        assert figure.width > 300
    summary = json.loads((folder / "scores.json").read_text())
    assert (summary["shares_between_images"], summary["shares_between_channels"]) == (0.0707, 0.05)
    said = "Shares of branches differ by 0.071 between test images and by 0.050 between channels (sd)."
    assert said in capsys.readouterr().out
    found = explained.read(finished_copy, seed=1)
    assert found is not None
    assert found.gains.endswith(said)


def test_data_other_than_those_of_the_training_are_refused(
    finished_copy: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fersweep.training.results.data_digest", lambda _samples: "another")
    assert cli.main(["explain", str(finished_copy)]) == 2
    assert "dataset=synthetic has other images than" in capsys.readouterr().err
    assert not (finished_copy / "explanations").exists()


def test_a_report_needs_no_torch() -> None:
    code = "import sys, fersweep.report.gather, fersweep.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("more", [(), ("a.png", "-o", "out"), ("-o", "out")])
def test_a_checkpoint_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str], more: tuple[str, ...]) -> None:
    assert cli.main(["explain", "nope.ckpt", *more]) == 2
    sentence = "error: There is no checkpoint nope.ckpt: give a run's directory, a .ckpt or a .safetensors file.\n"
    assert capsys.readouterr().err == sentence
