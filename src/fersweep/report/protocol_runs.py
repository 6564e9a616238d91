"""Parts of the protocol sheet on searches, cost, machines and versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fersweep.errors import UserError
from fersweep.report.formats import duration, peta
from fersweep.report.gather import Finished
from fersweep.report.search import Searched
from fersweep.report.sheet import Item
from fersweep.runs import tests, trials
from fersweep.runs.collect import Run, config_of
from fersweep.text import counted

BUDGETS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Numbers of trials for which the expected best is told."""

MACHINE = ("device", "processor", "platform", "processes", "threads", "precision", "commit")
"""Keys of a run's environment that are not versions."""


def chosen(searches: Sequence[Searched]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the answers on the choice of hyperparameters, and what is to fill in."""
    if not searches:
        return ("There is no search in this folder.",), ("Who or what chose the values, among which, by which score.",)
    return tuple(line for search in searches for line in _search(search)), ()


def _search(search: Searched) -> list[str]:
    found = trials.read(search.folder)
    space = [] if found is None else [_values(name, each) for name, each, *_ in found.about["parameters"]]
    said = [f"Search {search.name}, by {search.metric} on validation: {search.counts}.", f"Space: {'; '.join(space)}."]
    if search.best is not None:
        said.append(f"Chosen: trial {search.best.number}, {search.heading} {search.shown(search.best.value)}.")
    done = [trial.value for trial in search.trials if trial.state == "done" and trial.value is not None]
    if len(done) > 1:
        budgets = [n for n in BUDGETS if n < len(done)] + [len(done)]
        values = (f"{search.shown(expected_best(done, n, search.lower_is_better))} after {n}" for n in budgets)
        said.append(
            f"Expected best {search.heading} of trials drawn at random from the {len(done)} done ones: "
            f"{', '.join(values)}; a sampler that learns and pruning make it optimistic."
        )
    return said


def _values(name: str, distribution: Mapping[str, Any]) -> str:
    of = distribution["attributes"]
    if "choices" in of:
        return f"{name} of {', '.join(map(str, of['choices']))}"
    return f"{name} from {of['low']:g} to {of['high']:g}{', logarithmic' if of.get('log') else ''}"


def expected_best(values: Sequence[float], n: int, lower_is_better: bool = False) -> float:
    """Return the expected best of ``n`` values drawn with replacement (Dodge et al. 2019, section 3.1)."""
    ordered, total = sorted(values, reverse=lower_is_better), len(values)
    shares = [((k + 1) / total) ** n - (k / total) ** n for k in range(total)]
    return sum(value * share for value, share in zip(ordered, shares, strict=True))


def further_tests(finished: Sequence[Finished]) -> list[str]:
    """Return a sentence for each part of data on which ``fersweep test`` tested runs again."""
    found = Counter(test.name for run in finished for test in tests.of_run(run.directory)[0])
    return [f"fersweep test used {name}: {counted(count, 'more test')}." for name, count in sorted(found.items())]


def limited(runs: Sequence[Finished]) -> list[str]:
    """Return a remark if runs had only some batches of each part (``trainer.limit_batches``)."""
    limits = [(config_of(run.directory).get("trainer") or {}).get("limit_batches") for run in runs]
    some = sorted({int(limit) for limit in limits if limit})
    if not some:
        return []
    of = "all runs" if all(limits) else counted(sum(map(bool, limits)), "run")
    return [f"trainer.limit_batches={' and '.join(map(str, some))} in {of}: no more batches an epoch or test."]


def cost(finished: Sequence[Finished], runs: Sequence[Run]) -> tuple[Item, ...]:
    """Return the items on cost, machines and versions.

    Args:
        finished: the runs of the report, each once.
        runs: all; those that are not done count with the epochs in their ``history.csv``.
    """
    done = {run.directory: run for run in finished}
    seconds = sum(float(run.result["seconds"]) for run in finished)
    flops = [run.result.get("training_flops") for run in finished]
    known = [each for each in flops if each is not None]
    devices = sum(float(run.result["seconds"]) * int(_environment(run).get("processes") or 1) for run in finished)
    said = [
        f"{counted(len(finished), 'finished run')}: {duration(seconds)}, {duration(devices)} of devices or processes, "
        f"{duration(seconds / len(finished))} a run."
    ]
    if known:
        rest = "" if len(known) == len(flops) else f" of the {len(known)} that recorded them"
        said.append(f"Operations of their training{rest}: {peta(sum(known))} PFLOP.")
    others = [run for run in runs if run.directory not in done]
    times = [each for run in others if (each := _seconds(run)) is not None]
    if others:
        states = ", ".join(dict.fromkeys(run.state for run in others))
        said.append(
            f"{counted(len(others), 'other run')} ({states}): {duration(sum(times))} in the epochs that {len(times)} "
            "of them recorded; their operations are not recorded."
        )
    return (
        Item("Compute of these runs, with failed and pruned ones", "NeurIPS 8; Dodge et al.", tuple(said)),
        Item("Machines", "NeurIPS 8; Dodge et al.", tuple(_machines(finished))),
        Item("Versions", "NeurIPS 5; ML Code Completeness", tuple(_versions(finished))),
    )


def _seconds(run: Run) -> float | None:
    """Return the seconds of the epochs of a run that is not done; ``None`` if it recorded none."""
    try:
        found = trials.history(run.directory, "seconds")
    except (UserError, OSError):
        return None
    return sum(found.values()) if found else None


def _environment(run: Finished) -> Mapping[str, Any]:
    found = run.result.get("environment")
    return found if isinstance(found, Mapping) else {}


def _machines(finished: Sequence[Finished]) -> list[str]:
    found: dict[str, int] = {}
    for run in finished:
        of = _environment(run)
        if of:
            processes = counted(int(of.get("processes") or 1), "process", "processes")
            threads = counted(int(of.get("threads") or 1), "thread")
            words = f"{of.get('device')} ({of.get('processor')}, {of.get('platform')}), {processes} of {threads}, "
            words += f"precision {of.get('precision')}"
            found[words] = found.get(words, 0) + 1
    return [f"{words}: {counted(count, 'run')}." for words, count in found.items()] or ["Not recorded."]


def _versions(finished: Sequence[Finished]) -> list[str]:
    values: dict[str, dict[str, None]] = {}
    for run in finished:
        for name, value in _environment(run).items():
            if name not in MACHINE:
                values.setdefault(name, {})[str(value)] = None
    said = [f"{name} {' and '.join(each)}" for name, each in values.items()]
    return [f"{', '.join(said)}."] if said else ["Not recorded."]
