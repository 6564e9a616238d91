"""Prediction treats pictures as training did: a run's test images get the probabilities of its test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, plain, quickly_composed
from skimage import data as photographs

from fersweep import build
from fersweep.cli.main import main
from fersweep.errors import UserError
from fersweep.faces import Pixels
from fersweep.inference import trained
from fersweep.inference.predict import Predictor
from fersweep.run import run_one
from fersweep.runs.identity import run_dir
from fersweep.training import checkpoint

pytestmark = pytest.mark.usefixtures("tiny_network")

STUDY_CROP = (
    "dataset.faces=mtcnn",
    "dataset.face_crop.clip=true",
    "dataset.face_crop.size=80",
    "dataset.face_crop.nearest=true",
    "dataset.face_crop.jpeg_image=100",
    "dataset.face_crop.jpeg_face=95",
)
"""The study's crop of JAFFE."""

PARTS = {"train": 6, "val": 2, "test": 4}


def portrait(seed: int) -> Pixels:
    """Return the astronaut's head and shoulders, RGB, 160 × 160, with a shift and brightness by seed."""
    rng = np.random.default_rng(seed)
    top, left = rng.integers(20, 60), rng.integers(120, 160)
    light = rng.uniform(0.5, 1.0)
    return np.asarray(photographs.astronaut()[top : top + 160, left : left + 160] * light, dtype=np.uint8)


def trained_on(folder: Path, cache: Path, *overrides: str) -> Path:
    """Train the tiny network and return the run's directory."""
    settings = (*SMALL[1:], "attention=none", "recipe.max_epochs=1", f"outputs={folder}", f"cache={cache}")
    cfg = quickly_composed(*settings, "recipe.batch_size=4", *overrides)
    run_one(cfg)
    return run_dir(plain(cfg))


def portraits(root: Path) -> Path:
    """Write happy and sad portraits in the folders of ``split=official``."""
    for part, count in PARTS.items():
        for label in ("happy", "sad"):
            for number in range(count):
                image = portrait(hash_of(part, label, number))
                fakes.write(root / part / label / f"{part}{number}.png", fakes.encoded(image))
    return root


def hash_of(part: str, label: str, number: int) -> int:
    return 100 * list(PARTS).index(part) + 10 * (label == "sad") + number


def predicted(run: Path, files: Sequence[Path], **options: str) -> np.ndarray:
    """Return the probabilities ``(n, K)`` of the most confident face of each file."""
    given = Predictor(run, device="cpu", **options)(files)  # type: ignore[arg-type]
    return np.stack([rows[0] for rows in given.probabilities])


def recorded(run: Path) -> tuple[list[str], np.ndarray]:
    """Return ids and calibrated probabilities of the test images."""
    table = pd.read_parquet(run / "predictions.parquet")
    about = checkpoint.load(run)["fersweep"]
    logits = torch.from_numpy(np.log(table[about["class_names"]].to_numpy(np.float64)))
    return table["id"].tolist(), (logits / about["temperature"]).softmax(dim=1).numpy()


UNSCALED = ("dataset.image_size=41", "recipe.crop=32", "augmentation=crop_flip", "recipe.test_crops=1")


