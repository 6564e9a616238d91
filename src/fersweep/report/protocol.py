"""The protocol sheet: answers to reproducibility checklists, filled in from the runs, and what an author must add.

The questions are those of the NeurIPS Paper Checklist (2024, numbered), the ML Code Completeness Checklist (Papers with
Code, 2020) and Dodge et al. 2019, "Show Your Work: Improved Reporting of Experimental Results". Each answer names what
was recorded; what a folder of runs cannot know is listed as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from fersweep.config.options import option_file
from fersweep.config.schema import FaceCrop, Preprocessing, Recipe
from fersweep.errors import UserError
from fersweep.report import leaks, protocol_runs
from fersweep.report.code import named, states
from fersweep.report.contents import Row
from fersweep.report.formats import grouped, percent
from fersweep.report.gather import FOLD, Finished
from fersweep.report.labels import label
from fersweep.report.search import Searched
from fersweep.report.sheet import Item, Section
from fersweep.runs.collect import Run, config_of
from fersweep.text import counted, listed

NEURIPS, COMPLETE, DODGE = "NeurIPS", "ML Code Completeness", "Dodge et al."

FILL_IN: tuple[tuple[str, str], ...] = (
    ("Claims and limitations: what the paper claims beyond these data, and where it may not hold.", f"{NEURIPS} 1, 2"),
    ("Runs before these: how the values of the recipe were found, and what that cost.", f"{NEURIPS} 6, 8; {DODGE}"),
    (
        "Where others find code, data and trained weights, and the command that makes the table.",
        f"{NEURIPS} 5; {COMPLETE}",
    ),
    (
        "The use of the data: whether the licence allows it, and the consent of the people shown.",
        f"{NEURIPS} 9, 12, 15",
    ),
    ("Effects on people whose emotions are read from their faces, and safeguards.", f"{NEURIPS} 10, 11"),
    ("Memory of the devices, energy, and whether other work shared the machines.", f"{NEURIPS} 8"),
)
"""Answers that no run records, and the questions they belong to."""


DEFAULTS: dict[str, Any] = {
    f"{above}.{each.name}": each.default
    for above, schema in (("recipe", Recipe), ("dataset.face_crop", FaceCrop), ("dataset.preprocessing", Preprocessing))
    for each in fields(schema)
}
"""Values at which settings have no effect."""


def sheet(
    finished: Sequence[Finished], runs: Sequence[Run], rows: Sequence[Row], searches: Sequence[Searched], tests: int
) -> tuple[Section, ...]:
    """Return the sections of the sheet.

    Args:
        finished: the runs that the report shows.
        runs: all runs below its folder, pruned, failed and unfinished ones too.
        rows: of the report.
        searches: in the folders of the runs.
        tests: comparisons between rows whose p-values the report corrects together with others.
    """
    return (
        Section("Data", tuple(item for group in _datasets(finished) for item in _data(group))),
        Section("Training and selection", tuple(_training(finished, rows, searches))),
        Section("Runs and statistics", tuple(_runs(finished, runs, rows, tests))),
        Section("Cost and machines", protocol_runs.cost(finished, runs)),
        Section("Code", tuple(_code(finished))),
        Section(
            "To fill in", (Item("No run can tell", "", (), tuple(f"{what} ({whose})" for what, whose in FILL_IN)),)
        ),
    )


def _datasets(finished: Sequence[Finished]) -> list[list[Finished]]:
    """Return the runs by dataset and split."""
    found: dict[tuple[str, ...], list[Finished]] = {}
    for run in finished:
        key = (run.titles["dataset"], run.titles["split"], str(run.result.get("data_digest")))
        found.setdefault(key, []).append(run)
    return list(found.values())


def _data(runs: Sequence[Finished]) -> list[Item]:
    first = runs[0]
    name = f"{first.titles['dataset']}, split {first.titles['split']}"
    parts = {"to train": "train_n", "to validate": "val_n"}
    sizes = [f"{_range(run.result.get(key) for run in runs)} {words}" for words, key in parts.items()]
    sizes.append(f"{_range(run.result['metrics']['test/n'] for run in runs)} to test")
    classes = tuple(first.result["per_class"])
    digest, folds = first.result.get("data_digest"), leaks.fold(first.result)
    what = f"Images: {', '.join(sizes)}{', by fold' if folds else ''}; {len(classes)} classes: {', '.join(classes)}."
    known = (f"Digest of pixels, labels and ids: {digest}.",) if digest else ()
    known = (*protocol_runs.limited(runs), *known)
    dataset = _option(first)
    terms, labelled = dataset.get("terms"), dataset.get("labels_from")
    about = tuple(f"{word}: {text}." for word, text in (("Labels", labelled), ("Terms of use", terms)) if text)
    missing = () if terms else (f"The licence or terms of use of {first.titles['dataset']}.",)
    return [
        Item(f"{name}: parts", f"{NEURIPS} 6; {DODGE}", (what, *known)),
        Item(f"{name}: preprocessing", f"{NEURIPS} 6", _preprocessing(runs)),
        Item(f"{name}: images and people in several parts", f"{NEURIPS} 6", _leaks(runs)),
        Item(f"{name}: licence", f"{NEURIPS} 12", about, missing),
    ]


def _option(run: Finished) -> Mapping[str, Any]:
    """Return the section of a run's dataset, completed by the present option of its name."""
    own = config_of(run.directory).get("dataset")
    try:
        now = option_file("dataset", run.result["choices"]["dataset"])
    except UserError:  # a plugin's
        now = {}
    kept = own if isinstance(own, Mapping) else {}
    return now | {key: value for key, value in kept.items() if value is not None}


