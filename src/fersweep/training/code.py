"""State of the code that trains a run: commit, changes, digests and command line.

``status.json`` and ``result.json`` record it; it is not part of a run's identity. Nothing here fails a run: what cannot
be found out is a remark of the record. Importing this imports no torch.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fersweep.config import plugins
from fersweep.config.options import config_dir
from fersweep.files import atomic_path
from fersweep.runs.status import Status
from fersweep.text import counted
from fersweep.training import commit, typed
from fersweep.training.secrets import redacted, redacted_arguments

DIFF = "code.diff"
"""File in a run's directory with what differs from the commit."""

LIMIT = 2**20
"""Bytes of `DIFF`; the rest of a longer one is left out."""

LONGEST = 4000
"""Characters of the command line that are recorded."""

ASIDE = ("__pycache__", "shipped", "local")
"""Folders without code of a run: compiled files, the network that comes along, the settings of this machine."""

CODE = (".py", ".yaml", ".yml", ".json", ".toml")
"""Endings of the files of a plugin that count."""

UNKNOWN = "The run began with a version that did not record its code."


@dataclass(frozen=True)
class Source:
    """Code of the project, or of a plugin.

    Attributes:
        digest: of names and contents of its files, 16 hexadecimal digits; ``None`` if they cannot be read.
        commit: of its repository, with ``+changes`` where that holds; ``None`` outside of one.
        diff: what differs from the commit, then the untracked files with their digests; empty if nothing does.
    """

    digest: str | None
    commit: str | None = None
    diff: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    """Code of a process: the project, and its plugins by name."""

    project: Source
    plugins: Mapping[str, Source] = field(default_factory=dict)

    @property
    def digest(self) -> str | None:
        """Digest of all: of the project or, with plugins, of it and theirs."""
        if not self.plugins or self.project.digest is None:
            return self.project.digest
        every = [self.project.digest, *(f"{name} {each.digest}" for name, each in sorted(self.plugins.items()))]
        return hashlib.sha256("\n".join(every).encode()).hexdigest()[:16]

    @property
    def diff(self) -> str:
        """The changes since the commits, of all."""
        return "".join(each.diff for each in (self.project, *self.plugins.values()))


def now(names: Sequence[str]) -> Code:
    """Return the code of this process, with the plugins of these names; the project is read once per process."""
    return Code(project(), {name: plugin(name) for name in names})


@cache
def project() -> Source:
    """Return the state of fersweep: the package and its options, in a checkout or installed.

    The server of a sweep's processes calls this before it forks, so it is the code that they have in memory.
    """
    try:
        found = digest({"fersweep": commit.PACKAGE, "conf": config_dir()})
        remarks: list[str] = []
    except OSError as error:
        found, remarks = None, [f"The code could not be read ({error})."]
    if (record := commit.frozen(commit.PACKAGE.parents[1])) is not None:
        return Source(found, record["commit"], record["diff"], tuple(remarks))
    if not commit.is_checkout():
        return Source(found, remarks=tuple(remarks))
    try:
        head = commit.head(commit.PACKAGE, commit.CODE)
        return Source(found, head.name, _diff(commit.PACKAGE, commit.CODE, head), tuple(remarks))
    except commit.GitError as error:
        return Source(found, remarks=(*remarks, f"git did not tell the commit: {error}."))


def plugin(name: str) -> Source:
    """Return the state of a plugin in use, and the commit of the repository around it if there is one."""
    places = plugins.places(name)
    try:
        found = digest(numbered(places), CODE)
    except OSError as error:
        return Source(None, remarks=(f"The plugin {name} could not be read ({error}).",))
    record = commit.frozen(commit.PACKAGE.parents[1])
    if record is not None and name in record["plugins"]:
        return Source(found, record["plugins"][name])
    around = places[0].resolve().parent if places else Path()
    if not places or not any((folder / ".git").exists() for folder in (around, *around.parents)):
        return Source(found)
    paths = [*(str(place.resolve()) for place in places), *commit.NEVER]
    try:
        head = commit.head(around, paths)
        return Source(found, head.name, _diff(around, paths, head))
    except commit.GitError as error:
        return Source(found, remarks=(f"git did not tell the commit of the plugin {name}: {error}.",))