@pytest.mark.parametrize("overrides", [(), STUDY_CROP, UNSCALED], ids=["whole", "cropped", "unscaled"])
def test_a_runs_test_images_get_the_probabilities_of_its_test(
    tmp_path: Path, cache: Path, overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    root = portraits(tmp_path / "data")
    data = ("dataset=folder", f"dataset.root={root}", "split=official")
    run = trained_on(tmp_path / "outputs", cache, *data, *overrides)
    cut = overrides == STUDY_CROP
    assert ("2 classes · faces cut out by mtcnn" in " ".join(capsys.readouterr().out.split())) == cut
    assert checkpoint.load(run)["fersweep"]["framing"] == "picture"
    ids, expected = recorded(run)
    assert len(ids) == 2 * PARTS["test"]
    files = [root / each for each in ids]
    own, other = (predicted(run, files, detector=each) for each in ("auto", "none" if cut else "mtcnn"))
    assert np.array_equal(own.argmax(axis=1), expected.argmax(axis=1))
    assert np.allclose(own, expected, atol=1e-5)
    assert np.abs(other - expected).max() > 20 * np.abs(own - expected).max()  # with other cropping


def test_a_network_of_cropped_data_takes_its_own_images_and_finds_the_faces_in_photographs(
    tmp_path: Path, cache: Path
) -> None:
    """FER2013's framing is set in its option file; a folder's follows from the size of its images."""
    root = fakes.fer2013_folder(tmp_path / "fer2013")
    run = trained_on(tmp_path / "outputs", cache, "dataset=fer2013", f"dataset.root={root}", "split=official")
    ids, expected = recorded(run)
    assert np.allclose(predicted(run, [root / each for each in ids]), expected, atol=1e-5)
    photograph = np.asarray(photographs.astronaut())
    predictor = Predictor(run, device="cpu")
    assert predictor.detects_faces
    assert [len(rows) for rows in predictor([photograph, np.zeros((200, 200), np.uint8)]).labels] == [1, 0]

    small = quickly_composed("dataset=folder", f"dataset.root={root / 'train'}", "split=random")
    assert build.framing(small) == "face"
    large = quickly_composed("dataset=folder", f"dataset.root={portraits(tmp_path / 'large') / 'train'}")
    assert build.framing(large) == "picture"
    assert build.framing(quickly_composed("dataset=jaffe", "dataset.root=x")) == "picture"


def test_checkpoints_of_earlier_versions_use_the_datasets_option_file(finished: Path, tmp_path: Path) -> None:
    content = checkpoint.load(finished)
    assert content["fersweep"]["framing"] == "face"  # drawn faces
    for key in ("framing", "tested"):
        del content["fersweep"][key]
    for key in ("framing", "study_crop"):
        del content["fersweep"]["config"]["dataset"][key]
    for dataset, shows in (("synthetic", "face"), ("jaffe", "picture"), ("folder", "picture"), ("other", "picture")):
        content["fersweep"]["config"]["dataset"]["name"] = dataset
        torch.save(content, tmp_path / "old.ckpt")
        network = trained.load(tmp_path / "old.ckpt", "cpu")
        assert (network.framing, dict(network.tested)) == (shows, {})


def test_networks_with_different_framings_are_no_ensemble(finished: Path, tmp_path: Path) -> None:
    for name, shows in (("a", "face"), ("b", "picture")):
        content = checkpoint.load(finished)
        content["fersweep"]["framing"] = shows
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        torch.save(content, tmp_path / name / "checkpoints" / "best.ckpt")
        (tmp_path / name / "result.json").write_bytes((finished / "result.json").read_bytes())
    with pytest.raises(UserError, match=r"was trained on pictures, .* on faces: an ensemble needs"):
        Predictor(tmp_path)


def test_an_untrustworthy_network_has_warnings(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint alone suffices; a good network trained on people has no warning."""
    content = checkpoint.load(finished)
    file = tmp_path / "alone.ckpt"
    torch.save(content, file)
    fakes.write(tmp_path / "face.png", fakes.encoded(fakes.picture(1)))
    assert main(["predict", str(file), str(tmp_path / "face.png")]) == 0
    drawn, chance = capsys.readouterr().err.splitlines()
    assert drawn == "warning: This network was trained on drawn faces: its predictions on photos of people mean little."
    tested = content["fersweep"]["tested"]
    assert tested["test/n"] == 14
    assert chance == (
        "warning: On its test set this network is not measurably better than always predicting the most frequent "
        f"class: accuracy {100 * tested['test/accuracy']:.1f} %, most frequent class 14.3 %, n = 14."
    )
    content["fersweep"]["tested"] |= {"test/accuracy": 0.7, "test/n": 3000}
    content["fersweep"]["config"]["dataset"]["of_people"] = True
    torch.save(content, file)
    assert main(["predict", str(file), str(tmp_path / "face.png")]) == 0
    assert capsys.readouterr().err == ""
    assert trained.load(finished, "cpu").caveats[1] == chance.removeprefix("warning: ")