def _range(values: Iterable[Any]) -> str:
    """Return ``28,709``, or ``790 to 812`` if values differ, or that they are not recorded."""
    known = [int(value) for value in values if value is not None]
    if not known:
        return "an unrecorded number"
    low, high = min(known), max(known)
    return grouped(low) if low == high else f"{grouped(low)} to {grouped(high)}"


def _preprocessing(runs: Sequence[Finished]) -> tuple[str, ...]:
    keys = [key for key in runs[0].settings if re.match(r"dataset\.(faces|face_crop\.|preprocessing\.|twins)", key)]
    keys = ["dataset.image_size", "dataset.channels", *keys, "recipe.crop", "recipe.test_crops"]
    validating = any(run.settings.get("recipe.augment_validation") for run in runs)
    which = "training and validation images" if validating else "training images alone"
    augmentations = sorted({run.titles["augmentation"] for run in runs})
    return (
        f"{_settings(runs, keys)}.",
        f"Augmentation of {which}: {', '.join(augmentations)}; the tested images are not augmented.",
    )


def _settings(runs: Sequence[Finished], keys: Iterable[str]) -> str:
    """Return the settings that have an effect, with all values that they have: ``recipe.mixup 0 or 0.2``."""
    said = []
    for key in dict.fromkeys(keys):
        if key.endswith("_partial_") or all(run.settings.get(key) == DEFAULTS.get(key) for run in runs):
            continue
        values = list(dict.fromkeys(label(run.settings, key) for run in runs))
        some = values if len(values) <= 8 else [*values[:7], f"{len(values) - 7} others"]
        said.append(f"{key.removesuffix('._target_')} {listed(some, 'or')}")
    return "; ".join(said)


def _leaks(runs: Sequence[Finished]) -> tuple[str, ...]:
    alike = [run for run in runs if (run.row, run.seed) == (runs[0].row, runs[0].seed)]
    results = [run.result for run in alike]
    said = list(leaks.notes(results))
    if all(result.get("twins") is None for result in results):
        said.append("Identical and near-identical images were not looked for.")
    elif not leaks.with_twins(results):
        said.append("No test image has an identical or near-identical one in training or validation.")
    if any(result.get("shared_subjects") is None for result in results):
        said.append("The people are not known, so nobody can say whether some are in several parts.")
    elif not any(result["shared_subjects"] for result in results):
        said.append("No person is in both train and test.")
    return tuple(said)


def _training(finished: Sequence[Finished], rows: Sequence[Row], searches: Sequence[Searched]) -> list[Item]:
    keys = dict.fromkeys(key for run in finished for key in run.settings if key.startswith("recipe."))
    settings = _settings(finished, (key for key in keys if key not in ("recipe.name", "recipe.crop")))
    names = sorted({run.titles["recipe"] for run in finished})
    per_part: dict[str, int] = {}
    for run in finished:
        names_of = (run.titles["dataset"], f"split {run.titles['split']}", leaks.fold(run.result))
        part = ", ".join(filter(None, names_of))
        per_part[part] = per_part.get(part, 0) + 1
    used = (
        f"The test part of {part} was tested {counted(n, 'time')}, once by each run." for part, n in per_part.items()
    )
    further = protocol_runs.further_tests(finished)
    scores = (
        f"{row.name}: {percent(row.chosen_at)} % on validation, {percent(row.accuracy.mean)} % on test." for row in rows
    )
    chosen, missing = protocol_runs.chosen(searches)
    return [
        Item(
            "Selection",
            f"{NEURIPS} 6; {DODGE}",
            (
                "Of each run the epoch with the highest validation accuracy, the first of equals, was tested; test "
                "images chose nothing.",
                *used,
                *further,
            ),
        ),
        Item("Validation score of each result", DODGE, tuple(scores)),
        Item("Hyperparameters", f"{NEURIPS} 6; {DODGE}", (f"Recipe {', '.join(names)}: {settings}.",)),
        Item("Choice of hyperparameters", f"{NEURIPS} 6; {DODGE}", chosen, missing),
    ]


