"""Checkpoints that were damaged or made to harm: one sentence, before anything is built from them."""

from __future__ import annotations

import random
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import write_checkpoint
from conftest import SMALL

from fersweep.errors import UserError
from fersweep.inference import trained
from fersweep.training import checkpoint

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an untrained network."""
    return write_checkpoint(tmp_path_factory.mktemp("good") / "good.ckpt", *SMALL, "backbone=aer_cnn", "attention=none")


def changed(good: Path, path: Path, change: Change) -> Path:
    content = torch.load(good, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def test_a_flipped_bit_is_noticed(good: Path, tmp_path: Path) -> None:
    trained.load(good, "cpu")
    whole = good.read_bytes()
    with zipfile.ZipFile(good) as file:
        largest = max(file.infolist(), key=lambda member: member.file_size)
    draw = random.Random(0)
    for _ in range(20):
        damaged = bytearray(whole)
        place = largest.header_offset + 200 + draw.randrange(largest.file_size - 400)
        damaged[place] ^= 1 << draw.randrange(8)
        path = tmp_path / "flipped.ckpt"
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is not a readable checkpoint: it is damaged"):
            checkpoint.load(path)


def content_of(path: Path) -> str:
    """Return everything that a checkpoint loads, as text."""
    content = checkpoint.load(path)
    return repr(content | {"state_dict": {name: (each.dtype, each.tolist()) for name, each in state(content)}})


def state(content: dict[str, Any]) -> list[tuple[str, torch.Tensor]]:
    return list(content["state_dict"].items())


@pytest.fixture(scope="module")
def small(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two short tensors."""
    content = torch.load(good, weights_only=True)
    content["state_dict"] = {"model.a": torch.arange(6.0), "model.b": torch.ones(3)}
    path = tmp_path_factory.mktemp("small") / "small.ckpt"
    torch.save(content, path)
    return path


