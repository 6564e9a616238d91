"""Values as people type them: paths, names and tags that Hydra's grammar could not read, or would read as numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fersweep.config.combinations import EXCLUDE, ZIP
from fersweep.config.options import SEARCH_PATH, parse, quoted
from fersweep.errors import UserError

PATHS = (
    "dataset.root",
    "dataset.source.votes",
    "dataset.face_crop.weights",
    "weights",
    "outputs",
    "cache",
    "recipe.teacher",
)
"""Settings that hold the path of a file or folder."""

TEXTS = (
    "sweep",
    "dataset.labels_from",
    *(f"logger.{each}" for each in ("project", "entity", "group", "experiment_name", "tracking_uri")),
    *(f"hydra.launcher.{each}" for each in ("partition", "account", "qos", "constraint", "mem")),
)
"""Settings that hold free text."""

LISTS = ("logger.tags", SEARCH_PATH)
"""Settings that hold a list of free texts or folders."""

BRACKETS = {ZIP: ("[", "]"), EXCLUDE: ("[{", "}]"), "hydra.sweeper.finals_overrides": ("{", "}")}
"""Settings of a sweep that can be typed without brackets, which shells expand, and the brackets that are added."""

FUNCTIONS = r"(choice|range|interval|glob|sort|shuffle|tag|extend_list|int|float|str|bool|json_str)\("
"""Beginning of a call of one of the functions of Hydra's grammar."""

COMPLETE = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
"""Text in quotes."""

PIECE = re.compile(rf"\s*({COMPLETE.pattern}|[^,]*?)\s*(?:,|$)", re.DOTALL)
"""One of several texts between commas."""


def readable(text: str, multirun: bool) -> str:
    """Return an override that Hydra reads as the shell passed it, with ``~`` of a path expanded.

    A value in quotes stays as it is. Commas divide several values, except in the path of a single run or one that
    exists. A value of any other setting is quoted only where Hydra could not read it.

    Raises:
        UserError: a path begins with the home of a user who does not exist, or a mapping has a key twice.
    """
    key, equals, value = text.partition("=")
    name = key.lstrip("+")
    if not equals or not value or COMPLETE.fullmatch(value) or value.lower() == "null":
        return text
    if name in BRACKETS and value[0] not in "[{" and (name == ZIP or ":" in value):
        opening, closing = BRACKETS[name]
        _refuse_repeated(name, f"{opening}{value}{closing}")
        return f"{key}={opening}{value}{closing}"
    change = _expanded if name in (*PATHS, SEARCH_PATH) else _text
    if name in LISTS:
        inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        return f"{key}=[{_between_commas(inner, change) if inner.strip() else ''}]"
    if re.match(FUNCTIONS, value) and (multirun or name not in PATHS):
        return text
    if name in PATHS and not (multirun and "," in value and not Path(_expanduser(value)).exists()):
        return f"{key}={quoted(home(value))}"
    if name in (*PATHS, *TEXTS) or name.endswith(".title"):
        return f"{key}={_between_commas(value, change)}"
    if value[0] in "[{":
        _refuse_repeated(name, value)
    if value[0] in "[{'\"" or re.fullmatch(r"[\w@/.+]+", key) is None or _parses(text):
        return text
    return f"{key}={_between_commas(value, change) if multirun else quoted(value)}"


TOKEN = re.compile(rf"{COMPLETE.pattern}|[\[\]{{}}(),:]|[^\[\]{{}}(),:'\"]+", re.DOTALL)
"""A text in quotes, a sign of Hydra's lists and mappings, or what is between two."""


def _refuse_repeated(name: str, value: str) -> None:
    """Raise UserError for a key that a mapping has twice, of which Hydra would keep the last value in silence."""
    open_: list[set[str]] = []
    before, fresh = "", False  # a key stands between a bracket or comma and a colon
    for token in (found[0].strip() for found in TOKEN.finditer(value)):
        if token in ("{", "[", "("):
            open_.append(set())
        elif token in ("}", "]", ")") and open_:
            open_.pop()
        elif token == ":" and fresh and open_:
            if before in open_[-1]:
                raise UserError(f"{name} has {before} twice: give it one value.")
            open_[-1].add(before)
        if token in ("{", "[", "(", ","):
            fresh, before = True, ""
        elif token == ":":
            fresh = False
        elif fresh:
            before = token or before


def gathered(overrides: Sequence[str]) -> list[str]:
    """Join the exclusions of a sweep that are typed one by one into one list, in the place of the last."""
    ours = [each for each in overrides if each.startswith(f"{EXCLUDE}=")]
    if len(ours) < 2:
        return list(overrides)
    values = [each.partition("=")[2] for each in ours]
    lists = [value[1:-1] if value.startswith("[") and value.endswith("]") else value for value in values]
    joined = f"{EXCLUDE}=[{','.join(lists)}]"
    return [*(each for each in overrides if each not in ours), joined]


def home(path: str) -> str:
    """Return a path with ``~`` or ``~user`` expanded; UserError if there is no such user, nor a file of that name."""
    expanded = _expanduser(path)
    if not expanded.startswith("~"):
        return expanded
    if Path(expanded).exists():
        return str(Path.cwd() / expanded)
    raise UserError(f"{path} does not exist: this machine has no user {path.partition('/')[0][1:]}; write ~/ or ./.")


def expand_homes(cfg: DictConfig) -> None:
    """Expand ``~`` in those paths of a composed configuration that its files set, as the command line does in its own.

    Raises:
        UserError: there is no such user.
    """
    for key in PATHS:
        with suppress(OmegaConfBaseException):  # reported where all settings are resolved
            if str(path := OmegaConf.select(cfg, key)).startswith("~"):
                try:
                    OmegaConf.update(cfg, key, home(str(path)))
                except UserError as error:
                    raise UserError(f"{key}={error}") from error


def expanded_flags(arguments: Sequence[str]) -> list[str]:
    """Expand the ``~`` of ``--config-dir=~/mine``, which shells leave as it is."""
    flag = re.compile(r"^(--config-dir|-cd)=(~.*)", re.DOTALL)
    return [flag.sub(lambda found: f"{found[1]}={_expanduser(found[2])}", each) for each in arguments]


def _expanduser(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111  (Path's raises for users who do not exist, and drops a last slash)


def _between_commas(value: str, change: Callable[[str], str]) -> str:
    pieces = [found[1] for found in PIECE.finditer(value) if found.start() < len(value)]
    return ",".join(change(each) for each in pieces)


def _expanded(text: str) -> str:
    return text if COMPLETE.fullmatch(text) else _text(home(text))


def _text(text: str) -> str:
    """Quote a text that Hydra would refuse, or read as something else, such as a number."""
    if COMPLETE.fullmatch(text):
        return text
    (override,) = parse([f"x={text}"]) if _parses(f"x={text}") else (None,)
    same = override is not None and not override.is_sweep_override() and override.value() == text
    return text if same else quoted(text)


def _parses(override: str) -> bool:
    try:
        parse([override])
    except UserError:
        return False
    return True