def _runs(finished: Sequence[Finished], runs: Sequence[Run], rows: Sequence[Row], tests: int) -> list[Item]:
    states_of: dict[str, int] = {}
    for run in runs:
        states_of[run.state] = states_of.get(run.state, 0) + 1
    listed_states = ", ".join(f"{count} {state}" for state, count in states_of.items())
    several = sorted({row.accuracy.n for row in rows})
    seeds = sorted({run.seed for run in finished})
    each = f"{several[0]}" if len(several) == 1 else f"{several[0]} to {several[-1]}"
    folds = any(run.settings.get(FOLD[0]) is not None for run in finished)
    more = sum(run.attempts > 1 for run in runs)
    again = (f"{counted(more, 'run')} took more than one attempt; a resumed run continues as if uninterrupted.",)
    return [
        Item(
            "Number of runs",
            f"{NEURIPS} 7, 8; {DODGE}",
            (f"{counted(len(runs), 'run')}: {listed_states}.", *(again if more else ())),
        ),
        Item(
            "Seeds",
            f"{NEURIPS} 7",
            (
                f"{each} of each row, of {', '.join(map(str, seeds))}.",
                "A seed sets initial weights, order, augmentation, dropout and mixing.",
                *(["Folds are pooled within a seed."] if folds else []),
            ),
        ),
        Item(
            "Variation and tests",
            f"{NEURIPS} 7",
            (
                "Accuracy: mean over seeds ± sample standard deviation; Wilson’s 95 % interval for the test images.",
                f"{counted(tests, 'comparison')} between rows, over images and seeds, and McNemar’s test, with Holm’s "
                "correction within each option (Methods)."
                if tests
                else "No two rows are compared.",
            ),
        ),
    ]


def _code(finished: Sequence[Finished]) -> list[Item]:
    found: dict[tuple[str, str], int] = {}
    for run in finished:
        for state in states(run.result):
            found[state] = found.get(state, 0) + 1
    said = [f"{name}, digest {digest}: {counted(count, 'run')}." for (digest, name), count in found.items()]
    silent = [run for run in finished if not states(run.result)]
    if silent:
        commits = {(run.result.get("environment") or {}).get("commit") for run in silent} - {None}
        names = sorted(named({"commit": each}) for each in commits)
        said.append(
            f"{counted(len(silent), 'run')} recorded no digest of the code{': ' * bool(names)}{', '.join(names)}."
        )
    changed = sum(any(each.get("diff") for each in run.result.get("code") or []) for run in finished)
    if changed:
        said.append(f"{counted(changed, 'run')} had changes since the commit: code.diff in the run’s folder.")
    records = [each for run in finished for each in run.result.get("code") or []]
    commands = list(dict.fromkeys(str(each["command"]) for each in records if each.get("command")))
    shown = [f"Command: {each}" for each in commands[:MOST]]
    more = [f"{len(commands) - MOST} more commands are in the runs’ result.json."] if len(commands) > MOST else []
    weights = sum((run.directory / "checkpoints" / "best.ckpt").is_file() for run in finished)
    return [
        Item("State of the code", f"{NEURIPS} 4, 5; {COMPLETE}", tuple(said)),
        Item("Commands", f"{NEURIPS} 5; {COMPLETE}", (*shown, *more) or ("Not recorded.",)),
        Item("Trained weights", COMPLETE, (f"{counted(weights, 'run')} with checkpoints/best.ckpt here.",)),
    ]


MOST = 5
"""Commands that the sheet shows."""


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the sheet as Markdown; text from runs cannot open a tag."""
    lines = [
        f"# Protocol of {_safe(title)}",
        "",
        "Filled in from the runs by `fersweep report`; lines that begin with **Fill in** are for the authors.",
    ]
    for section in sections:
        lines += ["", f"## {section.title}"]
        for item in section.items:
            lines += ["", f"**{_safe(item.title)}**{f' ({item.asked})' if item.asked else ''}", ""]
            lines += [f"- {_safe(answer)}" for answer in item.answers]
            lines += [f"- **Fill in**: {_safe(each)}" for each in item.open]
    return "\n".join(lines) + "\n"


def _safe(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;").replace("*", r"\*")