def numbered(places: Sequence[Path]) -> dict[str, Path]:
    """Return the places of a plugin under names that do not depend on where they are."""
    return {f"{number}/{place.name}": place for number, place in enumerate(places)}


def files(place: Path, endings: Sequence[str] = ()) -> Iterator[Path]:
    """Yield the files of a place (a file or a folder) in a fixed order, without hidden ones and `ASIDE`.

    With ``endings``, only files that have one of them.
    """
    if place.is_file():
        yield place
        return
    for folder, below, names in os.walk(place):
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in ASIDE)
        for name in sorted(names):
            if not name.startswith(".") and (not endings or name.endswith(tuple(endings))):
                yield Path(folder) / name


def digest(places: Mapping[str, Path], endings: Sequence[str] = ()) -> str:
    """Return a digest, 16 hexadecimal digits, of names and contents of the files in some places.

    It is the same for a checkout and a package that was built from it, wherever they lie: each file counts under the
    name of its place, and ``conf`` within the installed package only as a place of its own.

    Raises:
        OSError: a file cannot be read.
    """
    whole = hashlib.sha256()
    for name, place in places.items():
        for file in files(place, endings):
            below = file.relative_to(place).as_posix() if place.is_dir() else ""
            if name == "fersweep" and below.startswith("conf/"):
                continue
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            whole.update(f"{name}/{below}\0{content}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()[:16]


def _diff(folder: Path, paths: Sequence[str], head: commit.Head) -> str:
    """Return the content of `DIFF` for one repository; raises GitError."""
    text = commit.diff(folder, paths) if head.changed else ""
    top = Path(commit.git(folder, "rev-parse", "--show-toplevel").strip()) if head.untracked else folder
    for name in head.untracked:
        try:
            content = hashlib.sha256((top / name).read_bytes()).hexdigest()
        except OSError as error:
            content = f"not readable: {error.strerror}"
        text += f"# untracked: {name} sha256 {content}\n"
    return text


def record(directory: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Write `DIFF` of the code that runs now; return the records of all code that trained the run, this one last.

    Args:
        directory: of the run, locked by this process.
        names: of the plugins.

    Returns:
        One record for each state of the code: earlier ones if the run resumes, and that of this process.
    """
    code, before = now(names), _before(directory)
    remarks = [remark for each in (code.project, *code.plugins.values()) for remark in each.remarks]
    if before and before[-1].get("digest") == code.digest:
        before.pop()
    file = DIFF if not before else f"code-{len(before) + 1}.diff"
    diff, left_out = _written(directory / file, code.diff)
    return [
        *before,
        {
            "digest": code.digest,
            "version": version("fersweep"),
            "commit": code.project.commit,
            "package": code.project.digest,
            "plugins": {name: {"digest": each.digest, "commit": each.commit} for name, each in code.plugins.items()},
            "diff": diff,
            "command": command(),
            "remarks": [*remarks, *left_out],
        },
    ]


def _before(directory: Path) -> list[dict[str, Any]]:
    """Return the records of earlier attempts that this one continues."""
    if not (directory / "checkpoints" / "last.ckpt").is_file():
        return []
    return list(Status.read(directory).code or [{"digest": None, "remarks": [UNKNOWN]}])


def _written(path: Path, diff: str) -> tuple[str | None, list[str]]:
    """Write a diff without its secrets; return the file's name, ``None`` if it is empty, and remarks."""
    path.unlink(missing_ok=True)
    if not diff:
        return None, []
    content, remarks = redacted(diff).encode(), []
    if len(content) > LIMIT:
        remarks = [f"{path.name} has the first {counted(LIMIT, 'byte')} of {len(content):,}."]
        content = content[:LIMIT] + f"\n# The rest is left out: {remarks[0]}\n".encode()
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:  # a full disk, which the run itself reports
        return None, [f"{path.name} could not be written ({error.strerror})."]
    return path.name, remarks


def command() -> str:
    """Return the command line of this process, or of the one that planned the run, quoted for a shell.

    It is what was typed, with what an experiment sweeps; what can be recognised as a secret is left out.
    """
    words = [*typed.program(), *redacted_arguments(typed.arguments())]
    text = " ".join(map(shlex.quote, words))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({counted(len(text), 'character')})"
