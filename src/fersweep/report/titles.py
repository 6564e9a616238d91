"""How a person reads the options of runs. Programs read their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fersweep.config.schema import takes_attention, title_of
from fersweep.runs.collect import config_of

ABSENT = "–"
"""Stands where there is nothing to choose or set, such as the attention of a network that brings its own."""


def _section(config: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    """What a configuration says of a group, nothing where it is damaged."""
    found = config.get(group)
    return found if isinstance(found, Mapping) else {}


def titled(runs: Iterable[tuple[Path, Mapping[str, str]]]) -> list[dict[str, str]]:
    """For each run, a directory and its choices, group → title, or `ABSENT` for attention that a network does not take.

    An option without a title, or of a run whose ``config.yaml`` cannot be read, has its name; where two options of a
    group have one title, their names stand behind it. Of the files only so many are read as have all options.
    """
    runs = list(runs)
    found: dict[str, dict[str, str]] = {}
    own: set[str] = set()  # backbones that bring their own attention
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
    """Option → title, the option behind a title that several have."""
    count = Counter(titles.values())
    return {option: title if count[title] == 1 else f"{title} ({option})" for option, title in titles.items()}


def joined(values: Iterable[str]) -> str:
    """What of ``values`` there is, with dots between."""
    return " · ".join(value for value in values if value != ABSENT)


def spelled(column: str) -> str:
    """A group or setting in words: ``max_epochs`` → ``max epochs``; a dotted name stays as it is."""
    return column if "." in column else {"lr": "learning rate"}.get(column, column.replace("_", " "))


def heading(column: str) -> str:
    """The same as it stands above a column: ``Max epochs``."""
    words = spelled(column)
    return words if "." in column else words[:1].upper() + words[1:]
