"""Files under ``conf``: each composes, validates and has the name of its option."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from conftest import plain, train_process
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from fersweep.build import check, make, model
from fersweep.config.checks import validate
from fersweep.config.compose import compose_config
from fersweep.config.options import config_dir, is_search, options
from fersweep.config.schema import GROUPS, choices_of, register

FILES = sorted(path.relative_to(config_dir()).as_posix() for path in config_dir().rglob("*") if path.is_file())


CHOSEN = [file.removesuffix(".yaml") for file in FILES if "/" in file and "/_" not in file]


SPLITS = {
    file.stem: yaml.safe_load(file.read_text()).get("splits", ())
    for file in sorted((config_dir() / "dataset").glob("*.yaml"))
}
"""The splits that each dataset names."""

BASES = [file for file in FILES if "/_" in file]


@cache
def composed(file: str) -> tuple[DictConfig, frozenset[str]]:
    """Compose defaults with one file chosen; return the configuration and the files of ``conf`` in it."""
    group, _, option = file.rpartition("/")
    overrides = [f"{group}={option}"]
    if group == "dataset" and option != "synthetic":
        overrides += ["dataset.root=somewhere", "split=random"]
    if file == "recipe/notebook":
        overrides += ["backbone=aer_cnn"]
    if file == "activation/own":
        overrides += ["backbone=timm"]
    if group == "experiment" and is_search([f"experiment={option}"]):
        overrides += ["hydra/sweeper=search"]
    if group == "split" and option not in SPLITS["synthetic"]:
        overrides += [f"dataset={next(each for each in SPLITS if option in SPLITS[each])}", "dataset.root=somewhere"]
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        whole = compose("train", overrides, return_hydra_config=True)
        if group == "experiment" and whole.dataset.name != "synthetic":
            whole = compose("train", [*overrides, "dataset.root=somewhere"], return_hydra_config=True)
    chosen = OmegaConf.to_container(whole.hydra.runtime.choices)
    assert isinstance(chosen, dict)
    used = {f"{group}/{option}.yaml" for group, option in chosen.items()} | {"train.yaml"}
    return OmegaConf.masked_copy(whole, [key for key in whole if key != "hydra"]), frozenset(used & set(FILES))


@pytest.mark.parametrize("file", CHOSEN)
def test_every_file_composes_validates_and_bears_its_name(file: str) -> None:
    cfg, used = composed(file)
    assert f"{file}.yaml" in used
    validate(cfg)
    group, _, option = file.rpartition("/")
    if group in GROUPS:
        assert choices_of(plain(cfg))[group] == option
    if group in ("backbone", "attention", "activation", "fidelity"):
        check(cfg, num_classes=7)
    make(cfg.split.function)
    make(cfg.augmentation.transform)(image_size=48)
    make(cfg.recipe.optimizer)


def test_no_file_is_left_out() -> None:
    reached = frozenset[str]().union(*(composed(file)[1] for file in CHOSEN))
    assert sorted([*reached, *BASES]) == FILES
    for file in BASES:
        group = Path(file).parent
        users = [each for each in FILES if Path(each).parent == group and each != file]
        naming = [each for each in users if Path(file).stem in (config_dir() / each).read_text()]
        assert naming == users if file.endswith("/_base.yaml") else naming, file


def test_the_groups_are_those_of_the_contract() -> None:
    assert {Path(file).parts[0] for file in CHOSEN} == {*GROUPS, "callbacks", "experiment", "hydra"}
    cfg = compose_config([])
    assert choices_of(plain(cfg)) == {
        "backbone": "resnet50",
        "attention": "cbam",
        "activation": "elu",
        "fidelity": "paper",
        "dataset": "synthetic",
        "split": "official",
        "augmentation": "flip_zoom",
        "recipe": "quick",
        "trainer": "auto",
        "logger": "csv",
    }
    assert list(plain(cfg))[:10] == list(GROUPS)


@pytest.mark.parametrize(("dataset", "size"), [("fer2013", 64), ("ckplus", 16), ("jaffe", 4), ("folder", 64)])
def test_the_study_recipe_takes_the_batch_size_of_the_dataset(dataset: str, size: int) -> None:
    cfg = compose_config(["recipe=study", f"dataset={dataset}", "dataset.root=x"])
    assert cfg.recipe.batch_size == size
    recipe = cfg.recipe
    assert (recipe.optimizer._target_, recipe.optimizer.lr, recipe.optimizer.eps) == (
        "fersweep.training.optim.KerasAdam",
        1e-4,
        1e-7,
    )
    assert recipe.augment_validation
    assert (recipe.max_epochs, recipe.early_stopping_patience, recipe.schedule) == (200, 15, "constant")


def test_networks_are_built_for_the_side_of_the_crop() -> None:
    for backbone in ("vgg16", "drf_msam"):
        cfg = compose_config(["recipe=scratch", f"backbone={backbone}", "attention=none"])
        assert (cfg.recipe.crop, cfg.dataset.image_size, cfg.augmentation.name) == (44, 48, "crop_flip")
        check(cfg, num_classes=7)
        with torch.device("meta"):
            assert model(cfg, 7).image_size == 44


def test_the_public_recipe_is_that_of_its_code() -> None:
    recipe = compose_config(["recipe=fer_pytorch"]).recipe
    optimizer = recipe.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay, optimizer.nesterov) == (0.01, 0.9, 5e-4, False)
    assert (recipe.schedule, recipe.step_start, recipe.step_epochs, recipe.step_factor) == ("step", 80, 5, 0.9)
    assert (recipe.gradient_clip, recipe.gradient_clip_mode, recipe.warmup_epochs) == (0.1, "value", 0)
    assert (recipe.max_epochs, recipe.batch_size, recipe.crop, recipe.test_crops) == (250, 128, 44, 10)


def test_the_modern_recipe_brings_its_augmentation_which_can_still_be_chosen() -> None:
    assert compose_config(["recipe=modern"]).augmentation.name == "standard"
    assert compose_config(["recipe=modern", "augmentation=none"]).augmentation.name == "none"


def test_options_lists_what_lies_in_the_folder() -> None:
    assert {"cbam", "eca", "none", "se"} <= set(options("attention"))
    assert "_base" not in options("recipe")
    assert options("nothing") == ()


def test_help_and_the_config_can_be_read(tmp_path: Path) -> None:
    helped = train_process(tmp_path, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    lines = helped.stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("backbone: ", "experiment: "))) <= 120
    assert len(lines) < 40
    for group in GROUPS:
        (line,) = (line for line in lines if line.startswith(f"{group}: "))
        assert line.partition(": ")[2].split(", ") == list(options(group))
    shown = train_process(tmp_path, "--cfg", "job", "attention=eca", "recipe.max_epochs=3")
    assert (shown.returncode, shown.stderr) == (0, "")
    cfg = OmegaConf.create(shown.stdout)
    assert (cfg.attention, cfg.recipe.max_epochs) == (plain(compose_config(["attention=eca"]))["attention"], 3)
    assert list(cfg)[:10] == list(GROUPS)
    assert list(tmp_path.iterdir()) == []


def test_configurations_do_not_share_state(small: Callable[..., DictConfig]) -> None:
    one = small("seed=2")
    assert small().seed == 1
    assert one.seed == 2


@pytest.mark.parametrize("name", ["debug_batch", "debug_overfit", "debug_profile"])
def test_the_debug_ladder_can_be_climbed_again(name: str) -> None:
    cfg = compose_config([f"experiment={name}"])
    assert cfg.force
    assert cfg.sweep == "debug"
