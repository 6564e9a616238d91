"""Facial emotion recognition experiments anyone can run, trust and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fersweep.build import build_model as build_model
    from fersweep.inference.predict import Predictor as Predictor

__all__ = ["Predictor", "build_model"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that importing the package alone takes no time."""
    if name == "build_model":
        from fersweep.build import build_model

        return build_model
    if name == "Predictor":
        from fersweep.inference.predict import Predictor

        return Predictor
    raise AttributeError(f"module 'fersweep' has no attribute {name!r}")
