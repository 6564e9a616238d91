"""Tests of trained networks on other data: the folders that ``fersweep test`` writes, and what is in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fersweep.errors import UserError
from fersweep.files import INTEGER, INTERVAL, NUMBER, Field, mapping, read_json
from fersweep.text import listed, visible

FOLDER = "tests"
"""The folder of tests in the directory of a run."""

FILE, SETTINGS = "result.json", "test.yaml"
"""Result of a test, and the settings of the data tested; a folder with the latter is a test's, not a run's."""

TEXT = Field("text", lambda value: isinstance(value, str))

FIELDS = {
    "test": TEXT,
    "on": TEXT,
    "dataset": TEXT,
    "dataset_title": TEXT,
    "split": replace(TEXT, optional=True),
    "part": TEXT,
    "data_digest": TEXT,
    "outputs": TEXT,
    "test_crops": INTEGER,
    "classes": Field("an object with shared, a list of names", lambda value: _names(value, "shared")),
    "metrics": mapping("a number for each name", int, float, type(None)),
    "accuracy_interval": INTERVAL,
    "majority_baseline": NUMBER,
    "seen": replace(mapping("a count for each part", int), optional=True),
}
"""The fields of `FILE` that every reader checks."""


def _names(value: Any, key: str) -> bool:
    return isinstance(value, dict) and isinstance(value.get(key), list) and all(isinstance(x, str) for x in value[key])


@dataclass(frozen=True)
class Test:
    """A network's test on a part of a dataset.

    Attributes:
        result: its ``result.json``.
    """

    directory: Path
    result: Mapping[str, Any]

    @property
    def on(self) -> str:
        """Hash of the images tested, whatever their size, and of the rules: equal for networks that can be compared."""
        return str(self.result["on"])

    @property
    def name(self) -> str:
        """The data in words: ``FER2013, split study, test part``."""
        return titled(self.result)

    @property
    def accuracy(self) -> float:
        """Of the images tested, 0…1."""
        return float(self.result["metrics"]["test/accuracy"])

    @property
    def n(self) -> int:
        """Number of images tested."""
        return int(self.result["metrics"]["test/n"])


def titled(result: Mapping[str, Any]) -> str:
    """Return what was tested in words, with the rules where they are not the usual ones."""
    split = f", split {result['split']}" if result["split"] else ""
    part = "all images" if result["part"] == "all" else f"{result['part']} part"
    rules = (", all outputs" if result["outputs"] == "all" else "") + (
        ", ten crops" if result["test_crops"] == 10 else ""
    )
    return f"{result['dataset_title']}{split}, {part}{rules}"


def short_hash(**parts: Any) -> str:
    """Return ten hexadecimal digits of the SHA-256 of ``parts``, plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def directory_name(dataset: str, split: str | None, part: str, test: str) -> str:
    """Return ``jaffe-subjects-test-0123456789``, the name of a test's folder."""
    return "-".join([dataset, *([split] if split else []), part, test])


def read(directory: Path) -> Test | None:
    """Return the test in a folder, or ``None`` if there is none.

    Raises:
        UserError: its ``result.json`` is not what ``fersweep test`` writes.
    """
    result = read_json(directory / FILE, FIELDS, "result of a test", "delete its folder, and test again")
    if result is None:
        return None
    if not {"test/accuracy", "test/n"} <= {key for key, value in result["metrics"].items() if value is not None}:
        raise UserError(f"{directory / FILE} has no accuracy or no n; delete its folder, and test again.")
    return Test(directory, result)


def of_run(run: Path) -> tuple[list[Test], list[str]]:
    """Return the tests of a run, sorted by folder, and a sentence on each that cannot be read."""
    try:
        folders = sorted(each for each in (run / FOLDER).iterdir() if not each.name.startswith("."))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{run / FOLDER} cannot be read ({error.strerror})."]
    found, damaged = [], []
    for folder in folders:
        try:
            if (test := read(folder)) is not None:
                found.append(test)
        except UserError as error:
            damaged.append(str(error))
    return found, damaged


def summaries(run: Path) -> tuple[dict[str, Any], ...]:
    """Return the tests of a run for a listing: folder, data, accuracy with its interval, n.

    ``state`` is ``done``, or ``unreadable`` with an ``error``.
    """
    found, damaged = of_run(run)
    done = (
        {
            "state": "done",
            "directory": str(each.directory),
            "name": each.name,
            **{key: each.result[key] for key in ("test", "on", "dataset", "split", "part", "outputs", "test_crops")},
            "accuracy": each.accuracy,
            "accuracy_interval": each.result["accuracy_interval"],
            "n": each.n,
        }
        for each in found
    )
    return (*done, *({"state": "unreadable", "error": visible(sentence)} for sentence in damaged))


def left_out(result: Mapping[str, Any]) -> str:
    """Return a sentence on classes that the network or the dataset lacks; empty if they have the same."""
    classes, said = result["classes"], []
    if images := classes.get("images_left_out"):
        each = [f"{name} ({count:,})" for name, count in images.items()]
        said.append(
            f"{sum(images.values()):,} images of classes that the network lacks are left out: {listed(each, 'and')}"
        )
    if lacking := classes.get("not_in_dataset"):
        counted = classes.get("predicted_outside", 0)
        how = "and is not chosen from" if result["outputs"] == "shared" else "and counts as wrong where it is chosen"
        said.append(
            f"the dataset has no {listed(lacking, 'and no')}, {how} ({counted:,} of {result['metrics']['test/n']:,} "
            "images are given such a class by all outputs)"
        )
    return "; ".join(said)
