"""Classes and functions that a configuration may name by ``_target_``, and their arguments."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import pydoc
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from fersweep.config import plugins
from fersweep.errors import UserError
from fersweep.text import did_you_mean, listed

OWN = (
    "fersweep.models",
    "fersweep.data.augment",
    "fersweep.data.sources",
    "fersweep.data.splits",
    "fersweep.training.optim",
)
"""Modules of this project that targets are defined in. No others: checkpoints bring their own configurations."""

FUNCTIONS = (
    *(f"fersweep.data.augment.{name}" for name in ("crop_flip", "flip_zoom", "none", "standard")),
    *(f"fersweep.data.splits.{name}" for name in ("notebook", "official", "random", "study", "subjects", "tuning")),
    "fersweep.data.splits.train_test",
    "fersweep.models.norm.batch_norm",
    "fersweep.models.study_code.glorot_uniform",
    "fersweep.models.study_code.row_batch_norm",
)
"""Functions of this project that may be named, those of ``conf/``. Its classes follow a rule, see `_is_kind`."""

MOVED = {"fersweep.optim.": "fersweep.training.optim."}
"""Modules by the names of earlier versions; a run's identity contains only the name within the module."""

LIBRARIES = {
    "torch.nn": "torch.nn.Module",
    "torch.optim": "torch.optim.Optimizer",
    "pytorch_lightning.callbacks": "pytorch_lightning.Callback",
}
"""Library modules of which subclasses of one class may be named."""


def current(target: str) -> str:
    """Return the present name of a target that an earlier version may have written."""
    for before, now in MOVED.items():
        if target.startswith(before):
            return now + target.removeprefix(before)
    return target


def find(target: str) -> Callable[..., Any]:
    """Return the class or function that a configuration names.

    Raises:
        UserError: it does not exist, may not be named, or belongs to a plugin that is not in use.
    """
    return _find(target, plugins.used())


@lru_cache(maxsize=1024)
def _find(target: str, _used: tuple[str, ...]) -> Callable[..., Any]:
    target = current(target)
    parent, _, name = target.rpartition(".")
    public = not any(part.startswith("_") for part in target.split("."))
    if parent in LIBRARIES:
        found = getattr(importlib.import_module(parent), name, None)
        if found is None:
            raise UserError(f"_target_={target} does not exist.")
        if public and _is_subclass(found, LIBRARIES[parent]):
            return found
    elif public and (within := _within(target)):
        found = pydoc.locate(target)
        if found is None:
            raise UserError(f"_target_={target} does not exist.")
        method = "." in getattr(found, "__qualname__", ".")
        here = _within(str(getattr(found, "__module__", ""))) == within
        if callable(found) and here and not method and (within != "fersweep" or _is_kind(found)):
            return found
    raise UserError(
        f"_target_={target} is not allowed: it must be defined in {', '.join((*OWN, *plugins.used()))} as a public "
        f"class or a function that an option names, or be a class of {', '.join(LIBRARIES)}; "
        "name your own module with plugins=[MODULE]."
    )


def _is_kind(found: Any) -> bool:
    """Return whether a definition of this project is a network, an optimiser, a dataset or one of `FUNCTIONS`."""
    if not isinstance(found, type):
        return f"{found.__module__}.{found.__qualname__}" in FUNCTIONS
    if found.__module__.startswith("fersweep.data.sources."):
        return callable(getattr(found, "load", None)) and callable(getattr(found, "fingerprint", None))
    return any(_is_subclass(found, LIBRARIES[library]) for library in ("torch.nn", "torch.optim"))


def _is_subclass(found: Any, kind: str) -> bool:
    above = pydoc.locate(kind)
    return isinstance(found, type) and isinstance(above, type) and issubclass(found, above)


def _within(name: str) -> str | None:
    """Return ``fersweep`` or the plugin that a dotted name lies in, or ``None`` if it may not be named."""
    if any(f"{name}.".startswith(f"{each}.") for each in OWN):
        return "fersweep"
    return plugins.owner(name)


