"""Tests of trained networks on other data: the folders that ``fersweep test`` writes, and what is in them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fersweep.errors import UserError
from fersweep.files import INTEGER, INTERVAL, NUMBER, Field, mapping, read_json
from fersweep.text import counted, listed, visible

FOLDER = "tests"
"""The folder of tests in the directory of a run."""

FILE, SETTINGS = "result.json", "test.yaml"
"""Result of a test, and the settings of the data tested; a folder with the latter is a test's, not a run's."""

ASIDE = ".before-"
"""Within the name of the hidden folder that keeps a test while another takes its place, after a dot and its name."""

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


Data = tuple[str, str, str]
"""`Test.on`, the digest of the dataset, and `Test.name`."""


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
    def data(self) -> Data:
        """The data tested, for `columns`."""
        return self.on, str(self.result["data_digest"]), self.name

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


def columns(runs: Iterable[Sequence[Data]]) -> dict[Data, tuple[str, str]]:
    """Return the column of each of the data tested: its key, and its title.

    The key is `Test.on`; if a run has two tests of one kind, it was tested on two versions of the images, which are two
    columns. The title is the shortest name of the data, numbered if several columns have the same: ``… (2)``.

    Args:
        runs: the data on which each was tested.
    """
    found = [list(each) for each in runs]
    twice = {on for each in found for on, count in Counter(on for on, _, _ in each).items() if count > 1}
    keys = {data: "-".join(data) if data[0] in twice else data[0] for each in found for data in each}
    names: dict[str, str] = {}
    for data, key in keys.items():
        names[key] = min(names.get(key, data[2]), data[2], key=lambda name: (len(name), name))
    seen: Counter[str] = Counter()
    for key in sorted(names):
        seen[names[key]] += 1
        if seen[names[key]] > 1:
            names[key] += f" ({seen[names[key]]})"
    return {data: (key, names[key]) for data, key in keys.items()}


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
        folders = _folders(run / FOLDER)
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


def _folders(within: Path) -> list[Path]:
    """Return the folders of tests, sorted, with those aside whose writer was killed before it replaced them."""
    every = sorted(within.iterdir())
    names = {each.name for each in every}
    return [
        each for each in every if not each.name.startswith(".") or (ASIDE in each.name and place(each) not in names)
    ]


def place(aside: Path) -> str:
    """Return the name of the folder from which a test was moved aside."""
    return aside.name[1:].rpartition(ASIDE)[0]


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
            "data_digest": each.result["data_digest"],
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
        total = sum(images.values())
        said.append(
            f"{counted(total, 'image')} of {'a class' if len(images) == 1 else 'classes'} that the network lacks "
            f"{'is' if total == 1 else 'are'} left out: {listed(each, 'and')}"
        )
    if lacking := classes.get("not_in_dataset"):
        outside = classes.get("predicted_outside", 0)
        how = "and is not chosen from" if result["outputs"] == "shared" else "and counts as wrong where it is chosen"
        said.append(
            f"the dataset has no {listed(lacking, 'and no')}, {how} ({outside:,} of "
            f"{counted(result['metrics']['test/n'], 'image')} {'is' if outside == 1 else 'are'} given such a class by "
            "all outputs)"
        )
    return "; ".join(said)
