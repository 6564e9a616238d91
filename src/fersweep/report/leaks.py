"""People, sequences and near-duplicates that a run's test part shares with training and validation, in words.

The counts come from ``result.json``; those that earlier versions did not record are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fersweep.text import counted

Result = Mapping[str, Any]


def notes(results: Sequence[Result]) -> list[str]:
    """Return sentences on shared people, sequences and twins; none if nothing is shared.

    Args:
        results: of one run, or of several folds, whose test images are counted together.
    """
    n, said = _n(results), []
    if people := _total(results, "shared_subjects"):
        images = _total(results, "shared_subject_images")
        rest = "." if images is None else f": {images:,} of {n:,} test images show people seen in training."
        said.append(f"{counted(people, 'person', 'people')} in both train and test{rest}")
    if images := _total(results, "shared_sequence_images"):
        said.append(f"{images:,} of {n:,} test images come from sequences that training also has.")
    if twins := with_twins(results):
        said.append(f"{twins}.")
    if dropped := _total(results, "twins", "dropped"):
        said.append(f"{dropped:,} images with a twin in the test part were left out of training and validation.")
    return said


def with_twins(results: Sequence[Result]) -> str:
    """Return the count of test images with an identical or near-identical one in training or validation, in words."""
    identical, near = (_total(results, "twins", "either", kind) or 0 for kind in ("identical", "near"))
    if not identical + near:
        return ""
    return (
        f"{identical + near:,} of {_n(results):,} test images have an identical ({identical:,}) or near-identical "
        f"({near:,}) image in training or validation"
    )


def without_twins(results: Sequence[Result]) -> tuple[int, int] | None:
    """Return the correct ones of the test images without twins, and their number; ``None`` if unknown."""
    n = _total(results, "metrics", "test/n_without_twins")
    if n is None:
        return None
    metrics = [each["metrics"] for each in results]
    shares = [(each.get("test/accuracy_without_twins", 0.0), each["test/n_without_twins"]) for each in metrics]
    return sum(round(share * of) for share, of in shares), n


def fold(result: Result) -> str:
    """Return ``fold 0 of 10``; empty if the split has no folds, or an earlier version did not record them."""
    return "" if result.get("folds") is None else f"fold {result['fold']} of {result['folds']}"


def _n(results: Sequence[Result]) -> int:
    return sum(int(each["metrics"]["test/n"]) for each in results)


def _total(results: Sequence[Result], *path: str) -> int | None:
    """Return the sum of a (nested) count over the results; ``None`` if one lacks it."""
    total = 0
    for each in results:
        found: Any = each
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is None:
            return None
        total += int(found)
    return total
