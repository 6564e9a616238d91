"""Commit of the checkout that fersweep runs from, and the changes since."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of the package."""

NEVER = (":(top,exclude,glob)**/.*", ":(top,exclude,glob)**/.*/**", ":(top,exclude)conf/local")
"""Files that are not looked at: hidden ones, such as ``.env``, and the settings of this machine."""

CODE = (":(top)src", ":(top)conf", ":(top)train.py", *NEVER)
"""Files of the project."""

FROZEN = "frozen.json"
"""File of a frozen copy of the code."""

WITH_CHANGES = "+changes"
"""End of the commit of a checkout in which files that decide the numbers of a run differ from it."""

PLAIN = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
"""Options of ``git diff`` that leave a user's settings aside."""

OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""Variables that git sets for its hooks, and that would name another repository."""


class GitError(RuntimeError):
    """Git is missing or refuses, with its reason in one line."""


@dataclass(frozen=True)
class Head:
    """Commit of a repository, and the names, from its top, of files that differ from it."""

    commit: str
    changed: tuple[str, ...]
    untracked: tuple[str, ...]

    @property
    def name(self) -> str:
        """The commit's hash, with `WITH_CHANGES` if code or options differ."""
        names = (*self.changed, *self.untracked)
        return self.commit + (WITH_CHANGES if any(map(_decides, names)) else "")


def _decides(name: str) -> bool:
    """Return whether a file decides the numbers of a run, by its name."""
    return name.endswith(".py") or name.startswith("conf/")


@cache
def commit() -> str | None:
    """Return the commit's hash, with `WITH_CHANGES` if that holds; ``None`` for an installed package or without git."""
    if (record := frozen(PACKAGE.parents[1])) is not None:
        return record["commit"]
    try:
        return head(PACKAGE, CODE).name if is_checkout() else None
    except GitError:
        return None


def frozen(folder: Path) -> dict[str, Any] | None:
    """Return the record of a frozen copy of the code (`fersweep.sweep.slurm.frozen`), ``None`` in any other folder.

    It has ``commit``, ``plugins`` (a commit by name) and ``diff``, as they were when the copy was made.
    """
    try:
        record = json.loads((folder / FROZEN).read_text(encoding="utf-8"))
        return {"commit": record["commit"], "plugins": dict(record["plugins"]), "diff": str(record["diff"])}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def is_checkout() -> bool:
    """Return whether the package lies in its own checkout; it may be installed within another's repository."""
    return PACKAGE.parent.name == "src" and (PACKAGE.parents[1] / ".git").exists()


def head(folder: Path, paths: Sequence[str]) -> Head:
    """Return the commit of the repository around ``folder``, and the changes of ``paths`` since.

    Raises:
        GitError: there is no git, no repository or no commit, or git refuses to read it.
    """
    options = ("--porcelain=v2", "--branch", "--no-renames", "--untracked-files=all", "-z")
    lines = git(folder, "status", *options, "--", *paths).split("\0")
    hashes = [line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")]
    if not hashes or hashes[0] == "(initial)":
        raise GitError("there is no commit yet")
    changed = [line.split(" ", 8)[-1] for line in lines if line.startswith("1 ")]
    changed += [line.split(" ", 10)[-1] for line in lines if line.startswith("u ")]
    untracked = [line.removeprefix("? ") for line in lines if line.startswith("? ")]
    return Head(hashes[0], tuple(sorted(changed)), tuple(sorted(untracked)))


def diff(folder: Path, paths: Sequence[str]) -> str:
    """Return the difference of tracked files from the commit, as ``git diff`` prints it; raises GitError."""
    return git(folder, "diff", *PLAIN, "HEAD", "--", *paths)


def git(folder: Path, *arguments: str) -> str:
    """Return what a git command prints in ``folder``; raises GitError."""
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    variables = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER}
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=10, env=variables)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitError((said[0] if said else f"exit code {error.returncode}").removeprefix("fatal: ")) from error
    except subprocess.TimeoutExpired as error:
        raise GitError("it did not answer within ten seconds") from error
    except OSError as error:
        raise GitError("it is not installed" if isinstance(error, FileNotFoundError) else str(error)) from error
    return done.stdout.decode("utf-8", "replace")
