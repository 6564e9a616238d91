"""The notebook's figures (``notebook.yaml``), and deviations of a run from its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fersweep.report.contents import Reported
from fersweep.report.study import PROTOCOL, composed, different, sentences
from fersweep.runs.collect import settings_of
from fersweep.runs.identity import completed, integral

FILE = Path(__file__).with_suffix(".yaml")


@cache
def figures() -> dict[str, Any]:
    """Return the content of ``notebook.yaml``."""
    import yaml

    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


@cache
def _protocol(backbone: str) -> dict[str, Any]:
    """Return the settings of a run as the notebook trained, by dotted name."""
    return integral(completed(settings_of(composed("experiment=table_notebook", f"backbone={backbone}"))))


SCALE = "backbone.model.input_scale"
"""The factor of the images, in which a run may differ and still has the notebook's network."""

VARIANT = {"dropout": "backbone.model.dropout", "l2": "recipe.convolution_l2"}
"""The settings in which variants of a network differ, by their names in ``notebook.yaml``."""


def reported(settings: Mapping[str, Any]) -> tuple[Reported | None, tuple[str, ...]]:
    """Return the notebook's logged figures for a run, ``None`` if it has no such network, and deviations of the run.

    The networks that the notebook's text describes differ from those it trained and have no figures. A run of as many
    epochs as an earlier commit trained is compared with the log of that commit.

    Args:
        settings: of a run, see `fersweep.runs.collect.settings_of`.
    """
    backbone, fidelity, dataset = (settings.get(f"{group}.name") for group in ("backbone", "fidelity", "dataset"))
    if backbone not in figures()["rows"] or (fidelity, dataset) != ("code", "fer2013"):
        return None, ()
    ours = {name: settings.get(key) or 0 for name, key in VARIANT.items()}
    rows = figures()["rows"][backbone]
    row = next((row for row in rows if all(row.get(name, 0) == value for name, value in ours.items())), None)
    if row is None:
        return None, ()
    expected = {**_protocol(backbone), **{VARIANT[name]: row[name] for name in VARIANT if name in row}}
    epochs = figures()["earlier_epochs"].get(backbone)
    earlier = epochs is not None and settings.get("recipe.max_epochs") == epochs
    if earlier:
        expected["recipe.max_epochs"] = epochs
    keys = different(settings, expected)
    if any(key.startswith(("backbone.", "activation.", "fidelity.")) and key != SCALE for key in keys):
        return None, ()
    deviations = sentences(keys, settings, expected, (*PROTOCOL, "backbone"))
    accuracy = row["earlier" if earlier else "accuracy"]
    note = _note(str(backbone), row, epochs)
    return Reported(row["params"] / 1e6, None, None, accuracy, figures()["n"], note, "validation"), tuple(deviations)


def _note(backbone: str, row: Mapping[str, Any], epochs: int | None) -> str:
    """Return notes on a figure, and on what the notebook concludes from it."""
    content = figures()
    notes = [content["note"]]
    if "earlier" in row:
        notes.append(content["earlier_note"].format(epochs=f" in {epochs} epochs" if epochs else "", **row))
    if backbone in content["claim"]["of"]:
        notes.append(content["claim"]["note"])
    return " ".join(notes)
