"""Modules of a user's own, whose classes a configuration may name and whose ``conf`` folder holds further options.

A plugin is named by whoever starts a command (``plugins=[mylab]``, ``--plugin mylab``), never by a file that comes from
elsewhere: a checkpoint that needs one is loaded only where the same plugin is named (docs/how-to/extend.md).
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
    """Import plugins, from the working directory too, and let configurations name what they define.

    Raises:
        UserError: a plugin is not there, or raises when it is imported.
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
                raise UserError(
                    f"The plugin {name} is not found: start where {name.partition('.')[0]}.py or the folder "
                    f"{name.partition('.')[0]} lies, or put its place on PYTHONPATH."
                ) from error
            raise UserError(f"The plugin {name} cannot be imported: there is no module {error.name}.") from error
        except (Exception, SystemExit) as error:
            raise UserError(f"The plugin {name} cannot be imported ({type(error).__name__}: {error}).") from error


def used() -> tuple[str, ...]:
    """The names of the plugins in use."""
    return tuple(_used)


def owner(target: str) -> str | None:
    """The plugin in use that a dotted name belongs to, ``None`` where there is none."""
    return next((name for name in _used if f"{target}.".startswith(f"{name}.")), None)


def folders() -> list[Path]:
    """The ``conf`` folders of the plugins in use."""
    found = [Path(place) / "conf" for module in _used.values() for place in getattr(module, "__path__", ())]
    return [folder for folder in found if folder.is_dir()]
