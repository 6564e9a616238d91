"""Names that a configuration, and so a stranger's checkpoint, may give as ``_target_``."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest
import torch

import fersweep
from fersweep.config import targets
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