def test_no_flipped_bit_of_a_zip_header_changes_what_is_loaded(small: Path, tmp_path: Path) -> None:
    """Headers have no checksum, and torch and Python's zipfile read some fields differently."""
    whole, good = small.read_bytes(), content_of(small)
    with zipfile.ZipFile(small) as file:
        begin = file.start_dir
        entry = next(46 + len(each.filename) for each in file.infolist())
        second = [each.header_offset for each in file.infolist()][1]
    places = [*range(begin, begin + entry), *range(second, second + 30), *range(len(whole) - 98, len(whole))]
    path, refused = tmp_path / "flipped.ckpt", 0
    for number, place in enumerate(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << number % 8
        path.write_bytes(damaged)
        try:
            assert content_of(path) == good, place
        except UserError:
            refused += 1
    assert len(places) // 3 < refused < len(places)


def as_folder(file: zipfile.ZipFile) -> None:
    file.infolist()[-1].external_attr |= 0x10


def other_size(file: zipfile.ZipFile) -> None:
    file.infolist()[-1].file_size += 8


def twice(file: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr(file.infolist()[-1].filename, b"1234")


def twice_but_for_case(file: zipfile.ZipFile) -> None:
    file.writestr(file.infolist()[-1].filename.upper(), b"1234")


@pytest.mark.parametrize("change", [as_folder, other_size, twice, twice_but_for_case])
def test_members_that_torch_reads_otherwise_than_they_are_checked(
    small: Path, tmp_path: Path, change: Callable[[zipfile.ZipFile], None]
) -> None:
    path = tmp_path / "changed.ckpt"
    with zipfile.ZipFile(small) as file, zipfile.ZipFile(path, "w") as other:
        for member in file.infolist():
            other.writestr(member.filename, file.read(member))
        assert checkpoint.load(small)
        change(other)
    with pytest.raises(UserError, match="is not a readable checkpoint: it is damaged"):
        checkpoint.load(path)


def test_a_checkpoint_packed_anew_without_compression_loads(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "anew.ckpt"
    with zipfile.ZipFile(small) as file, zipfile.ZipFile(path, "w") as other:
        for member in file.infolist():
            other.writestr(member.filename, file.read(member))
    assert content_of(path) == content_of(small)


def test_bytes_before_the_first_member_are_refused(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "prefixed.ckpt"
    path.write_bytes(b"#!/bin/sh\n" + small.read_bytes())
    with pytest.raises(UserError, match="is not a readable checkpoint: it is damaged"):
        checkpoint.load(path)


def test_a_compressed_checkpoint_is_refused(good: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.ckpt"
    with zipfile.ZipFile(good) as file, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for member in file.infolist():
            other.writestr(member.filename, file.read(member))
    with pytest.raises(UserError, match="is not a readable checkpoint"):
        checkpoint.load(packed)


def about(**values: Any) -> Change:
    return lambda content: content["fersweep"].update(values)


def config(*keys: str, to: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        node = content["fersweep"]["config"]
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = to

    return change


def weight(to: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        state = content["state_dict"]
        state[next(iter(state))] = to

    return change


TYPES: dict[str, Change] = {
    "its class_names is not different names": about(class_names=["a", "a", "b"]),
    "its class_names is not different": about(class_names=7),
    "its class_names is": about(class_names=[["a"], 3]),
    "its temperature is not a positive number": about(temperature=float("nan")),
    "its temperature is not a positive": about(temperature=10**400),
    "its temperature is not a": about(temperature="${oc.env:HOME}"),
    "its tested is not numbers by name": about(tested={"test/accuracy": "9"}),
    "its tested is not  ?numbers by name": about(tested={"test/accuracy": 10**400}),
    "its framing is not a name": about(framing=3),
    "its class_names is not ?different names": about(class_names=["a", "\udcff"]),
    "its config.sweep is not a plain value": config("sweep", to="\udcff"),
    "its parts is not a positive whole number": about(parts=0),
    "its config is not a plain value": about(config=[1]),
    "its config.seed is not a plain value": config("seed", to=torch.zeros(3)),
    "its config.dataset is not a plain value": config("dataset", to={1: 2}),
    "its state_dict is not a table": lambda content: content.update(state_dict=[1, 2]),
    "its epoch is not a whole number": lambda content: content.update(epoch="x"),
    "is not a tensor": weight("x"),
    "weight is not a tensor": weight(torch.zeros(1).expand(2**40)),
    r"\.\S+ is not a tensor": weight(torch.zeros(3).to_sparse()),
    "bias is not a tensor|weight is not a tensor": weight(torch.empty(3, device="meta")),
}


@pytest.mark.parametrize("expected", TYPES)
def test_wrong_types_are_one_sentence(good: Path, tmp_path: Path, expected: str) -> None:
    path = changed(good, tmp_path / "wrong.ckpt", TYPES[expected])
    with pytest.raises(UserError, match=rf"^{path} is damaged or was not written by fersweep: .*({expected})"):
        trained.load(path, "cpu")


def endless(content: dict[str, Any]) -> None:
    model = {"_target_": "fersweep.models.resnet.ResNet", "depths": [3, 4, 10**12, 3]}
    content["fersweep"]["config"]["backbone"] |= {"model": model, "attention_position": "before_addition"}


SETTINGS: dict[str, Change] = {
    "whose settings differ": config("backbone", "model", to={"_target_": "torch.nn.Linear", "in_features": "x"}),
    "is not allowed": config(
        "backbone", "model", to={"_target_": "torch.nn.attention._fa3._fa3_import_module", "module_path": "evil"}
    ),
    "is not allowed:": config("backbone", "model", to={"_target_": "fersweep.data.sources.fer2013.download"}),
    "is not resolved": config("dataset", "title", to="${oc.env:HOME}"),
    "image_size=1000000 is out of range": config("dataset", "image_size", to=1_000_000),
    "crop=1000000 is out of range": config("recipe", "crop", to=1_000_000),
    "whose settings differ ": config("plugins", to=3),
    " whose settings differ": config("dataset", to=None),
    "its configuration is not that of its weights": config(
        "backbone", "model", to={"_target_": "torch.nn.Linear", "in_features": 2**20, "out_features": 2**20}
    ),
    r"it describes more than [\d,]+ layers": endless,
    "whose settings differ  ": config(
        "backbone", "model", to={"_target_": "torch.nn.Linear", "in_features": 2**70, "out_features": 2}
    ),
}


@pytest.mark.parametrize("expected", SETTINGS)
def test_a_hostile_configuration_is_one_sentence_and_takes_no_memory(good: Path, tmp_path: Path, expected: str) -> None:
    path = changed(good, tmp_path / "hostile.ckpt", SETTINGS[expected])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=expected.strip()) as caught:
        trained.load(path, "cpu")
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