def parameters(target: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class or function by name, without ``self``."""
    return _parameters(find(target))


@lru_cache(maxsize=1024)
def _parameters(found: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(found).parameters


def takes(target: str, argument: str) -> bool:
    """Return whether a class or function takes an argument."""
    known = parameters(target)
    return argument in known or any(each.kind is each.VAR_KEYWORD for each in known.values())


def needs(target: str, argument: str) -> bool:
    """Return whether a class or function takes an argument that has no default."""
    known = parameters(target)
    return argument in known and known[argument].default is inspect.Parameter.empty


def check(node: Any, modules: Sequence[str] = ()) -> None:
    """Check every ``_target_`` in a plain config node, at any depth, and its arguments' names and kinds.

    Args:
        node: resolved; a remaining interpolation is refused, as it would be resolved only when the object is built.
        modules: modules in which every target must be defined, plugins aside; default: any that `find` allows.

    Raises:
        UserError: as `find`, for an argument that is unknown or of another kind (`KINDS`), and for an interpolation.
    """
    if isinstance(node, str) and "${" in node:
        raise UserError(f"{node!r} is an interpolation where a value is needed: write the value itself.")
    if isinstance(node, Mapping) and "_target_" in node:
        _check_target(node, modules)
    inner = [*node, *node.values()] if isinstance(node, Mapping) else node if isinstance(node, list) else []
    for each in inner:
        check(each, modules)


def _check_target(node: Mapping[str, Any], modules: Sequence[str]) -> None:
    target = str(node["_target_"])
    if modules and not target.startswith(tuple(f"{each}." for each in modules)) and not plugins.owner(target):
        raise UserError(f"_target_={target} is not allowed here: it must be defined in {', '.join(modules)}.")
    known = [name for name, each in parameters(target).items() if each.kind is not each.VAR_POSITIONAL]
    for argument in node:
        if argument in ("_target_", "_partial_"):
            continue
        if str(argument).startswith("_"):  # Hydra's, such as _convert_ and _args_
            raise UserError(f"{target} has no argument {argument!r}.")
        if not takes(target, argument) or target == "torch.nn.Identity":  # which takes any and uses none
            hint = did_you_mean(argument, known)
            raise UserError(f"{target} has no argument {argument!r}{hint}; it takes {', '.join(known) or 'none'}.")
        if (parameter := parameters(target).get(argument)) is not None:
            _check_kind(target, parameter, node[argument])


def _is_integer(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "int": ("an integer", _is_integer),
    "float": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "str": ("text", lambda value: isinstance(value, str)),
    "Path": ("a path", lambda value: isinstance(value, str | PurePath)),
    "None": ("null", lambda value: value is None),
}
"""Annotations that are checked, alone or joined by ``|``: what they stand for in words, and the test of a value."""


def _check_kind(target: str, parameter: inspect.Parameter, value: Any) -> None:
    """Raise UserError for an argument that is not of its annotation, as far as `KINDS` know that."""
    annotation = parameter.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    kinds = [KINDS.get(each.strip()) for each in text.split("|")]
    if isinstance(value, Mapping) or value is parameter.default or None in kinds:
        return
    known = list(filter(None, kinds))
    if not any(fits(value) for _, fits in known):
        given = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
        must = listed([words for words, _ in known], "or")
        raise UserError(f"{parameter.name}={given} does not fit {target}: it must be {must}.")


def identity_of(target: str) -> str:
    """Return the name of a class or function in a run's identity.

    For this project that is the name within the module, so that it may move; for others the full dotted name.
    """
    return find(target).__qualname__ if target.startswith("fersweep.") else target


def defaults(target: str) -> dict[str, Any]:
    """Return the default arguments of a class or function of this project or a plugin; for a library, nothing.

    A run's identity leaves out arguments at their defaults, which must therefore never change. Libraries do not promise
    that.
    """
    if not target.startswith("fersweep.") and plugins.owner(target) is None:
        return {}
    return {name: each.default for name, each in parameters(target).items() if each.default is not each.empty}


def asides(target: str) -> frozenset[str]:
    """Return the arguments of a dataclass that are no part of a run's identity (`fersweep.config.schema.aside`)."""
    found = find(target)
    given = dataclasses.fields(found) if dataclasses.is_dataclass(found) else ()
    return frozenset(each.name for each in given if not each.metadata.get("identity", True))


def import_own() -> None:
    """Import every module of this project that a configuration may name."""
    for name in OWN:
        module = importlib.import_module(name)
        for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
            importlib.import_module(f"{name}.{found.name}")
