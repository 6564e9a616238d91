"""Frozen copy of the code for the jobs of a sweep, which may start days later (``hydra.launcher.freeze_code``).

It is in the sweep's folder, ``.code/<digest>``: ``src`` and ``conf`` as in a checkout, ``plugins``, and ``frozen.json``
with the commit. Jobs find it first through ``PYTHONPATH``. Further submissions of the sweep use the same copy.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fersweep.config import plugins
from fersweep.config.options import config_dir
from fersweep.errors import UserError
from fersweep.files import write_json
from fersweep.training import code, commit
from fersweep.training.secrets import redacted

FOLDER = ".code"

MOST = 100 * 2**20
"""Bytes of a plugin that is copied."""

LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*")


def copy_for(folder: Path, names: Sequence[str]) -> Path:
    """Return the copy for the jobs of a sweep: the newest in its folder with the same plugins, or else a new one.

    Args:
        folder: of the sweep.
        names: of the plugins, which are in use.

    Raises:
        UserError: it cannot be written, or a plugin is too large.
    """
    known = [each for each in (folder / FOLDER).glob(f"*/{commit.FROZEN}") if not each.parent.name.startswith(".")]
    for file in sorted(known, key=lambda each: each.stat().st_mtime, reverse=True):
        record = commit.frozen(file.parent)
        if record is not None and sorted(record["plugins"]) == sorted(names):
            return file.parent
    try:
        return _new(folder / FOLDER, names)
    except OSError as error:
        raise UserError(
            f"The code cannot be copied to {folder / FOLDER} ({error.strerror or error}): make room, or leave out "
            "hydra.launcher.freeze_code."
        ) from error


def _new(folder: Path, names: Sequence[str]) -> Path:
    """Copy the code as it is now; raises OSError and UserError."""
    now = code.now(names)
    temporary = folder / f".{secrets.token_hex(4)}"
    try:
        launchers = commit.PACKAGE.parent / "hydra_plugins" / "fersweep_launcher"
        for source, target in ((commit.PACKAGE, "src/fersweep"), (launchers, "src/hydra_plugins/fersweep_launcher")):
            if source.is_dir():
                shutil.copytree(source, temporary / target, ignore=LEFT_OUT)
        shutil.rmtree(temporary / "src" / "fersweep" / "conf", ignore_errors=True)  # of an installed package
        shutil.copytree(config_dir(), temporary / "conf", ignore=shutil.ignore_patterns(*code.ASIDE, ".*"))
        for name in names:
            _copy_plugin(name, temporary / "plugins")
        copied = _digest(temporary, names)
        of_plugins = {name: each.commit for name, each in now.plugins.items()}
        record = {"commit": now.project.commit, "plugins": of_plugins, "diff": redacted(now.diff)[: code.LIMIT]}
        write_json(temporary / commit.FROZEN, record)
        with suppress(FileExistsError):  # another command has made the same copy
            temporary.rename(folder / copied)
        return folder / copied
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy_plugin(name: str, folder: Path) -> None:
    for place in plugins.places(name):
        if sum(file.stat().st_size for file in code.files(place)) > MOST:
            raise UserError(
                f"The plugin {name} is larger than {MOST // 2**20} MiB ({place}), too much for a copy: keep data out "
                "of its folder, or leave out hydra.launcher.freeze_code."
            )
        folder.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            shutil.copytree(place, folder / place.name, ignore=LEFT_OUT, dirs_exist_ok=True)
        else:
            shutil.copy2(place, folder / place.name)


def _digest(copy: Path, names: Sequence[str]) -> str:
    """Return the digest of a copy, as its jobs will record it."""
    project = code.Source(code.digest({"fersweep": copy / "src" / "fersweep", "conf": copy / "conf"}))
    tops = {name: [copy / "plugins" / place.name for place in plugins.places(name)] for name in names}
    of_plugins = {name: code.Source(code.digest(code.numbered(places), code.CODE)) for name, places in tops.items()}
    return str(code.Code(project, of_plugins).digest)


def setup(copy: Path) -> list[str]:
    """Return shell lines after which Python finds the copy before anything else, also before the working directory."""
    places = ":".join(shlex.quote(str((copy / name).absolute())) for name in ("src", "plugins"))
    return ["export PYTHONSAFEPATH=1", f'export PYTHONPATH={places}"${{PYTHONPATH:+:$PYTHONPATH}}"']


def lines(folder: Path, names: Sequence[str], told: set[Path]) -> list[str]:
    """Return the shell lines with which a job uses the copy for its sweep, which is made if there is none.

    A line is printed on the copy, and on changes of the code since, unless it is one of those ``told`` already.

    Raises:
        UserError: as `copy_for`.
    """
    copy = copy_for(folder, names)
    if copy not in told:
        changed = code.now(names).digest != copy.name
        since = f"; the code here has changed since: remove {copy} to use it as it is now" if changed else ""
        print(f"code: {copy}{since}", flush=True)
        told.add(copy)
    return setup(copy)
