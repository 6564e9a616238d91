"""The model card, and ``fersweep push`` against a Hub of this machine."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from checkpoints import write_checkpoint
from conftest import plain, quickly_composed, use_tiny_network
from huggingface_hub.utils import close_session

from fersweep.cli import main as cli
from fersweep.config.schema import choices_of
from fersweep.data.samples import CLASSES
from fersweep.files import write_json
from fersweep.inference.export import card, files
from fersweep.inference.trained import Trained, load
from fersweep.report.statistics import wilson

SETTINGS = ("dataset=fer2013", "split=official", "dataset.image_size=32", "recipe.test_crops=10")
TOKEN = "hf_" + "s3cret" * 5
RESULT: dict[str, Any] = {
    "run": "0123456789",
    "seed": 1,
    "metrics": {
        "val/accuracy": 0.7,
        "test/accuracy": 0.68,
        "test/accuracy_single_view": 0.66,
        "test/macro_f1": 0.61,
        "test/n": 200,
    },
    "majority_baseline": 0.25,
    "shared_subjects": None,
    "train_n": 1600,
    "val_n": 200,
    "data_digest": "feedbeef",
    "best_epoch": 8,
    "epochs": 9,
    "calibration": {"temperature": 1.7, "test_ece": 0.08, "test_ece_scaled": 0.03},
    "per_class": {name: {"precision": None, "recall": 0.5, "n": 1234} for name in CLASSES},
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run tested with ten crops."""
    use_tiny_network(monkeypatch)
    cfg = quickly_composed(*SETTINGS)
    directory = tmp_path / "run"
    for name in ("best", "last"):
        write_checkpoint(directory / "checkpoints" / f"{name}.ckpt", *SETTINGS)
    write_json(directory / "result.json", RESULT | {"choices": choices_of(plain(cfg))})
    return directory


def rendered(path: Path) -> str:
    return card.render(load(path, "cpu"))


def test_the_card_has_numbers_with_intervals_and_limits(run: Path) -> None:
    text = rendered(run)
    low, high = wilson(132, 200)
    assert (
        f"| one view of each image | 66.0 % | {low:.1%} to {high:.1%} |".replace("%", " %").replace("  %", " %") in text
    )
    assert "| mean of 10 crops of each image | 68.0 % |" in text
    assert "# ResNet-50 + CBAM, ELU, FER2013\n" in text
    assert "| network | ResNet-50 + CBAM, ELU, as its paper defines it |" in text
    assert "| dataset | FER2013 |" in text
    assert "The dataset's terms of use may apply to these weights." in text
    assert "| framing | faces as in the dataset |" in text
    assert "n = 200" in text
    assert "most frequent class scores 25.0 %" in text
    assert "| happy | – | 50.0 % | 1,234 |" in text
    assert "0.080 without, 0.030 with it" in text
    assert "divided by 1.7 before the softmax" in text
    assert "Run `0123456789` of fersweep" in text
    assert "not feelings.**" in text
    assert "Article 5(1)(f)" in text
    assert "| images: training, validation, test | 1,600, 200, 200 |" in text
    assert "unknown: the dataset does not identify people" in text
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "terms-of-fer2013")
    assert front["pipeline_tag"] == "image-classification"
    (results,) = front["model-index"][0]["results"]
    assert {each["name"]: each["value"] for each in results["metrics"]} == {
        "Test accuracy, mean of 10 crops of each image": 0.68,
        "Test accuracy, one view of each image": 0.66,
    }
    huggingface_hub.ModelCard(text)  # the Hub's own reading of it


