"""The labels of a report's rows: the groups and settings in which they differ."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fersweep.config.schema import GROUPS
from fersweep.errors import UserError
from fersweep.report import again, notebook, study
from fersweep.report.gather import FOLD, SEED, Finished
from fersweep.report.titles import ABSENT
from fersweep.runs.collect import config_of

ALWAYS = ("backbone", "attention")
"""Columns of every report."""

SHOWN = tuple(group for group in GROUPS if group not in ("trainer", "logger"))
"""Groups whose options a report shows."""


def columns_of(runs: Sequence[Finished]) -> dict[str, str]:
    """Return the columns that distinguish rows: name → setting, in the order of the configuration.

    They are the groups whose option differs, and the settings that differ between rows with the same options.
    """
    rows = list({run.row: run for run in runs}.values())
    differing = [g for g in SHOWN if g in ALWAYS or len({run.result["choices"][g] for run in rows}) > 1]
    columns = {group: f"{group}.name" for group in differing}
    found: dict[str, None] = {}
    for alike in _grouped(rows, columns.values()):
        found |= dict.fromkeys(_differing(alike))
    settings = _principal(list(found), rows)
    short = [re.sub(r"\._target_$", "", key).rpartition(".")[2] for key in settings]
    for key, name in zip(settings, short, strict=True):
        columns[name if short.count(name) == 1 and name not in GROUPS else key] = key
    return columns


def beside(runs: Sequence[Finished], columns: Mapping[str, str]) -> list[str]:
    """Return the settings, no columns, in which rows differ although all have the same option of the setting's group.

    Rows that differ in an option then differ in these, too: each has its own learning rate, for example.
    """
    rows = list({run.row: run for run in runs}.values())
    fixed = [group for group in SHOWN if len({run.result["choices"][group] for run in rows}) == 1]
    if "fidelity" not in fixed:  # which changes what these are built from
        fixed = [group for group in fixed if group not in ("backbone", "attention", "activation")]
    of_options = [group for group in SHOWN if group not in fixed]
    found = [key for key in _differing(rows) if key.partition(".")[0] not in of_options]
    return [key for key in _principal(found, rows) if key not in columns.values()]


def _grouped(rows: Iterable[Finished], settings: Iterable[str]) -> list[list[Finished]]:
    """Group rows by the values of ``settings``."""
    groups: dict[str, list[Finished]] = {}
    for row in rows:
        groups.setdefault(json.dumps([row.settings.get(key) for key in settings]), []).append(row)
    return list(groups.values())


def _differing(rows: Sequence[Finished]) -> list[str]:
    """Return the settings in which ``rows`` differ, except seed and fold."""
    keys = dict.fromkeys(key for row in rows for key in row.settings if key not in (SEED, *FOLD))
    return [key for key in keys if len({repr(row.settings.get(key)) for row in rows}) > 1]


def _principal(settings: list[str], rows: Sequence[Finished]) -> list[str]:
    """Remove settings that follow from another: arguments of a class in which rows of the same class do not differ."""
    follows = set()
    for target in (key for key in settings if key.endswith("._target_")):
        beside = [key for key in settings if key.startswith(target.removesuffix("_target_"))]
        own = {key for key in beside if key != target and not key.endswith(".lr")}
        follows |= own - {key for alike in _grouped(rows, [target]) for key in _differing(alike)}
    return [key for key in settings if key not in follows]


def common(runs: Sequence[Finished]) -> dict[str, str]:
    """Return the settings that all rows share: group → title, then epochs, batch and image size, and those changed.

    The latter are settings of an option that are not as in its file, such as a network's width.
    """
    values = {group: {run.titles[group] for run in runs} for group in SHOWN}
    principal = {
        key.rpartition(".")[2]: key for key in ("recipe.max_epochs", "recipe.batch_size", "dataset.image_size")
    }
    changed = {key: key for key in _changed(runs[0]) if key not in principal.values()}
    for name, key in (principal | changed).items():
        values[name] = {label(run.settings, key) for run in runs}
    return {name: next(iter(each)) for name, each in values.items() if len(each) == 1 and ABSENT not in each}


def _changed(run: Finished) -> list[str]:
    """Return the settings of a run's options that are not as in their files; none if an option no longer exists."""
    try:
        words = [shlex.split(each)[0] for each in again.overrides(config_of(run.directory), without=(SEED, *FOLD))]
    except UserError:
        return []
    keys = [word.partition("=")[0].lstrip("+") for word in words]
    return [key for key in keys if "." in key and key.partition(".")[0] in SHOWN and key in run.settings]


def label(settings: Mapping[str, Any], key: str) -> str:
    """Return a setting's value as text, a class without its module, a file of weights without its folder.

    An en dash stands for a setting that does not exist.
    """
    if key not in settings:
        return ABSENT
    value = settings[key]
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, bool):
        return str(value).lower()
    text = "null" if value is None else str(value)
    if key == "weights":
        return Path(text).name
    return text.rpartition(".")[2] if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", text) else text


def sort_key(labels: Mapping[str, str]) -> list[tuple[int, float, str]]:
    """Return the key by which rows are sorted: by dataset and split, then by the other columns in their order."""
    first = [column for column in ("dataset", "split") if column in labels]
    return [_order(column, labels[column]) for column in dict.fromkeys((*first, *labels))]


def _order(column: str, value: str) -> tuple[int, float, str]:
    """Return a sort key: options in the study's order, then numbers by size, then words."""
    order = {
        "attention": ["none", "se", "eca", "cbam"],
        "backbone": [*study.study()["rows"], *notebook.figures()["rows"]],
        "fidelity": ["code", "paper"],
    }.get(column, [])
    if value in order:
        return 0, order.index(value), value
    try:
        return 1, float(value), value
    except ValueError:
        return 2, 0.0, value
