"""The network that comes with fersweep: used where none is named, checked, and one sentence where there is none.

The tests of the mechanism use a network of a test; those of the real file are skipped in a build without one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fakes
import numpy as np
import pytest
import shipped_pictures
import torch
from checkpoints import write_checkpoint
from conftest import REPOSITORY, SMALL, use_tiny_network

from fersweep import Predictor
from fersweep.cli.main import main
from fersweep.errors import UserError
from fersweep.inference import demo, shipped, trained
from fersweep.training.weights_file import CARD, MODEL

TESTED = {"test/accuracy": 0.7, "test/n": 200, "majority_baseline": 0.25}

FACE = fakes.picture(1, (40, 40))

real = pytest.mark.skipif(not shipped.is_there(), reason="this build ships no network")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``fersweep export --half``."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_network(patch)
        path = write_checkpoint(folder / "a.ckpt", *SMALL, "dataset.of_people=true", tested=TESTED)
        assert main(["export", str(path), "--half", "-o", str(folder / "half")]) == 0
    return folder / "half"


@pytest.fixture
def along(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a build that ships the exported network, to change; the working directory has a face."""
    use_tiny_network(monkeypatch)
    folder = Path(shutil.copytree(exported, tmp_path / "shipped"))
    monkeypatch.setattr(shipped, "FOLDER", folder)
    monkeypatch.chdir(tmp_path)
    fakes.write(tmp_path / "face.png", fakes.encoded(FACE))
    return folder


def test_it_is_used_and_named_where_no_network_is(along: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = trained.load(along / MODEL, "cpu")
    assert main(["predict", "face.png", "-o", "t.jsonl"]) == 0
    told = capsys.readouterr()
    line = f"{own.title}, which comes with fersweep (run {own.run}, test accuracy 70.0 %, n = 200)"
    assert told.err == f"network: {line}; its card: {along / 'README.md'}\n"
    assert "1 face in 1 picture" in told.out
    row = json.loads(Path("t.jsonl").read_text())
    expected = own.probabilities(own.prepare([FACE]))[0]
    assert list(row["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-5)

    assert main(["explain", "face.png", "-o", "why"]) == 0
    assert capsys.readouterr().err.startswith("network: ")
    assert Path("why/face/gradcam.png").is_file()

    predictor = Predictor()
    assert capsys.readouterr().err.startswith("network: ")
    assert predictor(FACE).probabilities[0] == pytest.approx(expected.numpy(), abs=1e-5)
    assert demo.score(predictor).startswith("Test accuracy 70.0% (95 % interval 63.3% to 75.9%, n = 200), seed 1")


def test_a_named_network_is_not_announced(along: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = along.rename(along.with_name("mine")) / MODEL
    for arguments in ([str(named), "face.png"], ["face.png", "--checkpoint", str(named)]):
        assert main(["predict", *arguments]) == 0
        told = capsys.readouterr()
        assert told.err == ""
        assert "1 face in 1 picture" in told.out


def test_a_build_without_one_says_so(along: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (along / MODEL).unlink()
    sentence = "This build of fersweep ships no network: name one with --checkpoint"
    for command in (["predict", "face.png"], ["explain", "face.png", "-o", "out"], ["demo"]):
        assert main(command) == 2
        told = capsys.readouterr()
        assert told.err.startswith(f"error: {sentence}")
        assert told.err.count("\n") == 1
    with pytest.raises(UserError, match=sentence):
        Predictor()
    assert not Path("out").exists()


def test_a_changed_file_is_refused(along: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray((along / MODEL).read_bytes())
    data[-1] ^= 1
    (along / MODEL).write_bytes(data)
    assert main(["predict", "face.png"]) == 2
    assert "is damaged or was changed: its digest is not that of its card; install" in capsys.readouterr().err
    for text, sentence in (("{}", "sha256 is None, not text"), ("", "is not a readable card of the network")):
        (along / CARD).write_text(text)
        assert main(["predict", "face.png"]) == 2
        assert sentence in capsys.readouterr().err
    (along / CARD).unlink()
    assert main(["predict", "face.png"]) == 2
    assert f"{along / CARD} is missing: install fersweep again" in capsys.readouterr().err


@pytest.mark.usefixtures("along")
def test_golden_answers_hold_and_show_other_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    golden = tmp_path / "golden.json"
    answers = shipped_pictures.answers()
    golden.write_text(json.dumps(answers))
    monkeypatch.setattr(shipped_pictures, "answers", lambda: answers)
    assert shipped_pictures.differences(golden) == []
    assert len(answers["pictures"]["astronaut"]["boxes"]) == 1
    assert 150 < answers["pictures"]["astronaut"]["boxes"][0][0] < 200
    assert np.ptp([each["probabilities"][0][0] for each in answers["pictures"].values()]) > 1e-4
    other = json.loads(golden.read_text())
    other["pictures"]["lfw"]["probabilities"][0][0] += 0.01
    other["pictures"]["astronaut"]["boxes"] = []
    golden.write_text(json.dumps(other))
    assert shipped_pictures.differences(golden) == [
        "astronaut: 1 faces, 0 expected",
        "lfw: probabilities differ by 0.01, allowed is 0.005",
    ]
    golden.write_text(json.dumps(other | {"sha256": "another"}))
    assert "is of another network: replace the network with .ci/ship RUN" in shipped_pictures.differences(golden)[0]


@real
def test_the_file_is_small_and_its_card_complete() -> None:
    card = shipped.card()
    assert card["bytes"] == (shipped.FOLDER / MODEL).stat().st_size <= 6_000_000
    assert card["parameters"] <= 3_000_000
    result = card["result"]
    assert result["metrics"]["test/accuracy_without_twins"] < result["metrics"]["test/accuracy"]
    assert {*result["per_class"]} == {*card["classes"]}
    assert result["calibration"]["temperature"] == card["temperature"]
    assert card["terms"]
    assert card["command"].startswith("uv run train.py ")
    text = (shipped.FOLDER / "README.md").read_text(encoding="utf-8")
    assert card["run"] in text
    assert f"On the other {result['metrics']['test/n_without_twins']:,} the accuracy is " in text
    assert all(each in text for each in (card["terms"], card["command"], *card["not_for"]))


@real
def test_the_file_is_of_a_run_in_results() -> None:
    card = shipped.card()
    found = [*(REPOSITORY / "results").glob(f"**/*-{card['run']}")]
    assert len(found) == 1, f"results/ has no directory of run {card['run']}: copy it there, without checkpoints"
    result = json.loads((found[0] / "result.json").read_text(encoding="utf-8"))
    assert result["metrics"] == card["result"]["metrics"]


@real
def test_its_answers_are_the_golden_ones() -> None:
    assert shipped_pictures.differences(shipped_pictures.GOLDEN) == []


@real
def test_its_weights_are_computed_with_in_single_precision() -> None:
    network = trained.load(shipped.FOLDER / MODEL, "cpu").network
    assert {each.dtype for each in network.parameters()} == {torch.float32}
