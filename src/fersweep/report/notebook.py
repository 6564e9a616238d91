"""The notebook's figures (``notebook.yaml``), and how a run's settings stand to its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fersweep.report.contents import Reported
from fersweep.report.study import PROTOCOL, different, sentences
from fersweep.sweep.collect import settings_of
from fersweep.sweep.identity import completed, integral

FILE = Path(__file__).with_suffix(".yaml")


@cache
def figures() -> dict[str, Any]:
    """The content of ``notebook.yaml``."""
    import yaml

    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


@cache
def _protocol(backbone: str) -> dict[str, Any]:
    """The settings of a run as the source trained, with dotted names (0.1 s)."""
    from fersweep.compose import compose_config
    from fersweep.config import to_dict

    chosen = ["experiment=table_notebook", f"backbone={backbone}", "dataset.root=anywhere"]
    return integral(completed(settings_of(to_dict(compose_config(chosen)))))


def reported(settings: Mapping[str, Any]) -> tuple[Reported | None, tuple[str, ...]]:
    """What the source logged for a run, ``None`` where that is of no network of its; and where the protocol is another.

    What its text describes are other networks than those it trained: they have no figures.

    Args:
        settings: of a run, see `fersweep.sweep.collect.settings_of`.
    """
    backbone, fidelity, dataset = (settings.get(f"{group}.name") for group in ("backbone", "fidelity", "dataset"))
    if backbone not in figures()["rows"] or (fidelity, dataset) != ("code", "fer2013"):
        return None, ()
    variant = {"dropout": "backbone.model.dropout", "l2": "recipe.convolution_l2"}
    ours = {name: settings.get(key) or 0 for name, key in variant.items()}
    rows = figures()["rows"][backbone]
    row = next((row for row in rows if all(row.get(name, 0) == value for name, value in ours.items())), None)
    if row is None:
        return None, ()
    expected = {**_protocol(backbone), **{variant[name]: row[name] for name in variant if name in row}}
    keys = different(settings, expected)
    if any(key.startswith(("backbone.", "activation.", "fidelity.")) for key in keys):
        return None, ()
    told = sentences(keys, settings, expected, (*PROTOCOL, "dataset"))
    figure = Reported(row["params"] / 1e6, None, None, row["accuracy"], figures()["n"], figures()["note"], "validation")
    return figure, tuple(told)
