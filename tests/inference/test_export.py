"""``fersweep export``: files give PyTorch's outputs, describe themselves, and are written atomically."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from checkpoints import write_checkpoint
from conftest import REPOSITORY, use_tiny_network
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from fersweep import build
from fersweep.build import make
from fersweep.cli import main as cli
from fersweep.config.options import option_file, options
from fersweep.config.schema import input_size
from fersweep.data.preprocess import changed
from fersweep.data.samples import CLASSES
from fersweep.errors import UserError
from fersweep.inference.export import about, files, graph, weights
from fersweep.inference.trained import Trained, load
from fersweep.models.attention import CBAM, EfficientChannelAttention, SqueezeExcitation
from fersweep.models.study_code import ParallelCBAM, RowBatchNorm, ScalarGate

SETTINGS = (
    "dataset.image_size=32",
    "recipe.test_crops=10",
    "dataset.root=/home/jane_doe/faces",
    "cache=/home/jane_doe",
)


CUT = ("dataset.faces=mtcnn", "dataset.face_crop.size=80", "dataset.face_crop.nearest=true")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run with nothing but its checkpoint."""
    use_tiny_network(monkeypatch)
    directory = tmp_path / "run"
    write_checkpoint(directory / "checkpoints" / "best.ckpt", *SETTINGS)
    return directory


def attention_factory(name: str) -> dict[str, Any]:
    """The class of an attention's config file, with its settings."""
    return {key: value for key, value in option_file("attention", name).items() if key not in ("name", "title")}


