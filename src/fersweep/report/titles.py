"""Titles of options, for people; programs use their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fersweep.config.schema import takes_attention, title_of
from fersweep.runs.collect import config_of

ABSENT = "–"
"""The text for a setting that does not exist, such as the attention of a network with its own."""


def _section(config: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    """Return a configuration's section of a group, empty if it is damaged."""
    found = config.get(group)
    return found if isinstance(found, Mapping) else {}


def titled(runs: Iterable[tuple[Path, Mapping[str, str]]]) -> list[dict[str, str]]:
    """Return group → title for each run (a directory and its choices), `ABSENT` for attention that has no effect.

    An option without a title, or without a readable ``config.yaml``, gets its name; if two options of a group share a
    title, their names follow it. Configurations are read only until every option has its title.
    """
    runs = list(runs)
    found: dict[str, dict[str, str]] = {}
    own: set[str] = set()  # backbones with attention of their own
    for directory, choices in runs:
        if all(option in found.get(group, {}) for group, option in choices.items()):
            continue
        config = config_of(directory)
        for group, option in choices.items():
            if _section(config, group).get("name") == option:
                found.setdefault(group, {}).setdefault(option, title_of(config, group))
        if not takes_attention(_section(config, "backbone")):
            own.add(str(config["backbone"].get("name")))
    shown = {group: distinct(titles) for group, titles in found.items()}
    absent = {"attention": ABSENT}
    return [
        {group: shown.get(group, {}).get(option, option) for group, option in choices.items()}
        | (absent if choices.get("backbone") in own else {})
        for _, choices in runs
    ]


def distinct(titles: Mapping[str, str]) -> dict[str, str]:
    """Return option → title, followed by the option if several share a title."""
    count = Counter(titles.values())
    return {option: title if count[title] == 1 else f"{title} ({option})" for option, title in titles.items()}


def joined(values: Iterable[str]) -> str:
    """Join the ``values`` that exist with dots."""
    return " · ".join(value for value in values if value != ABSENT)


def spelled(column: str) -> str:
    """Return a group or setting in words: ``max_epochs`` → ``max epochs``; dotted names are unchanged."""
    return column if "." in column else {"lr": "learning rate"}.get(column, column.replace("_", " "))


def heading(column: str) -> str:
    """Return the heading of a column: ``Max epochs``."""
    words = spelled(column)
    return words if "." in column else words[:1].upper() + words[1:]
