"""Tests of one network, or of all finished runs of a folder, on one dataset or several."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fersweep.config.compose import TRUE
from fersweep.errors import UserError
from fersweep.files import given
from fersweep.inference.elsewhere import network, settings
from fersweep.inference.elsewhere.data import Shelf
from fersweep.inference.elsewhere.evaluate import Asked, Done, evaluate
from fersweep.inference.elsewhere.settings import Words
from fersweep.runs import tests
from fersweep.runs.collect import OWN_FILES, collect
from fersweep.text import counted, shortened, visible


@dataclass(frozen=True)
class Job:
    """A command line of ``fersweep test``.

    Attributes:
        path: a run, a checkpoint, or a folder of runs.
        overrides: settings of the data, as typed.
        part: one of `settings.PARTS`, ``None`` for the usual one.
        outputs: one of `settings.OUTPUTS`.
        out: folder for the results; ``None``: that of each run.
        device: ``cpu``, ``gpu`` or ``auto``.
    """

    path: Path
    overrides: tuple[str, ...] = ()
    part: str | None = None
    outputs: str = "shared"
    out: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Failed:
    """A test that failed: of a network, on a dataset (``None``: the network could not be used at all)."""

    path: Path
    dataset: str | None
    reason: str


@dataclass
class Outcome:
    """The tests of a command line, and the runs that are not done, by state."""

    done: list[tuple[Path, Done]] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    unfinished: list[tuple[Path, str]] = field(default_factory=list)

    def as_json(self) -> str:
        """Return a list with ``state``, ``network`` and ``directory`` beside the content of ``result.json``."""
        found: list[dict[str, Any]] = [
            {"state": "done", "network": str(path), "directory": str(each.test.directory), **each.test.result}
            for path, each in self.done
        ]
        found += [
            {"state": "failed", "network": str(each.path), "dataset": each.dataset, "error": each.reason}
            for each in self.failed
        ]
        found += [{"state": state, "network": str(path)} for path, state in self.unfinished]
        return json.dumps(found, indent=2, ensure_ascii=False)


def is_folder_of_runs(path: Path) -> bool:
    """Return whether a path is a folder that holds runs and is none itself."""
    own = (*OWN_FILES, "config.yaml", "checkpoints")
    return path.is_dir() and not any((path / name).exists() for name in own)


def run(job: Job, say: Callable[[str], None]) -> Outcome:
    """Do the tests of a command line; of several, the others go on where one fails.

    Args:
        job: the command line.
        say: prints a line as each test ends.

    Raises:
        UserError: the command line is wrong, or its only test fails.
    """
    words = settings.words(job.overrides)
    if job.out is not None:
        _refuse_file(job.out)
    outcome, paths = Outcome(), [given(job.path)]
    if is_folder_of_runs(paths[0]):
        runs = [each for each in collect(paths[0]) if each.state != "pruned"]
        paths = [each.directory for each in runs if each.state == "done"]
        outcome.unfinished = [(each.directory, each.state) for each in runs if each.state != "done"]
        if not paths:
            raise UserError(f"No run in {job.path} is done ({counted(len(runs), 'run')}): there is no network to test.")
    only = len(paths) * len(words.datasets) == 1
    shelf, number = Shelf(), 0
    for path in paths:
        for dataset, attempt in _attempts(path, job, words, shelf):
            number += 1
            place = "" if only else f"[{number}/{len(paths) * len(words.datasets)}] "
            try:
                done = attempt()
            except UserError as error:
                if only:
                    raise
                reason = visible(shortened(error))
                outcome.failed.append(Failed(path, dataset, reason))
                say(f"{place}{path.name} on {dataset or 'its own dataset'}: failed: {reason}")
                continue
            outcome.done.append((path, done))
            say(place + line(path, done))
    return outcome


def _refuse_file(out: Path) -> None:
    """Raise UserError for a folder of results that is a file, or lies in one."""
    there = next(each for each in (given(out), *given(out).absolute().parents) if each.exists())
    if not there.is_dir():
        raise UserError(f"-o: {there} is a file, not a folder: choose a folder for the results.")


def _attempts(path: Path, job: Job, words: Words, shelf: Shelf) -> Iterator[tuple[str | None, Callable[[], Done]]]:
    """Yield each dataset of a command line with the function that tests one network on it."""
    loaded: list[network.Network | UserError] = []

    def attempt(dataset: str | None) -> Done:
        if not loaded:  # once for all datasets
            try:
                loaded.append(_load(path, job))
            except UserError as error:
                loaded.append(error)
        found = loaded[0]
        if isinstance(found, UserError):
            raise found
        return evaluate(found, _asked(found, dataset, job, words), shelf)

    for dataset in words.datasets:
        yield dataset, lambda dataset=dataset: attempt(dataset)  # type: ignore[misc]


def _load(path: Path, job: Job) -> network.Network:
    """Load a network; UserError as `network.load`, or there is no place for its results."""
    if network.run_of(path) is None and path.is_file() and job.out is None:
        raise UserError(f"{path} is a file without its run: name the folder for the results with -o DIR.")
    return network.load(path, job.device)


def _asked(found: network.Network, dataset: str | None, job: Job, given: Words) -> Asked:
    words = settings.for_dataset(given, dataset)
    cfg = settings.tested(found.trained.cfg, dataset, words)
    own = found.run / tests.FOLDER if found.run is not None else None
    folder = job.out or own
    assert folder is not None  # `_load`
    return Asked(
        cfg=cfg,
        part=job.part,
        outputs=job.outputs,
        split=words.split,
        folder=folder,
        again=str(words.value("force", False)).lower() in TRUE,
        command=_command(found.path, dataset, job, words, cfg.dataset.root is not None),
    )


def _command(path: Path, dataset: str | None, job: Job, words: Words, rooted: bool) -> str:
    """Return the command that does this test alone; ``rooted``: its dataset is on disk."""
    without = ("force",) if rooted else ("force", "dataset.root")
    others = [text for text, each in zip(words.texts, words.typed, strict=True) if each.key_or_group not in without]
    data = [f"dataset={dataset}"] if dataset is not None else []
    flags = [
        *(["--part", job.part] if job.part else []),
        *(["--outputs", job.outputs] if job.outputs != "shared" else []),
    ]
    out = ["-o", str(job.out)] if job.out is not None else []
    return shlex.join(["fersweep", "test", str(path), *data, *others, *flags, *out])


def line(path: Path, done: Done) -> str:
    """Return a test in a line: network, data, accuracy with interval, number of images."""
    low, high = done.test.result["accuracy_interval"]
    before = ", done before" if done.before else ""
    return (
        f"{path.name} on {done.test.name}: accuracy {done.test.accuracy:.2%} "
        f"(95 % interval {low:.2%} to {high:.2%}, n = {done.test.n:,}){before}"
    )


def sentences(outcome: Outcome) -> Sequence[str]:
    """Return the warnings of all tests, each once, with the number of tests that it holds for."""
    found: dict[str, int] = {}
    for _, done in outcome.done:
        for each in done.test.result.get("warnings") or []:
            found[str(each)] = found.get(str(each), 0) + 1
    several = len(outcome.done) > 1
    return [f"{text} ({count} of {len(outcome.done)} tests)" if several else text for text, count in found.items()]
