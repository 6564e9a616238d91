"""Plugins: a user's modules, whose classes a configuration may name and whose ``conf`` folders add options.

Only the command line names plugins (``plugins=[mylab]``, ``--plugin mylab``). A checkpoint that needs one loads only if
the same plugin is named, so that a file from elsewhere cannot import code (docs/how-to/extend.md).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from fersweep.errors import UserError

_used: dict[str, ModuleType] = {}


def use(names: Iterable[str]) -> None:
    """Import plugins, also from the working directory, and allow configurations to name their classes.

    Raises:
        UserError: a plugin does not exist, or raises an error on import.
    """
    for name in names:
        if name in _used:
            continue
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
        importlib.invalidate_caches()
        try:
            _used[name] = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and f"{name}.".startswith(f"{error.name}."):
                top = name.partition(".")[0]
                raise UserError(
                    f"The plugin {name} is not found: start in the folder that holds {top}.py or {top}/, "
                    "or add that folder to PYTHONPATH."
                ) from error
            raise UserError(f"The plugin {name} cannot be imported: the module {error.name} does not exist.") from error
        except (Exception, SystemExit) as error:
            raise UserError(f"The plugin {name} cannot be imported ({type(error).__name__}: {error}).") from error


def used() -> tuple[str, ...]:
    """Return the names of the plugins in use."""
    return tuple(_used)


def owner(target: str) -> str | None:
    """Return the plugin in use that a dotted name belongs to, or ``None``."""
    return next((name for name in _used if f"{target}.".startswith(f"{name}.")), None)


def places(name: str) -> list[Path]:
    """Return the module's file, or the folders of the package, that a plugin in use comes from; none if unknown.

    Of ``mylab.networks`` it is the package ``mylab``.
    """
    module = sys.modules.get(name.partition(".")[0])
    found = [Path(place) for place in getattr(module, "__path__", ())]
    file = getattr(module, "__file__", None)
    return found or ([Path(file)] if file else [])


def folders() -> list[Path]:
    """Return the ``conf`` folders of the plugins in use."""
    found = [Path(place) / "conf" for module in _used.values() for place in getattr(module, "__path__", ())]
    return [folder for folder in found if folder.is_dir()]