def test_the_card_says_how_and_from_what_the_network_was_trained(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = json.loads((run / "result.json").read_text())
    write_json(run / "result.json", result | {"environment": {"commit": "c0ffee+changes"}})
    monkeypatch.setattr(card, "commit", lambda: "decade")
    text = rendered(run)
    command = "uv run train.py dataset=fer2013 dataset.image_size=32 recipe.test_crops=10 dataset.root=PATH"
    assert f"| command | `{command}` |" in text
    assert "| commit | `c0ffee+changes` |" in text
    assert "(commit `decade`)" in text
    assert "| terms of use | published for a research challenge in 2013; " in text
    assert all(f"- {each}" in text for each in card.NOT_FOR)
    assert "half precision" not in text
    assert "stored in half precision" in card.render(load(run, "cpu"), half=True)


def test_the_terms_of_runs_without_them_are_those_of_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_network(monkeypatch)
    old = write_checkpoint(tmp_path / "old.ckpt", "dataset=jaffe", "dataset.terms=null")
    assert "| terms of use | given out by its authors for non-commercial research" in rendered(old)
    own = write_checkpoint(tmp_path / "own.ckpt", "dataset=folder")
    assert "| terms of use | unknown |" in rendered(own)


def test_the_network_s_own_settings_are_named_and_the_display_s_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_network(monkeypatch)
    own = ("backbone=resnet18", "backbone.model.stem=small", "trainer.progress_bar=false", "dataset.splits=[random]")
    text = rendered(write_checkpoint(tmp_path / "last.ckpt", *own, "backbone.model.width=16", "dataset=synthetic"))
    title = "ResNet-18 + CBAM, ELU, as its paper defines it"
    assert f"| network | {title}, backbone.model.stem=small, backbone.model.width=16 |" in text
    command = "uv run train.py backbone=resnet18 backbone.model.stem=small backbone.model.width=16"
    assert f"| command | `{command}` |" in text


def test_the_card_of_drawn_faces_and_a_network_with_built_in_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_network(monkeypatch)
    settings = ("backbone=aer_cnn", "attention=none", "activation=relu", "dataset=synthetic")
    text = rendered(write_checkpoint(tmp_path / "last.ckpt", *settings))
    assert "# AER-CNN, ReLU, synthetic faces\n" in text
    assert "| network | AER-CNN, ReLU, as its paper defines it |" in text
    assert "no attention" not in text
    assert "The images are not of people" in text
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "mit"
    assert front["tags"] == ["facial-expression-recognition", "aer_cnn", "onnx"]


def test_people_in_both_training_and_test_set_are_a_warning(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    write_json(run / "result.json", result | {"shared_subjects": 9})
    assert "**9 people of the test set are in the training set too" in rendered(run)


def test_the_card_reports_twins_and_sequences(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    metrics = result["metrics"] | {"test/accuracy_without_twins": 0.6, "test/n_without_twins": 150}
    twins = {"either": {"identical": 40, "near": 10}, "dropped": 0}
    more = {"shared_subjects": 9, "shared_subject_images": 80, "shared_sequence_images": 70}
    write_json(run / "result.json", result | {"metrics": metrics, "twins": twins, **more, "fold": 2, "folds": 10})
    text = rendered(run)
    low, high = (f"{end:.1%}".replace("%", " %") for end in wilson(90, 150))
    assert (
        "50 of 200 test images have an identical (40) or near-identical (10) image in training or validation." in text
    )
    assert f"On the other 150 the accuracy is 60.0 % ({low} to {high})" in text
    assert "| people in both training and test set | 9 (80 test images) |" in text
    assert "| test images from sequences also in the training set | 70 |" in text
    assert ", fold 2 of 10 |" in text


def test_the_card_of_an_older_run_leaves_out_what_it_lacks(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    del result["calibration"], result["per_class"]
    write_json(run / "result.json", result)
    text = rendered(run)
    assert "68.0 %" in text
    assert "calibration error" not in text
    assert "| Class |" not in text


def test_untested_weights_have_no_results(run: Path) -> None:
    for path in (run / "checkpoints" / "last.ckpt", run / "checkpoints"):
        if path.is_dir():
            (run / "result.json").unlink()
        text = rendered(path.parent if path.is_dir() else path)
        assert "No test result is known for these weights." in text
        assert "model-index" not in text
        assert "68" not in text.split("## Data")[1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"seed": 2}, "belongs to another run than"), ({"metrics": {}}, "has no test result")],
)
def test_the_result_of_another_run_is_refused(
    run: Path, change: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(run / "result.json", json.loads((run / "result.json").read_text()) | change)
    assert cli.main(["export", str(run), "-o", str(tmp_path / "card.md")]) == 2
    assert sentence in capsys.readouterr().err
    assert {each.name for each in tmp_path.iterdir()} == {"run"}


def test_a_card_replaces_a_card(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("---\nlibrary_name: fersweep\n---\nold")
    assert cli.main(["export", str(run), "-o", str(path)]) == 0
    assert "68.0 %" in path.read_text()


class Hub(ThreadingHTTPServer):
    """A server with the part of the Hub's API that a push uses; keeps what it receives."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.made: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.refuses = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """Handler of one request to the `Hub`."""

    server: Hub

    def do_GET(self) -> None:
        if self.path == "/api/whoami-v2":
            self.reply({"name": "jane", "type": "user", "orgs": []})
        else:
            self.reply({"id": "jane/faces"}, 200 if self.server.made else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.reply({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            if self.server.refuses:
                self.reply({"error": "You may not"}, self.server.refuses)
            else:
                self.server.made = json.loads(body)
                self.reply({"url": f"{self.server.address}/jane/{self.server.made['name']}"})
        elif self.path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            self.reply({"files": [{**each, "uploadMode": "regular", "shouldIgnore": False} for each in asked]})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply({"commitUrl": f"{self.server.address}/jane/faces/commit/1", "commitOid": "1"})
        else:
            self.reply({})

    def reply(self, answer: dict[str, Any], code: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that accepts the token; ONNX and program exports are replaced."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        for suffix in (".onnx", ".pt2"):
            monkeypatch.setitem(files.FORMS, suffix, quick)
        yield server
        server.shutdown()
        close_session()


def quick(trained: Trained, path: Path) -> None:
    """Replace an export that takes seconds."""
    path.write_text(f"{trained.title} as {path.suffix}")


def test_a_push_makes_a_repository_of_the_four_files(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push", str(run), "faces", "--private"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == f"{hub.address}/jane/faces"
    assert TOKEN not in captured.out + captured.err
    assert hub.made["name"] == "faces"
    assert "private" in (hub.made.get("visibility"), "private" if hub.made.get("private") else None)
    assert sorted(hub.files) == sorted(files.FOLDER)
    assert hub.files["README.md"].decode() == rendered(run)
    assert hub.files["model.onnx"] == b"ResNet-50 + CBAM, ELU, FER2013 as .onnx"
    assert not any(TOKEN.encode() in data for data in hub.files.values())


def refused(capsys: pytest.CaptureFixture[str], run: Path, name: str = "jane/faces") -> str:
    assert cli.main(["push", str(run), name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert TOKEN not in captured.err
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_refusal_of_the_hub_is_one_sentence(
    run: Path, hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refuses = 403
    assert "The login may not write there" in refused(capsys, run)
    hub.refuses = 400
    assert "The Hugging Face Hub refused (" in refused(capsys, run)
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    assert "does not accept the login" in refused(capsys, run)
    assert not hub.files


@pytest.mark.usefixtures("hub")
def test_a_push_offline_or_without_login_is_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("exported before it was known whether it can be pushed")

    for suffix in files.FORMS:
        monkeypatch.setitem(files.FORMS, suffix, never)
    assert "'a/b/c' cannot be the name of a repository" in refused(capsys, run, "a/b/c")
    assert "There is no checkpoint" in refused(capsys, run.parent / "none")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "The Hugging Face Hub cannot be reached (" in refused(capsys, run)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "is switched off here: unset HF_HUB_OFFLINE" in refused(capsys, run)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nowhere/token")
    assert "You are not logged in to the Hugging Face Hub" in refused(capsys, run)
