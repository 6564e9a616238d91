"""Names that a configuration, and so a stranger's checkpoint, may give as ``_target_``."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import fersweep
from fersweep.config import targets
from fersweep.config.compose import check_choices, flags
from fersweep.config.options import config_dir
from fersweep.errors import UserError


def allowed(root: str) -> dict[str, object]:
    """Everything of a package that `targets.find` returns, by name: all attributes of all its modules."""
    package = importlib.import_module(root)
    modules = [root, *(each.name for each in pkgutil.walk_packages(package.__path__, f"{root}."))]
    return dict(_found(name for name in modules if not name.endswith(".__main__")))


def _found(modules: Iterator[str]) -> Iterator[tuple[str, object]]:
    for module in modules:
        for name in dir(importlib.import_module(module)):
            try:
                yield f"{module}.{name}", targets.find(f"{module}.{name}")
            except UserError:
                continue


def test_of_this_project_networks_optimisers_datasets_and_the_functions_of_options_pass() -> None:
    found = allowed(fersweep.__name__)
    functions = {f"{each.__module__}.{each.__qualname__}" for each in found.values() if not isinstance(each, type)}
    assert functions == set(targets.FUNCTIONS)
    for name, each in found.items():
        assert not any(part.startswith("_") for part in name.split("."))
        assert name.startswith(tuple(f"{module}." for module in targets.OWN))
        if isinstance(each, type):
            known = issubclass(each, (torch.nn.Module, torch.optim.Optimizer))
            assert known or each.__module__.startswith("fersweep.data.sources."), name
    assert 40 < len(found) < 120


def test_the_functions_are_those_of_the_options() -> None:
    text = "".join(file.read_text() for file in config_dir().rglob("*.yaml"))
    named = set(re.findall(r"_target_: (fersweep\.\S+)", text))
    assert {target for target in named if not isinstance(targets.find(target), type)} == set(targets.FUNCTIONS)


@pytest.mark.parametrize(("library", "kind"), [("torch.nn", torch.nn.Module), ("torch.optim", torch.optim.Optimizer)])
def test_of_torch_public_subclasses_of_one_class_pass(library: str, kind: type) -> None:
    modules = [
        library,
        *(f"{library}.{each.name}" for each in pkgutil.iter_modules(importlib.import_module(library).__path__)),
    ]
    found = dict(_found(iter(modules)))
    assert len(found) > 10
    assert all(isinstance(each, type) and issubclass(each, kind) for each in found.values())
    assert all(re.fullmatch(rf"{re.escape(library)}\.[A-Za-z]\w*", name) for name in found)


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.attention._fa3._fa3_import_module",
        "torch.nn.modules.module._load_from_file",
        "torch.nn.utils.stateless.functional_call",
        "torch.nn.init.torch.load",
        "torch.nn.functional.torch.hub.load",
        "torch.optim.lr_scheduler.LambdaLR",
        "fersweep.data.sources.fer2013.download",
        "fersweep.data.sources.base.ImageFile",
        "fersweep.models.notebook._Classifier",
        "fersweep.models.common.conv2d",
        "fersweep.data.splits.possible",
        "fersweep.data.augment.apply",
        "fersweep.models.gates.read_out",
        "fersweep.__main__.main",
        "builtins.exec",
        "5",
        "",
        ".",
        "torch.nn.",
        "fersweep.models.",
    ],
)
def test_other_names_are_refused(target: str) -> None:
    with pytest.raises(UserError, match=r"^_target_=.* (is not allowed: it must be defined in|does not exist)"):
        targets.find(target)


@pytest.mark.parametrize("value", ["maybe", 3, 0, None, [True]])
def test_arguments_that_are_true_or_false_take_nothing_else(value: object) -> None:
    checked = 0
    for target in sorted(set(re.findall(r"_target_: (\S+)", "".join(each.read_text() for each in _option_files())))):
        for name, parameter in targets.parameters(target).items():
            if parameter.annotation in ("bool", bool):
                checked += 1
                targets.check({"_target_": target, name: True})
                with pytest.raises(UserError, match=rf"^{name}=.* does not fit {target}: it must be true or false\.$"):
                    targets.check({"_target_": target, name: value})
    assert checked > 10


def _option_files() -> Iterator[Path]:
    return config_dir().rglob("*.yaml")


@pytest.mark.parametrize(
    ("target", "name", "good", "bad", "must"),
    [
        ("data.sources.ckplus.CkPlus", "peak_frames", [1, None, 3.0], ["abc", True, 1.5], "an integer or null"),
        ("data.sources.ckplus.CkPlus", "neutral", [True, None], ["maybe", 1], "true or false or null"),
        ("data.sources.ferplus.FerPlus", "votes", ["x", None, Path("x")], [3], "text, a path or null"),
        ("models.timm_network.TimmNetwork", "name", ["x"], [3, None, True], "text"),
        ("models.inception_resnet.InceptionResNetV1", "resize", [160, None], ["abc", False], "an integer or null"),
        ("models.inception_resnet.InceptionResNetV1", "dropout", [1, 0.5], ["abc", None, True], "a number"),
    ],
)
def test_texts_and_numbers_are_checked(
    target: str, name: str, good: list[object], bad: list[object], must: str
) -> None:
    for value in good:
        targets.check({"_target_": f"fersweep.{target}", name: value})
    for value in bad:
        with pytest.raises(UserError, match=rf"^{name}=.* does not fit fersweep.{target}: it must be {must}\.$"):
            targets.check({"_target_": f"fersweep.{target}", name: value})


@pytest.mark.parametrize("text", ["recipe.decay_biases=3", "force=maybe", "dataset.preprocessing.equalize=true,5"])
def test_settings_that_are_true_or_false_take_nothing_else(text: str) -> None:
    with pytest.raises(UserError, match=r"=(3|maybe|5) is not possible: set true or false\.$"):
        check_choices([text])
    check_choices([f"{text.partition('=')[0]}={word}" for word in ("true", "no", "1", "On")])
    assert {"force", "recipe.decay_biases", "trainer.compile"} < flags()