class Blocks(nn.Module):
    """All building blocks of this project's networks that are more than one layer of torch."""

    def __init__(self, cfg: Any, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(cfg.dataset.channels, 16, 3, padding=1),
            RowBatchNorm(input_size(cfg), 1e-3),
            CBAM(16),
            ParallelCBAM(16),
            SqueezeExcitation(16),
            EfficientChannelAttention(16),
            ScalarGate(16),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.AdaptiveAvgPool2d(5),
            *(make(attention_factory(name), channels=16) for name in options("attention")),
            nn.Flatten(),
            nn.Linear(400, num_classes),
        )
        for name, scale in self.named_parameters():
            if name.endswith(("gamma", "norm.weight", "expand.1.weight")):  # attention may begin as the identity
                nn.init.constant_(scale, 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to logits."""
        logits: torch.Tensor = 50 * self.layers(images)
        return logits


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """An ONNX file of `Blocks` with all preprocessing and a centre crop, and the network that it was made from."""
    folder = tmp_path_factory.mktemp("exported")
    steps = ("dataset.preprocessing.min_max=true", "dataset.preprocessing.equalize=true", *CUT)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(build, "model", Blocks)
        trained = load(write_checkpoint(folder / "a.ckpt", "dataset.image_size=37", "recipe.crop=34", *steps), "cpu")
    difference = files.write(trained, folder / "model.onnx")
    assert difference is not None
    assert max(difference.probabilities, difference.logits) < 1e-5
    assert difference.images == 21
    return folder / "model.onnx", trained


def test_onnx_gives_pytorchs_outputs(exported: tuple[Path, Trained]) -> None:
    path, trained = exported
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    for count in (1, 2, 20):
        faces = draw.integers(40, 200, (count, 37, 37), np.uint8)
        (exported_says,) = session.run(["probabilities"], {"images": faces[:, None]})
        torch_says = trained.probabilities(trained.preprocess(faces)).numpy()
        assert np.abs(exported_says - torch_says).max() < 1e-5
        assert exported_says.sum(axis=1) == pytest.approx(1, abs=1e-6)
        assert torch_says.max() > 0.25  # not all equal


def test_a_map_of_the_crop_is_placed_where_the_crop_was(exported: tuple[Path, Trained]) -> None:
    trained = exported[1]
    image = np.random.default_rng(0).integers(1, 256, (37, 37), np.uint8)
    whole = trained.uncropped(trained.batch(image[None])[0, 0].numpy().astype(np.float32))
    assert whole.shape == (37, 37)
    assert (whole > 0).sum() == 34 * 34
    np.testing.assert_array_equal(whole[whole > 0], image[whole > 0])


def test_onnx_has_metadata(exported: tuple[Path, Trained]) -> None:
    model = onnx.load(exported[0])
    onnx.checker.check_model(model, full_check=True)
    known = {each.key: each.value for each in model.metadata_props}
    assert json.loads(known["labels"]) == list(CLASSES)
    assert (known["image_size"], known["channels"], known["temperature"]) == ("37", "1", "1.7")
    assert known["crop"] == "34"
    assert known["title"] == "ResNet-50 + CBAM, ELU, synthetic faces"
    assert len(known["run"]) == 10
    assert known["faces"] == "cropped by mtcnn, margin 0.0, resized to 80 pixels by area, to 37 by nearest neighbour"
    assert json.loads(known["face_crop"])["size"] == 80
    shape = model.graph.input[0].type.tensor_type
    assert shape.elem_type == onnx.TensorProto.UINT8
    assert [each.dim_param or each.dim_value for each in shape.shape.dim] == ["batch", 1, 37, 37]
    assert [each.name for each in model.graph.output] == ["probabilities", "logits"]
    kinds = [node.op_type for node in model.graph.node]
    layers = exported[1].network.modules()
    convs = [each for each in layers if isinstance(each, nn.Conv1d | nn.Conv2d)]
    assert kinds.count("Conv") == len(convs) - 1  # `ScalarGate` multiplies by one tap of its own


def test_a_folder_gets_every_form(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    assert cli.main(["export", str(run), "-o", str(folder)]) == 0
    assert sorted(each.name for each in folder.iterdir()) == sorted(files.FOLDER)
    printed = capsys.readouterr().out
    assert "uint8 (batch, 1, 32, 32)" in printed
    assert printed.count("from PyTorch's probabilities, in 21 images") == 3
    for path in folder.iterdir():
        data = path.read_bytes()
        assert b"jane_doe" not in data
        assert str(REPOSITORY).encode() not in data

    trained, images = load(run, "cpu"), torch.randint(0, 256, (5, 1, 32, 32), dtype=torch.uint8)
    extra = {"metadata.json": ""}
    program = torch.export.load(folder / "model.pt2", extra_files=extra).module()
    with torch.inference_mode():
        assert torch.allclose(program(images)[0], trained.probabilities(images), atol=1e-6)
    assert json.loads(json.loads(extra["metadata.json"])["labels"]) == list(CLASSES)

    again = weights.load(folder / "model.safetensors")
    assert again.run == about.run(trained)
    assert torch.equal(again.logits(images), trained.logits(images))
    assert (again.class_names, again.temperature) == (CLASSES, 1.7)
    with safe_open(folder / "model.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
    assert config["backbone"]["name"] == "resnet50"
    assert config["logger"] == {"name": "csv"}


def test_several_files_of_one_checkpoint(run: Path, tmp_path: Path) -> None:
    asked_for = [tmp_path / "a" / "card.md", tmp_path / "b.safetensors"]
    assert cli.main(["export", str(run), "-o", str(asked_for[0]), "-o", str(asked_for[1])]) == 0
    assert all(each.is_file() for each in asked_for)
    assert {each.name for each in tmp_path.iterdir()} == {"run", "a", "b.safetensors"}


def test_a_reader_that_leaves_ends_no_export(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of ``fersweep export … | head -1``: standard output is closed after the first line, or before it."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        files = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "card.md")]
        assert cli.main(["export", str(run), *(word for file in files for word in ("-o", str(file)))]) == 141
    assert all(file.stat().st_size > 0 for file in files)


def test_preprocessing_in_the_graph_is_that_of_the_data() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        low, high = np.sort(draw.integers(0, 256, 2))
        image = draw.integers(low, high + 1, (24, 31)).astype(np.uint8)
        batch = torch.from_numpy(image)[None, None].float()
        assert (graph.stretched(batch)[0, 0].numpy() == changed(image, True, False)).all()
        assert (graph.equalized(batch)[0, 0].numpy() == changed(image, False, True)).all()


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_a_file_with_other_outputs_is_not_written(
    run: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tmp_path / name
    before.write_text("before")
    monkeypatch.setattr(Trained, "logits", lambda self, batch: 1.001 * self.network(batch.float() / 255) + 0.001)
    assert cli.main(["export", str(run), "-o", str(before)]) == 2
    assert "differs from PyTorch by" in capsys.readouterr().err
    assert before.read_text() == "before"
    assert {each.name for each in tmp_path.iterdir()} == {"run", name}


def test_a_failed_export_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = write_checkpoint(tmp_path / "later.ckpt", *SETTINGS, format=2)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    (tmp_path / "README.md").write_text("# My own project")
    for arguments, sentence in (
        ((later, "-o", tmp_path / "m.onnx"), "has format 2, this version reads 1: use the version that wrote it."),
        ((tmp_path / "none", "-o", tmp_path / "m.onnx"), "There is no checkpoint"),
        ((run, "-o", blocked / "model.onnx"), f"{blocked} cannot be written (File exists): choose another place."),
        ((run, "-o", tmp_path / "model.onx"), "has an unknown suffix (did you mean .onnx?)"),
        ((run, "-o", tmp_path / "README.md"), "exists and is not a model card of fersweep"),
    ):
        assert cli.main(["export", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert sentence in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert {each.name for each in tmp_path.iterdir()} == {"run", "later.ckpt", "file", "README.md"}
    assert (tmp_path / "README.md").read_text() == "# My own project"

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for name in ("m.safetensors", "m.pt2"):
        assert cli.main(["export", str(run), "-o", str(tmp_path / name)]) == 2
        assert f"{name} cannot be written (No space left on device)" in capsys.readouterr().err
    assert {each.name for each in tmp_path.iterdir()} == {"run", "later.ckpt", "file", "README.md"}


def test_an_operator_unknown_to_onnx_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise torch.onnx.OnnxExporterError("step 3/3 ...\nmany lines")

    monkeypatch.setattr(torch.onnx, "export", unknown)
    assert cli.main(["export", str(run), "-o", str(tmp_path / "model.onnx")]) == 2
    error = capsys.readouterr().err
    assert "perhaps its activation (torch.nn.ELU); export it as .pt2." in error
    assert error.count("\n") == 1
    assert {each.name for each in tmp_path.iterdir()} == {"run"}


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\1\2\3")
    for name, sentence in (
        ("foreign", "was not written by this version of fersweep"),
        ("broken", "is not a readable safetensors file"),
        ("none", "There is no checkpoint"),
    ):
        with pytest.raises(UserError, match=sentence):
            weights.load(tmp_path / f"{name}.safetensors")


def test_colour_images_and_deleted_initial_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)
    path = write_checkpoint(tmp_path / "a.ckpt", "dataset.channels=3", "dataset.preprocessing.min_max=true", *SETTINGS)
    stored = torch.load(path, weights_only=True)
    config = stored["fersweep"]["config"]
    config["weights"] = config["dataset"]["face_crop"]["weights"] = str(tmp_path / "gone" / "best.ckpt")
    torch.save(stored, path)
    trained = load(path, "cpu")
    found = files.write(trained, tmp_path / "m.pt2")
    assert found is not None
    assert found.probabilities < 1e-6
    files.write(trained, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        known = file.metadata()
    assert (known["run"], known["channels"]) == ("unknown", "3")
    assert json.loads(known["config"])["weights"] == "best.ckpt"
    assert str(tmp_path) not in "".join(known.values())


def test_half_precision_is_rounded_once_and_computed_in_single(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "half"
    assert cli.main(["export", str(run), "--half", "-o", str(folder)]) == 0
    assert sorted(each.name for each in folder.iterdir()) == ["README.md", "card.json", "model.safetensors"]
    assert "Predictor(" in capsys.readouterr().out

    trained, again = load(run, "cpu"), load(folder / "model.safetensors", "cpu")
    for key, value in trained.network.state_dict().items():
        kept, rounded = again.network.state_dict()[key], value.half().float() if value.ndim > 1 else value
        assert kept.dtype == value.dtype
        assert torch.equal(kept, rounded)
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118 (not a dict)
        assert file.metadata()["weights"] == "float16"
    assert (stored["classifier.weight"], stored["features.1.running_var"]) == (torch.float16, torch.float32)

    known = json.loads((folder / "card.json").read_text())
    model = folder / "model.safetensors"
    assert known["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert (known["bytes"], known["run"], known["result"]) == (model.stat().st_size, about.run(trained), None)
    assert known["not_for"]
    assert "onnx" not in (folder / "README.md").read_text()


def test_half_precision_refuses_what_it_cannot_hold(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(run), "--half", "-o", str(tmp_path / "m.onnx")]) == 2
    assert "--half is for .safetensors files, not" in capsys.readouterr().err
    path = run / "checkpoints" / "best.ckpt"
    stored = torch.load(path, weights_only=True)
    stored["state_dict"]["model.classifier.weight"][0, 0] = 70_000
    torch.save(stored, path)
    assert cli.main(["export", str(run), "--half", "-o", str(tmp_path / "m.safetensors")]) == 2
    assert "classifier.weight has values beyond half precision" in capsys.readouterr().err
    assert {each.name for each in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("config", "{", "its metadata cannot be read"),
        ("labels", '["a", "a"]', "its class_names is not different names"),
        ("temperature", "-1", "its temperature is not a positive number"),
        ("tested", '{"test/n": "x"}', "its tested is not numbers by name"),
        ("fersweep_format", "2", "was not written by this version"),
    ],
)
def test_altered_metadata_are_refused(run: Path, tmp_path: Path, key: str, value: str, sentence: str) -> None:
    path = tmp_path / "m.safetensors"
    weights.write(load(run, "cpu"), path)
    with safe_open(path, "pt") as file:
        known = file.metadata()
    save_file(load_file(path), path, known | {key: value})
    with pytest.raises(UserError, match=sentence):
        load(path)
