"""Code of the runs of a report: sentences that name rows and seeds trained with different code.

Runs are compared by the digest of their code (`fersweep.training.code`). Equal digests are the same code, whatever the
commits; runs of earlier versions, which recorded no digest, are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fersweep.text import listed

State = tuple[str, str]
"""A state of the code: its digest, and the commit in words, such as ``commit 8a16f41 with changes``."""

MOST = 4
"""Rows that a sentence names."""


def states(result: Mapping[str, Any]) -> list[State]:
    """Return the states of the code that trained a run, in order; empty if it did not record them."""
    return [(each["digest"], named(each)) for each in result.get("code") or [] if each.get("digest")]


def named(record: Mapping[str, Any]) -> str:
    """Return a record's commit, or its version where there is none, in words."""
    commit = record.get("commit")
    if not commit:
        return f"version {record.get('version')} as installed"
    base, _, changed = str(commit).partition("+")
    return f"commit {base[:10]}{' with changes' if changed else ''}"


def notes(seeds: Sequence[tuple[int, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """Return a note on a row whose runs come from different code; none if they do not.

    Args:
        seeds: each with the results of its runs.
    """
    found: dict[str, tuple[str, list[int]]] = {}
    resumed = []
    for seed, results in seeds:
        for result in results:
            own = states(result)
            resumed += [seed] if len(own) > 1 and seed not in resumed else []
            for digest, name in own:
                _, of = found.setdefault(digest, (name, []))
                if seed not in of:
                    of.append(seed)
    if len(found) < 2:
        return []
    parts = [f"{name} (code {digest[:8]}) trained {_seeds(of)}" for digest, (name, of) in found.items()]
    again = f"; {_seeds(resumed)} resumed with other code than it began with" if resumed else ""
    return [f"Its runs come from different code: {', '.join(parts)}{again}."]


def across(rows: Sequence[tuple[str, Sequence[State]]]) -> list[str]:
    """Return a sentence on rows that come from different code; none if all come from one.

    Args:
        rows: the name of each, and the states of its runs.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for row, own in rows:
        for digest, name in own:
            _, of = found.setdefault(digest, (name, []))
            if row not in of:
                of.append(row)
    if len(rows) < 2 or len({frozenset(digest for digest, _ in own) for _, own in rows if own}) < 2:
        return []
    parts = [f"{name} (code {digest[:8]}) trained {_some(of)}" for digest, (name, of) in found.items()]
    return [f"Rows come from different code: {', '.join(parts)}."]


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds], 'and')}"


def _some(names: Sequence[str]) -> str:
    return "; ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
