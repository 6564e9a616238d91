"""Checkpoints: content, tested weights, and unreadable files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TinyNetwork, plain
from omegaconf import DictConfig
from torch import nn

from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.errors import UserError
from fersweep.inference import trained
from fersweep.run import run_one
from fersweep.runs.identity import run_dir
from fersweep.training import checkpoint
from fersweep.training.attempt import run_frozen
from fersweep.training.callbacks import AtomicCheckpointIO
from fersweep.training.module import FERModule

Small = Callable[..., DictConfig]

PLAIN = (dict, list, tuple, str, int, float, bool, type(None), torch.Tensor)


def both(directory: Path) -> list[dict[str, Any]]:
    """The best and the last checkpoint of a run."""
    folder = directory / "checkpoints"
    return [torch.load(folder / f"{name}.ckpt", weights_only=True) for name in ("best", "last")]


def all_types(node: Any) -> set[type]:
    values = (
        list(node.values()) + list(node) if isinstance(node, dict) else node if isinstance(node, list | tuple) else []
    )
    return {type(node)}.union(*(all_types(value) for value in values))


def probabilities(model: nn.Module, cfg: DictConfig) -> np.ndarray:
    """Probabilities of the test images, in the order of `predictions.parquet`."""
    samples = build.samples(cfg)
    (batch,) = build.datamodule(cfg, samples).test_dataloader()
    with torch.no_grad():
        return np.asarray(model.eval()(batch.images.float().div(255)).softmax(dim=1))


def test_checkpoints_hold_tensors_and_plain_containers_only(finished: Path) -> None:
    for content in both(finished):
        found = all_types(content)
        assert all(issubclass(each, PLAIN) for each in found), found


def test_a_checkpoint_describes_itself(finished: Path, small: Small) -> None:
    about = checkpoint.load(finished)["fersweep"]
    assert about["config"] == {**plain(small()), "outputs": about["config"]["outputs"]}
    assert about["class_names"] == ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    assert re.fullmatch("[0-9a-f]{16}", about["data_digest"])


def test_the_best_checkpoint_of_a_finished_run_has_no_training_state(finished: Path) -> None:
    best, last = both(finished)
    assert set(best) == {"fersweep", "state_dict", "epoch", "global_step", "pytorch-lightning_version"}
    assert {"optimizer_states", "lr_schedulers", "loops", "callbacks"} <= set(last)
    assert (last["epoch"], last["global_step"]) == (1, 14)


def test_the_best_checkpoint_is_what_was_tested(finished: Path, small: Small) -> None:
    model = TinyNetwork(1, 7)
    checkpoint.load_weights(model, finished)
    table = pd.read_parquet(finished / "predictions.parquet")[list(CLASSES)].to_numpy()
    assert np.allclose(probabilities(model, small()), table, atol=1e-6)


@pytest.mark.usefixtures("tiny_network")
def test_with_averaging_the_average_is_validated_kept_and_tested(small: Small) -> None:
    cfg = small("recipe.ema_decay=0.9")
    run_one(cfg)
    directory = run_dir(plain(cfg))
    best, last = (
        torch.load(directory / "checkpoints" / f"{each}.ckpt", weights_only=True) for each in ("best", "last")
    )
    weight = "model.classifier.weight"
    assert not torch.equal(best["state_dict"][weight], last["current_model_state"][weight])
    assert not torch.equal(last["state_dict"][weight], last["current_model_state"][weight])
    assert "current_model_state" not in best
    assert {key.split(".")[0] for key in best["state_dict"]} == {"model"}
    model = TinyNetwork(1, 7)
    checkpoint.load_weights(model, directory)
    assert torch.equal(model.classifier.weight, best["state_dict"][weight])
    table = pd.read_parquet(directory / "predictions.parquet")[list(CLASSES)].to_numpy()
    assert np.allclose(probabilities(model, cfg), table, atol=1e-6)
    current = {key.removeprefix("model."): value for key, value in last["current_model_state"].items()}
    model.load_state_dict(current)
    assert not np.allclose(probabilities(model, cfg), table, atol=1e-4)


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("given", ["directory", "file"])
def test_a_run_starts_from_given_weights(
    small: Small, finished: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    started: list[dict[str, torch.Tensor]] = []
    original = FERModule.on_train_batch_start

    def note(self: FERModule, batch: Any, batch_idx: int) -> None:
        if not started:
            started.append({key: value.clone() for key, value in self.model.state_dict().items()})
        original(self, batch, batch_idx)

    monkeypatch.setattr(FERModule, "on_train_batch_start", note)
    path = finished if given == "directory" else finished / "checkpoints" / "last.ckpt"
    run_one(small(f"weights={path}", "recipe.max_epochs=1"))
    expected = checkpoint.load(path)["state_dict"]
    assert {f"model.{key}" for key in started[0]} == set(expected)
    assert all(torch.equal(value, expected[f"model.{key}"]) for key, value in started[0].items())


def test_only_the_last_checkpoint_has_training_state(tmp_path: Path) -> None:
    whole = dict.fromkeys((*checkpoint.SLIM, "optimizer_states", "callbacks"), 0)
    for name in ("best", "last"):
        AtomicCheckpointIO().save_checkpoint(whole, tmp_path / "checkpoints" / f"{name}.ckpt")
    best, last = (torch.load(tmp_path / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert tuple(best) == checkpoint.SLIM
    assert last == whole


def test_no_weight_of_another_architecture_is_loaded(finished: Path) -> None:
    wider = TinyNetwork(1, 8)
    before = {key: value.clone() for key, value in wider.state_dict().items()}
    message = (
        rf"^{re.escape(str(finished))}/checkpoints/best\.ckpt has another architecture "
        r"\(ResNet-50 \+ SE, ELU, as its paper defines it\): "
        r"classifier\.weight is \(7, 128\) there and \(8, 128\) in this run; choose the same backbone"
    )
    with pytest.raises(UserError, match=message):
        checkpoint.load_weights(wider, finished)
    assert all(torch.equal(value, before[key]) for key, value in wider.state_dict().items())
    with pytest.raises(UserError, match="weight is absent there and"):
        checkpoint.load_weights(nn.Sequential(nn.Linear(3, 3)), finished)
    with pytest.raises(UserError, match=r"is .* there and absent in this run"):
        checkpoint.load_weights(nn.Sequential(), finished)


def test_files_that_are_not_checkpoints_are_refused_in_one_sentence(finished: Path, tmp_path: Path) -> None:
    whole = (finished / "checkpoints" / "best.ckpt").read_bytes()
    damaged = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "text": b"not a checkpoint",
        "noise": np.random.default_rng(0).bytes(5000),
        "pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins",
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.ckpt"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}\.ckpt is not a readable checkpoint: it is damaged"):
            checkpoint.load(path)
    foreign: dict[str, Any] = {
        "network": nn.Linear(2, 2),
        "weights": nn.Linear(2, 2).state_dict(),
        "list": [1, 2],
        "lightning": {"state_dict": {}, "epoch": 3},
        "headless": {"fersweep": {"format": 1}},
    }
    for name, content in foreign.items():
        path = tmp_path / f"{name}.ckpt"
        torch.save(content, path)
        with pytest.raises(
            UserError, match=rf"{name}\.ckpt (was not written by fersweep|is not a readable checkpoint)"
        ):
            checkpoint.load(path)
    later = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    later["fersweep"]["format"] = 2
    torch.save(later, tmp_path / "later.ckpt")
    with pytest.raises(UserError, match=r"later\.ckpt has format 2, this version reads 1"):
        checkpoint.load(tmp_path / "later.ckpt")
    with pytest.raises(UserError, match=r"There is no checkpoint .*best\.ckpt: give a \.ckpt file or the directory"):
        checkpoint.load(tmp_path)


@pytest.mark.usefixtures("tiny_network")
def test_a_damaged_last_checkpoint_is_named_and_replaced_by_force(small: Small, finished: Path) -> None:
    cfg = small()
    directory = run_dir(plain(cfg))
    (directory / "checkpoints").mkdir(parents=True)
    shutil.copy(finished / "config.yaml", directory)
    (directory / "checkpoints" / "last.ckpt").write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"last\.ckpt is not a readable .* Set force=true to start the run afresh"):
        run_one(cfg)
    run_one(small("force=true"))
    assert (directory / "result.json").is_file()


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "\\${oc.create:{_target_: pathlib.Path.touch}}"])
def test_nothing_in_a_stored_configuration_is_resolved(finished: Path, text: str) -> None:
    """An interpolation, escaped or not, could read the environment or name an unchecked target."""
    config = checkpoint.load(finished)["fersweep"]["config"]
    config["backbone"]["model"]["pooling"] = text
    with pytest.raises(UserError, match="is not resolved"):
        trained.rebuild(config, 7, finished, {})
    with pytest.raises(UserError, match="is not resolved"):
        run_frozen(config)
