"""A run's name: what makes it another run, what does not, and that it is a good name for a folder."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import plain, quickly_composed
from omegaconf import OmegaConf

from fersweep.config import GROUPS
from fersweep.sweep.identity import LATER, LATER_FAMILIES, NOT_IDENTITY, identity, run_dir, run_hash, slug


def config(*overrides: str) -> dict[str, Any]:
    return plain(quickly_composed(*overrides))


def test_the_hash_of_given_settings_never_changes() -> None:
    """Were this to fail, every finished run on every disk would be forgotten."""
    settings: dict[str, Any] = {group: {"name": f"a {group}"} for group in GROUPS}
    settings |= {"seed": 3, "weights": None, "outputs": "/anywhere", "sweep": "runs", "cache": None, "force": False}
    settings["recipe"] |= {"optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-4}, "max_epochs": 200}
    settings["dataset"] |= {"root": "/data", "image_size": 48}
    assert run_hash(settings) == "d904a21a2a"
    assert run_hash(dict(reversed(settings.items()))) == "d904a21a2a"


@pytest.mark.parametrize(
    ("overrides", "known"),
    [
        ("", "ea9042ea54"),
        ("backbone=vgg16 attention=se fidelity=code recipe=study", "8f9122932b"),
        ("dataset=fer2013 dataset.root=x recipe=modern", "c57db00012"),
    ],
)
def test_runs_from_before_there_were_more_settings_keep_their_names(overrides: str, known: str) -> None:
    """The hashes that these had then, though the settings and families that came later are there now."""
    settings = config(*overrides.split())
    assert run_hash(settings) == known
    assert set(LATER_FAMILIES) < set(settings["fidelity"])
    for dotted, before in LATER.items():
        assert OmegaConf.select(OmegaConf.create(settings), dotted) == before


@pytest.mark.parametrize(
    "overrides",
    [
        "outputs=/elsewhere",
        "sweep=table",
        "cache=/tmp/cache",
        "force=true",
        "logger=wandb",
        "logger=wandb logger.project=mine logger.tags=[a]",
        "logger=tensorboard",
        "trainer=cpu",
        "trainer=gpu",
        "trainer=ddp",
        "trainer=ddp_cpu trainer.devices=4 trainer.num_nodes=2",
        "trainer.auto_microbatch=true",
        "trainer.accelerator=cpu",
        "trainer.memory_format=contiguous",
        "trainer.compile=true",
        "trainer.workers=2",
        "trainer.progress_bar=false",
        "trainer.profiler=simple",
        "dataset.batch_size=7",
        "backbone.lr=0.1 backbone.epochs=7",
        "dataset.preprocessing.min_max=false dataset.preprocessing.min_variance=0.0",
        "recipe.convolution_l2=0",
    ],
)
def test_where_and_how_fast_makes_no_other_run(overrides: str) -> None:
    assert run_hash(config(*overrides.split())) == run_hash(config())
    assert slug(config(*overrides.split())) == slug(config())


def test_the_place_of_the_data_makes_no_other_run() -> None:
    here, there = (config("dataset=fer2013", f"dataset.root={root}") for root in ("/a/fer2013.zip", "b"))
    loaded = config("dataset=fer2013", "dataset.download=true")
    assert run_hash(here) == run_hash(there) == run_hash(loaded)


@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "attention=se",
        "attention.reduction=8",
        "backbone=vgg16",
        "activation=relu",
        "activation.module.alpha=0.5",
        "dataset.image_size=64",
        "dataset.source.size=2000",
        "split=random",
        "augmentation=none",
        "augmentation.transform.zoom=0.2",
        "recipe=modern",
        "recipe.optimizer.lr=0.01",
        "recipe.batch_size=33",
        "recipe.max_epochs=99",
        "recipe.convolution_l2=0.001",
        "dataset.preprocessing.min_max=true",
        "dataset.preprocessing.equalize=true",
        "dataset.preprocessing.min_variance=10",
        "trainer.precision=32",
        "trainer.limit_batches=3",
        "trainer.overfit_batches=3",
    ],
)
def test_whatever_can_change_a_result_makes_another_run(override: str) -> None:
    assert run_hash(config(override)) != run_hash(config())


def test_weights_count_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name, content in (
        ("a.ckpt", b"one"),
        ("b.ckpt", b"one"),
        ("c.ckpt", b"two"),
        ("run/checkpoints/best.ckpt", b"one"),
    ):
        (tmp_path / name).write_bytes(content)
    first, same, other, run = (
        run_hash(config(f"weights={tmp_path / name}")) for name in ("a.ckpt", "b.ckpt", "c.ckpt", "run")
    )
    assert first == same == run
    assert len({first, other, run_hash(config())}) == 3


def test_equal_numbers_are_the_same_run() -> None:
    assert run_hash(config("attention=eca", "attention.gamma=2")) == run_hash(
        config("attention=eca", "attention.gamma=2.0")
    )


def test_the_batch_size_of_a_dataset_counts_where_a_recipe_uses_it() -> None:
    one, other = (config("recipe=study", f"dataset.batch_size={size}") for size in (8, 16))
    assert run_hash(one) != run_hash(other)


def test_every_setting_is_either_identity_or_named_as_none() -> None:
    settings = config()
    before = copy.deepcopy(settings)
    kept = identity(settings)
    assert settings == before  # it is not changed on the way
    for dotted in NOT_IDENTITY:
        node: Any = settings
        for key in dotted.split("."):
            assert key in node, f"{dotted} is no setting"
            node = node[key]
    assert set(settings) - set(kept) == {"outputs", "sweep", "cache", "force", "logger"}
    assert set(kept["trainer"]) == {"precision", "limit_batches", "overfit_batches"}
    left_out = {"root", "download", "batch_size", "preprocessing", "faces", "face_crop"}
    assert set(settings["dataset"]) - set(kept["dataset"]) == left_out
    assert set(settings["backbone"]) - set(kept["backbone"]) == {"lr", "epochs"}
    assert set(settings["recipe"]) - set(kept["recipe"]) == {"convolution_l2"}
    assert set(settings["fidelity"]) - set(kept["fidelity"]) == {"aer_cnn", "msff_cnn", "drf_msam"}
    assert all(set(settings[group]) == set(kept[group]) for group in ("attention", "activation", "split"))


@pytest.mark.parametrize(
    ("override", "group", "key", "value"),
    [
        ("dataset.preprocessing.min_max=true", "dataset", "preprocessing", {"min_max": True}),
        ("dataset.preprocessing.equalize=true", "dataset", "preprocessing", {"equalize": True}),
        ("dataset.preprocessing.min_variance=0.5", "dataset", "preprocessing", {"min_variance": 0.5}),
        ("recipe.convolution_l2=1e-4", "recipe", "convolution_l2", 1e-4),
    ],
)
def test_a_later_setting_is_part_of_the_identity_once_it_is_on(
    override: str, group: str, key: str, value: object
) -> None:
    settings = config(override)
    assert identity(settings)[group][key] == value
    assert run_hash(settings) != run_hash(config())


def test_a_network_that_is_not_built_is_none_of_the_identity() -> None:
    """With fidelity=code these backbones' own settings describe nothing that is built."""
    settings = config("backbone=drf_msam", "fidelity=code")
    other = copy.deepcopy(settings)
    other["backbone"]["model"]["size"] = "base"
    assert run_hash(other) == run_hash(settings)
    paper = config("backbone=drf_msam")
    assert run_hash(config("backbone=drf_msam", "backbone.model.size=base")) != run_hash(paper)


