"""``weights=`` with a file of ``fersweep export``: what was trained once is where the next run starts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from checkpoints import write_checkpoint
from conftest import NARROW, quickly_composed
from safetensors.torch import load_file, save_file

from fersweep import build
from fersweep.cli.main import main as cli
from fersweep.errors import UserError
from fersweep.training import initial, weights_file

SMALL = ("backbone=resnet18", "backbone.model.stem=small", "backbone.model.width=4")
TIMM = ("backbone=timm", "backbone.model.name=test_resnet", "dataset.image_size=64")


def exported(folder: Path, *overrides: str) -> Path:
    """Export a checkpoint of random weights; return the file."""
    checkpoint = write_checkpoint(folder / "best.ckpt", *overrides)
    file = folder / "model.safetensors"
    assert cli(["export", str(checkpoint), "-o", str(file)]) == 0
    return file


@pytest.mark.parametrize(
    "overrides", [(*SMALL, "attention=cbam"), TIMM, (*TIMM, "attention=se")], ids=["own", "timm", "timm with SE"]
)
def test_an_exported_file_gives_the_weights_that_were_exported(overrides: tuple[str, ...], tmp_path: Path) -> None:
    cfg = quickly_composed(*overrides)
    cfg.weights = str(exported(tmp_path, *overrides))
    torch.manual_seed(1)
    network = build.model(cfg, 7)
    expected = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    assert not all(torch.equal(value, expected[f"model.{key}"]) for key, value in network.state_dict().items())
    initial.load(network, cfg)
    assert all(torch.equal(value, expected[f"model.{key}"]) for key, value in network.state_dict().items())


def test_a_file_of_another_network_is_refused_by_its_name(tmp_path: Path) -> None:
    cfg = quickly_composed(*SMALL, "attention=eca")
    cfg.weights = str(exported(tmp_path, *SMALL, "attention=se"))
    with pytest.raises(UserError, match=r"model\.safetensors has another architecture \(.* \+ SE"):
        initial.load(build.model(cfg, 7), cfg)


def test_a_file_with_numbers_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    file = exported(tmp_path, *NARROW)
    metadata = weights_file.metadata(file)
    tensors = load_file(file)
    name = next(name for name in sorted(tensors) if name.endswith("weight"))
    tensors[name].fill_(math.nan)
    save_file(tensors, file, metadata)
    cfg = quickly_composed(*NARROW)
    cfg.weights = str(file)
    with pytest.raises(UserError, match=f"infinite or NaN, first in {name}"):
        initial.load(build.model(cfg, 7), cfg)


def test_a_file_of_another_program_is_refused_for_a_network_of_the_project(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "theirs.safetensors")
    cfg = quickly_composed(*NARROW)
    cfg.weights = str(tmp_path / "theirs.safetensors")
    with pytest.raises(UserError, match=r"theirs\.safetensors was not written by this version of fersweep"):
        initial.load(build.model(cfg, 7), cfg)
