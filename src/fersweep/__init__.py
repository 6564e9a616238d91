"""Facial emotion recognition experiments anyone can run, trust and compare."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fersweep.build import build_model as build_model
    from fersweep.inference.predict import Predictor as Predictor

__all__ = ["Predictor", "build_model"]

_MODULES = {"Predictor": "fersweep.inference.predict", "build_model": "fersweep.build"}


def __getattr__(name: str) -> Any:
    """Import public names on first use: ``import fersweep`` alone takes no time."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fersweep' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