@pytest.mark.parametrize("family", LATER_FAMILIES)
def test_how_a_later_family_is_built_counts_for_its_own_runs_alone(family: str) -> None:
    settings = config(f"backbone={family}", "fidelity=code")
    kept = identity(settings)["fidelity"]
    assert {each for each in LATER_FAMILIES if each in kept} == {family}
    assert kept[family] == settings["fidelity"][family]
    changed = copy.deepcopy(settings)
    for other in LATER_FAMILIES:
        changed["fidelity"][other] = {"_target_": "another"} if other != family else changed["fidelity"][other]
    assert run_hash(changed) == run_hash(settings)
    changed["fidelity"][family] = {"_target_": "another"}
    assert run_hash(changed) != run_hash(settings)


def test_a_variant_of_msff_cnn_is_another_run() -> None:
    own = ("backbone=msff_cnn", "fidelity=code", "recipe=notebook")
    overrides = ((), ("fidelity.msff_cnn.dropout=0.3",), ("recipe.convolution_l2=1e-3",), ("backbone.epochs=7",))
    assert len({run_hash(config(*own, *each)) for each in overrides}) == 4


def test_the_directory_is_readable_safe_and_without_a_time() -> None:
    settings = config("sweep=table_1", "outputs=/data/out", "backbone=resnetv2_50", "seed=12")
    directory = run_dir(settings)
    assert directory == Path("/data/out/table_1") / f"{slug(settings)}-{run_hash(settings)}"
    assert slug(settings) == "resnetv2_50-cbam-elu-paper-synthetic-official-flip_zoom-quick-s12"
    assert re.fullmatch(r"[a-z0-9_-]+", directory.name)
    assert len(directory.name.encode()) < 200
    assert re.fullmatch(r"[0-9a-f]{10}", run_hash(settings))
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d-\d\d-\d\d|\d\d:\d\d", str(directory))
    assert run_dir(config("sweep=table_1", "outputs=/data/out", "backbone=resnetv2_50", "seed=12")) == directory
