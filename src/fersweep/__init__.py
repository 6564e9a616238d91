"""Facial emotion recognition experiments anyone can run, trust and compare."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fersweep.build import build_model as build_model
    from fersweep.inference.predict import Predictor as Predictor

__all__ = ["Predictor", "build_model"]

_PUBLIC = {"Predictor": "inference.predict", "build_model": "build"}

_MOVED = {
    **{name: f"config.{name}" for name in ("checks", "command_line", "compose", "plugins", "targets")},
    **{name: f"inference.{name}" for name in ("demo", "explain", "export", "predict", "trained")},
    **{f"sweep.{name}": f"runs.{name}" for name in ("collect", "identity", "lock", "status")},
    **{name: f"training.{name}" for name in ("calibration", "callbacks", "checkpoint", "distributed")},
    **{name: f"training.{name}" for name in ("module", "optim")},
    "paths": "files",
    "record": "training.results",
    "search": "config.options",
}
"""Modules by their names in fersweep 0.1, which still import."""


def __getattr__(name: str) -> Any:
    """Import public names on first use: ``import fersweep`` alone takes no time."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fersweep' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fersweep.{_PUBLIC[name]}"), name)


class _MovedModules(MetaPathFinder, Loader):
    """Imports a module of fersweep 0.1 as the one that it has become, with a warning."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        name = fullname.removeprefix("fersweep.")
        return ModuleSpec(fullname, self) if name in _MOVED and name != fullname else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        now = f"fersweep.{_MOVED[spec.name.removeprefix('fersweep.')]}"
        warnings.warn(f"{spec.name} is now {now}.", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(now)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_MovedModules())
